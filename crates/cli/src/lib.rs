//! The kubectl-compatible commands and their output.
