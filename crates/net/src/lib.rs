//! Applies netplan to the kernel by netlink.
