//! Paths that users and log collectors know.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// `<root>/<namespace>_<name>_<uid>`.
pub fn pod_logs(root: &Path, pod: &Pod) -> PathBuf {
    root.join(format!("{}_{}_{}", pod::namespace(pod), pod::name(pod), pod::uid(pod)))
}

/// A container's log, relative to the Pod's log directory: `<container>/<restarts>.log`.
pub fn container_log(container: &str, restart_count: u32) -> String {
    format!("{container}/{restart_count}.log")
}

/// The link that log collectors follow: `<pod>_<namespace>_<container>-<id>.log`.
pub fn log_link(root: &Path, pod: &Pod, container: &str, id: &str) -> PathBuf {
    const NAME_LENGTH_MAX: usize = 251;
    let mut prefix = format!("{}_{}_{container}", pod::name(pod), pod::namespace(pod));
    let suffix = format!("-{id}");
    prefix.truncate(NAME_LENGTH_MAX.saturating_sub(suffix.len()));
    root.join(format!("{prefix}{suffix}.log"))
}

/// A Pod's directory: `<kubelet root>/pods/<uid>`.
pub fn pod_directory(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

/// The attempt number that follows the newest log of a container: logs are `<number>.log[.<rotation>]`.
pub fn restart_count_after<'a>(log_names: impl Iterator<Item = &'a str>) -> u32 {
    log_names
        .filter_map(|name| name.split_once(".log")?.0.parse::<u32>().ok())
        .max()
        .map_or(0, |newest| newest.saturating_add(1))
}
