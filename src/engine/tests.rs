//! The claims of the engine.

mod ends;
mod model;
mod random;
mod rules;
mod swaps;
mod world;
