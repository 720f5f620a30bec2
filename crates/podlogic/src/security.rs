//! A container's identity and isolation: `securityContext` of Pod and container put together.

use cri::runtime::{LinuxContainerSecurityContext, SeccompProfile};
use cri::sandbox::{NamespaceMode, NamespaceOption};
use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};

use crate::pod;

/// Hidden unless `procMount: Unmasked`.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Read-only unless `procMount: Unmasked`.
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The user that an image's config names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageUser {
    /// Number, if it is one.
    pub uid: Option<i64>,
    /// Name, if it is one.
    pub username: String,
}

fn pod_context(pod: &Pod) -> PodSecurityContext {
    pod::spec(pod).security_context.clone().unwrap_or_default()
}

/// The container's security context, filled from the Pod's where it says nothing.
pub fn effective(pod: &Pod, container: &Container) -> SecurityContext {
    let from_pod = pod_context(pod);
    let mut own = container.security_context.clone().unwrap_or_default();
    own.run_as_user = own.run_as_user.or(from_pod.run_as_user);
    own.run_as_group = own.run_as_group.or(from_pod.run_as_group);
    own.run_as_non_root = own.run_as_non_root.or(from_pod.run_as_non_root);
    own.seccomp_profile = own.seccomp_profile.or(from_pod.seccomp_profile);
    own
}

/// Checks `runAsNonRoot`.
///
/// # Errors
/// Upstream's text: the message of `CreateContainerConfigError`.
pub fn check_non_root(pod: &Pod, container: &Container, user: &ImageUser) -> Result<(), String> {
    let context = effective(pod, container);
    if context.run_as_non_root != Some(true) {
        return Ok(());
    }
    let place = format!("(pod: {:?}, container: {})", pod::describe(pod), container.name);
    match (context.run_as_user, user.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, None) if !user.username.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {place}",
            user.username
        )),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, Some(uid)) if uid < 0 || uid > i64::from(i32::MAX) => Err(format!(
            "container has runAsNonRoot and image has an invalid user id ({uid}). (Must be 1-({})): must be between \
             0 and 2147483647, inclusive {place}",
            i32::MAX
        )),
        (None, _) => Ok(()),
    }
}

/// Namespaces of a Pod; `target` is the container whose processes an ephemeral container wants to see.
pub fn namespaces(pod: &Pod, target: Option<&str>) -> NamespaceOption {
    let spec = pod::spec(pod);
    let node_or_pod = |node: bool| if node { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace, target) {
        (Some(true), _, _) => NamespaceMode::Node,
        (_, Some(true), _) => NamespaceMode::Pod,
        (_, _, Some(_)) => NamespaceMode::Target,
        _ => NamespaceMode::Container,
    };
    let target_id = if pid == NamespaceMode::Target { target.unwrap_or_default() } else { "" };
    NamespaceOption {
        network: node_or_pod(spec.host_network == Some(true)),
        ipc: node_or_pod(spec.host_ipc == Some(true)),
        pid,
        target_id: target_id.to_owned(),
    }
}

fn seccomp(context: &SecurityContext, profile_root: &str) -> Result<SeccompProfile, String> {
    if context.privileged == Some(true) {
        return Ok(SeccompProfile::Unconfined);
    }
    let Some(profile) = &context.seccomp_profile else { return Ok(SeccompProfile::RuntimeDefault) };
    match profile.type_.as_str() {
        "RuntimeDefault" => Ok(SeccompProfile::RuntimeDefault),
        "Localhost" => match profile.localhost_profile.as_deref().filter(|path| !path.is_empty()) {
            Some(path) => Ok(SeccompProfile::Localhost(format!("{profile_root}/{path}"))),
            None => Err("localhostProfile must be set if seccompProfile type is Localhost.".into()),
        },
        _ => Ok(SeccompProfile::Unconfined),
    }
}

/// Groups that every container of the Pod has.
pub fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let context = pod_context(pod);
    context.fs_group.into_iter().chain(context.supplemental_groups.into_iter().flatten()).collect()
}

/// The runtime's view of a container's security context.
///
/// # Errors
/// When the seccomp profile is incomplete.
pub fn container_context(
    pod: &Pod,
    container: &Container,
    user: &ImageUser,
    target: Option<&str>,
    profile_root: &str,
) -> Result<LinuxContainerSecurityContext, String> {
    let context = effective(pod, container);
    let privileged = context.privileged == Some(true);
    let capabilities = context.capabilities.clone().unwrap_or_default();
    let unmasked = context.proc_mount.as_deref() == Some("Unmasked") || privileged;
    let paths = |paths: &[&str]| match unmasked {
        true => Vec::new(),
        false => paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    let own_user = context.run_as_user;
    Ok(LinuxContainerSecurityContext {
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        privileged,
        namespace_options: namespaces(pod, target),
        run_as_user: own_user.or(user.uid),
        run_as_group: context.run_as_group,
        run_as_username: if own_user.is_none() { user.username.clone() } else { String::new() },
        readonly_rootfs: context.read_only_root_filesystem == Some(true),
        supplemental_groups: supplemental_groups(pod),
        strict_supplemental_groups: pod_context(pod).supplemental_groups_policy.as_deref() == Some("Strict"),
        no_new_privs: context.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: seccomp(&context, profile_root)?,
    })
}
