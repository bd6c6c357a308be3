//! Landing next.
