//! Kinds of the core group other than Pods, and their relatives in other groups.

pub mod configuration;
pub mod endpoints;
pub mod events;
pub mod namespaces;
pub mod nodes;
pub mod quotas;
pub mod services;
pub mod volumes;
