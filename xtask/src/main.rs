//! Chores: derived tables, checks, benchmarks.

fn main() {}
