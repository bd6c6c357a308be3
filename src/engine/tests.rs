//! The claims of the engine.

mod ends;
mod judge;
mod metas;
mod model;
mod random;
mod rules;
mod swaps;
mod world;
