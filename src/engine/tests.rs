//! The claims of the engine.

mod ends;
mod rules;
mod swaps;
mod world;
