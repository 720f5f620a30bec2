//! The CRI configuration of a Pod's sandbox.

use std::path::Path;

use cri::sandbox::{
    DnsConfig, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, PodSandboxConfig, PodSandboxMetadata,
    PortMapping, Protocol,
};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::limits::{self, NodeLimits};
use crate::sysctls::normal_name;
use crate::{hosts, labels, paths, pod, security};

/// What the node adds to a Pod's own facts.
#[derive(Debug, Clone)]
pub struct SandboxInput<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// Number of sandboxes before.
    pub attempt: u32,
    /// `/etc/resolv.conf`.
    pub dns: DnsConfig,
    /// `/var/log/pods`.
    pub logs_root: &'a Path,
    /// `/carob-<id>`: parent of `kubepods`.
    pub cgroup_root: &'a str,
    /// `cluster.local`.
    pub cluster_domain: &'a str,
    /// Node facts.
    pub limits: &'a NodeLimits,
}

/// The Pod's cgroup: `<root>/kubepods[/burstable|/besteffort]/pod<uid>`.
pub fn cgroup_parent(root: &str, pod: &Pod) -> String {
    let class = match limits::qos_class(pod) {
        "Guaranteed" => "",
        "Burstable" => "/burstable",
        _ => "/besteffort",
    };
    format!("{}/kubepods{class}/pod{}", root.trim_end_matches('/'), pod::uid(pod))
}

/// Host ports of containers, each (protocol, port, address) once.
pub fn port_mappings(containers: &[Container]) -> Vec<PortMapping> {
    let mut mappings: Vec<PortMapping> = Vec::new();
    for port in containers.iter().flat_map(|container| container.ports.iter().flatten()) {
        let Some(host_port) =
            port.host_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
        else {
            continue;
        };
        let Ok(container_port) = u16::try_from(port.container_port) else { continue };
        let protocol = match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let host_ip = port.host_ip.clone().unwrap_or_default();
        let mapping = PortMapping { protocol, container_port, host_port, host_ip };
        if !mappings.contains(&mapping) {
            mappings.push(mapping);
        }
    }
    mappings
}

/// Makes the configuration.
///
/// # Errors
/// When the host name is too long.
pub fn sandbox_config(input: SandboxInput<'_>) -> Result<PodSandboxConfig, String> {
    let pod = input.pod;
    let spec = pod::spec(pod);
    let host_network = pod::is_host_network(pod);
    let hostname =
        if host_network { String::new() } else { hosts::kernel_hostname(pod, input.cluster_domain)? };
    let context = spec.security_context.as_ref();
    let sysctls = context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
    let privileged = spec.containers.iter().chain(pod::init_containers(pod)).any(|container| {
        container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true))
    });
    let mut with_ports = spec.containers.clone();
    with_ports.extend(pod::init_containers(pod).iter().filter(|own| pod::is_sidecar(own)).cloned());
    Ok(PodSandboxConfig {
        metadata: PodSandboxMetadata {
            name: pod::name(pod).into(),
            uid: pod::uid(pod).into(),
            namespace: pod::namespace(pod).into(),
            attempt: input.attempt,
        },
        hostname,
        log_directory: paths::pod_logs(input.logs_root, pod).to_string_lossy().into_owned(),
        dns_config: Some(input.dns),
        port_mappings: if host_network { Vec::new() } else { port_mappings(&with_ports) },
        labels: labels::sandbox_labels(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(input.cgroup_root, pod),
            security_context: LinuxSandboxSecurityContext {
                namespace_options: security::namespaces(pod, None),
                supplemental_groups: security::supplemental_groups(pod),
                privileged,
            },
            sysctls: sysctls.map(|own| (normal_name(&own.name), own.value.clone())).collect(),
            resources: limits::pod_resources(pod, input.limits),
        },
    })
}
