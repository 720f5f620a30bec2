//! Pure network planning: addresses, links, routes and nftables rules wanted. Nothing here asks the kernel; crate
//! `net` observes, asks this crate what should be, and applies the difference.

pub mod cidr;
pub mod foreign;
pub mod link;
pub mod nft;
pub mod overlap;
pub mod pool;
pub mod ports;
pub mod record;
pub mod ruleset;
pub mod service;

pub use cidr::Cidr;
