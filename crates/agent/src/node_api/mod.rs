//! The node's own API (kubelet's, port 10250): logs, exec, attach, port-forward, Pods, stats and metrics
//! (pkg/kubelet/server). The API server's `pods/log`, `pods/exec` … and `nodes/proxy` end here.

mod access;
mod answer;
mod ends;
mod forward;
mod info;
mod logs;
mod metrics;
mod query;
mod route;
mod serve;
mod session;
mod stats;
#[cfg(test)]
mod tests;
mod upgrade;
mod webhook;

pub use access::{Access, AccessRequest, Refusal, StandaloneAccess};
pub use serve::serve;
pub use webhook::WebhookAccess;
