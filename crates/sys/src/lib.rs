//! Every kernel call and all `unsafe` code.
