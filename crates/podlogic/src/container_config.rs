//! The CRI configuration of a container.

use cri::runtime::{ContainerConfig, ContainerMetadata, Device, Mount};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::limits::{self, NodeLimits};
use crate::security::{self, ImageUser};
use crate::{env, labels, paths};

/// What goes into a container besides its own definition.
#[derive(Debug, Clone)]
pub struct ContainerInput<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container.
    pub container: &'a Container,
    /// Restarts before.
    pub restart_count: u32,
    /// Image id, present locally.
    pub image_id: &'a str,
    /// The image's user.
    pub image_user: &'a ImageUser,
    /// Environment.
    pub envs: Vec<(String, String)>,
    /// Mounts: volumes, `/etc/hosts`, termination message.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Container whose processes an ephemeral container sees.
    pub target: Option<&'a str>,
    /// Where localhost seccomp profiles are.
    pub seccomp_root: &'a str,
    /// Node facts.
    pub limits: &'a NodeLimits,
}

/// Makes the configuration.
///
/// # Errors
/// The message of `CreateContainerConfigError`.
pub fn container_config(input: ContainerInput<'_>) -> Result<ContainerConfig, String> {
    let ContainerInput { pod, container, restart_count, .. } = input;
    security::check_non_root(pod, container, input.image_user)?;
    let security_context =
        security::container_context(pod, container, input.image_user, input.target, input.seccomp_root)?;
    let command = env::expand_all(container.command.as_ref(), &input.envs);
    let args = env::expand_all(container.args.as_ref(), &input.envs);
    let stop_signal = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone());
    Ok(ContainerConfig {
        metadata: ContainerMetadata { name: container.name.clone(), attempt: restart_count },
        image: input.image_id.to_owned(),
        user_specified_image: container.image.clone().unwrap_or_default(),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input.envs,
        mounts: input.mounts,
        devices: input.devices,
        labels: labels::container_labels(pod, container),
        annotations: labels::container_annotations(pod, container, restart_count),
        log_path: paths::container_log(&container.name, restart_count),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        resources: limits::container_resources(pod, container, input.limits),
        security_context,
        stop_signal: stop_signal.unwrap_or_default(),
    })
}
