//! Claims about reading files.
