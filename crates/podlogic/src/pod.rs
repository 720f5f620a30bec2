//! Reading a Pod: the few questions that every decision asks.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, Probe};

/// The list of a Pod that a container stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// `spec.initContainers`.
    Init,
    /// `spec.containers`.
    Main,
    /// `spec.ephemeralContainers`.
    Ephemeral,
}

impl ContainerKind {
    /// The field's name, as `involvedObject.fieldPath` of events has it.
    pub fn field(self) -> &'static str {
        match self {
            ContainerKind::Init => "initContainers",
            ContainerKind::Main => "containers",
            ContainerKind::Ephemeral => "ephemeralContainers",
        }
    }
}

/// An empty specification, for Pods that lack one (the API never stores such).
static EMPTY_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

/// The specification.
pub fn spec(pod: &Pod) -> &PodSpec {
    pod.spec.as_ref().unwrap_or(&EMPTY_SPEC)
}

/// Name.
pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Namespace.
pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// UID.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// `name_namespace(uid)`, as messages write it.
pub fn describe(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

/// Init containers.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// Ephemeral containers.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).ephemeral_containers.as_deref().unwrap_or_default()
}

/// Whether an init container is a sidecar (`restartPolicy: Always`).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether the Pod uses the node's network.
pub fn is_host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

/// Whether the Pod is being deleted.
pub fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// `restartPolicy`, with its default.
pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

/// A container by name, with the list it stands in. Ephemeral containers are turned into ordinary ones.
pub fn find_container(pod: &Pod, name: &str) -> Option<(ContainerKind, Container)> {
    let spec = spec(pod);
    if let Some(container) = spec.containers.iter().find(|container| container.name == name) {
        return Some((ContainerKind::Main, container.clone()));
    }
    if let Some(container) = init_containers(pod).iter().find(|container| container.name == name) {
        return Some((ContainerKind::Init, container.clone()));
    }
    let ephemeral = ephemeral_containers(pod).iter().find(|container| container.name == name)?;
    Some((ContainerKind::Ephemeral, from_ephemeral(ephemeral)))
}

/// An ephemeral container as an ordinary one.
pub fn from_ephemeral(ephemeral: &EphemeralContainer) -> Container {
    let own = ephemeral.clone();
    Container {
        args: own.args,
        command: own.command,
        env: own.env,
        env_from: own.env_from,
        image: own.image,
        image_pull_policy: own.image_pull_policy,
        lifecycle: own.lifecycle,
        liveness_probe: own.liveness_probe,
        name: own.name,
        ports: own.ports,
        readiness_probe: own.readiness_probe,
        resize_policy: own.resize_policy,
        resources: own.resources,
        restart_policy: own.restart_policy,
        restart_policy_rules: own.restart_policy_rules,
        security_context: own.security_context,
        startup_probe: own.startup_probe,
        stdin: own.stdin,
        stdin_once: own.stdin_once,
        termination_message_path: own.termination_message_path,
        termination_message_policy: own.termination_message_policy,
        tty: own.tty,
        volume_devices: own.volume_devices,
        volume_mounts: own.volume_mounts,
        working_dir: own.working_dir,
    }
}

/// Containers of a list, owned: ephemeral ones are converted.
pub fn containers_of(pod: &Pod, kind: ContainerKind) -> Vec<Container> {
    match kind {
        ContainerKind::Init => init_containers(pod).to_vec(),
        ContainerKind::Main => spec(pod).containers.clone(),
        ContainerKind::Ephemeral => ephemeral_containers(pod).iter().map(from_ephemeral).collect(),
    }
}

/// The three probes a container may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
}

impl ProbeKind {
    /// All of them.
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

    /// As events begin: `Liveness`.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }

    /// The probe of a container.
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            ProbeKind::Startup => container.startup_probe.as_ref(),
            ProbeKind::Liveness => container.liveness_probe.as_ref(),
            ProbeKind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// Annotation that says where a Pod comes from: `api`, `file`.
pub const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// Annotation of a mirror Pod: the hash of the static Pod it mirrors.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Annotation with the hash of a static Pod.
pub const HASH_ANNOTATION: &str = "kubernetes.io/config.hash";
/// Annotation with the time the node first saw a Pod.
pub const SEEN_ANNOTATION: &str = "kubernetes.io/config.seen";

/// An annotation's value.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether the Pod comes from a file of this node.
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE_ANNOTATION).is_some_and(|source| source != "api")
}

/// Whether the Pod stands for a static Pod at the API server.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR_ANNOTATION).is_some()
}

/// Whether the Pod must never be turned away for lack of resources: static, mirror or of system priority.
pub fn is_critical(pod: &Pod) -> bool {
    const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;
    is_static(pod) || is_mirror(pod) || spec(pod).priority.is_some_and(|own| own >= SYSTEM_CRITICAL_PRIORITY)
}
