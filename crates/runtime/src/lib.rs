//! Sandboxes and containers: the per-Pod process, roots, cgroups, logs, exec.
