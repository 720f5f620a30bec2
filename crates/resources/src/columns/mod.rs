//! Print columns: what `kubectl get` shows, as `meta.k8s.io/v1 Table`s.

pub mod cells;
