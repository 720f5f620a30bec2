//! Tests that need root: real containers, networks and clients.
