//! Pure network planning: addresses, links, routes and nftables rules wanted.
