//! The binary: configuration, the service table, start and stop order.

fn main() {}
