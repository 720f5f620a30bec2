//! Tables derived from upstream's published facts by `cargo xtask derive-tables`; not edited by hand.

#[rustfmt::skip]
pub mod definitions;
#[rustfmt::skip]
pub mod rows;
