//! The quorate agent.
fn main() {}
