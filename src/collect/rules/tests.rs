//! Claims, landing next.
