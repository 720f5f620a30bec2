//! Starts one container: image, configuration, creation, start, `postStart`.

use cri::runtime::Mount;
use cri::sandbox::PodSandboxConfig;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use podlogic::actions::KillReason;
use podlogic::container_config::{ContainerInput, container_config};
use podlogic::container_status::StartFailure;
use podlogic::downward::Facts;
use podlogic::security::ImageUser;
use podlogic::{ContainerKind, Observed, env, labels, pod};

use crate::api::container_reference;
use crate::seams::PreparedVolumes;
use crate::shared::{Mailbox, Shared};
use crate::{directories, hooks, kill};

/// What the steps of a start share.
pub struct StartContext<'a> {
    /// The agent.
    pub shared: &'a Shared,
    /// The Pod's post box.
    pub mailbox: &'a Mailbox,
    /// The Pod.
    pub pod: &'a Pod,
    /// What was observed.
    pub observed: &'a Observed,
    /// The sandbox to start in.
    pub sandbox_id: &'a str,
    /// Its configuration.
    pub sandbox_config: &'a PodSandboxConfig,
    /// The Pod's addresses.
    pub pod_ips: &'a [String],
    /// Its volumes.
    pub volumes: &'a PreparedVolumes,
    /// Its secrets for registries.
    pub pull_secrets: &'a [Secret],
}

/// Why a container was not started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStarted {
    /// The waiting state to show.
    pub failure: StartFailure,
    /// When to try again, where that is known.
    pub retry_at: Option<jiff::Timestamp>,
}

fn failed(reason: &str, message: impl Into<String>) -> NotStarted {
    NotStarted { failure: StartFailure { reason: reason.into(), message: message.into() }, retry_at: None }
}

impl StartContext<'_> {
    /// Starts a container.
    ///
    /// # Errors
    /// The waiting state to show, and when to try again.
    pub async fn start(&self, kind: ContainerKind, container: &Container) -> Result<(), NotStarted> {
        let (shared, pod) = (self.shared, self.pod);
        let object = container_reference(pod, kind, &container.name);
        let warn = |message: String| shared.recorder.warning(object.clone(), "Failed", message);

        let ensure = shared.puller.ensure(pod, container, &object, self.pull_secrets);
        let image = tokio::select! {
            biased;
            image = ensure => image,
            () = self.ending() => return Err(failed("ContainerCreating", "")),
        };
        let image = image.map_err(|error| {
            warn(format!("Error: {}", error.failure.reason));
            NotStarted { failure: error.failure, retry_at: error.retry_at }
        })?;

        let configure = self.configure(kind, container, &image);
        let config = tokio::select! {
            biased;
            config = configure => config,
            // It may have to wait for services to be known.
            () = self.ending() => return Err(failed("ContainerCreating", "")),
        };
        let config = match config {
            Ok(config) => config,
            Err(message) => {
                warn(format!("Error: {message}"));
                return Err(failed("CreateContainerConfigError", message));
            }
        };
        let runtime = shared.runtime();
        let created = runtime.create_container(self.sandbox_id, &config, self.sandbox_config).await;
        let id = created.map_err(|error| {
            warn(format!("Error: {error}"));
            failed("CreateContainerError", error.message)
        })?;
        shared.recorder.normal(object.clone(), "Created", "Container created");
        if let Err(error) = runtime.start_container(&id).await {
            warn(format!("Error: {error}"));
            return Err(failed("RunContainerError", error.message));
        }
        shared.recorder.normal(object.clone(), "Started", "Container started");
        self.link(container, &id, &config.log_path).await;
        self.post_start(kind, container, &id).await
    }

    /// Resolves when the Pod has to end.
    async fn ending(&self) {
        while !self.mailbox.must_end() {
            self.mailbox.ending.notified().await;
        }
    }

    async fn configure(
        &self,
        kind: ContainerKind,
        container: &Container,
        image: &cri::image::Image,
    ) -> Result<cri::runtime::ContainerConfig, String> {
        let (shared, pod) = (self.shared, self.pod);
        let from_logs =
            directories::make_log_directory(shared, pod, &container.name).await.map_err(|error| {
                format!("create container log directory for container {} failed: {error}", container.name)
            })?;
        let restart_count = match self.observed.latest(&container.name) {
            Some(latest) => u32::try_from(labels::restart_count(latest) + 1).unwrap_or(0),
            None => from_logs,
        };
        let sources = shared.objects.sources(pod::namespace(pod), container).await;
        let links = pod::spec(pod).enable_service_links.unwrap_or(true);
        let services = match pod::is_static(pod) {
            true => Default::default(),
            false => shared.objects.service_variables(pod::namespace(pod), links).await,
        };
        let facts = Facts {
            pod,
            pod_ips: self.pod_ips,
            host_ips: &shared.host_ips,
            allocatable: &shared.allocatable,
        };
        let envs = env::environment(container, &sources, &services, &facts)?;
        let mounts = self.mounts(container, &envs).await?;
        let image_user = ImageUser { uid: image.uid, username: image.username.clone() };
        let seccomp_root = shared.options.directories.root.join("seccomp").to_string_lossy().into_owned();
        let target = self.target(kind, &container.name)?;
        container_config(ContainerInput {
            pod,
            container,
            restart_count,
            image_id: &image.id,
            image_user: &image_user,
            envs,
            mounts,
            devices: Vec::new(),
            target: target.as_deref(),
            seccomp_root: &seccomp_root,
            limits: &shared.limits,
        })
    }

    /// The container whose processes an ephemeral container asked to see.
    fn target(&self, kind: ContainerKind, name: &str) -> Result<Option<String>, String> {
        if kind != ContainerKind::Ephemeral {
            return Ok(None);
        }
        let own = pod::ephemeral_containers(self.pod).iter().find(|own| own.name == name);
        let Some(target) =
            own.and_then(|own| own.target_container_name.as_deref()).filter(|name| !name.is_empty())
        else {
            return Ok(None);
        };
        match self.observed.latest(target) {
            Some(status) => Ok(Some(status.id.clone())),
            None => Err(format!("unable to find target container {target}")),
        }
    }

    async fn mounts(&self, container: &Container, envs: &[(String, String)]) -> Result<Vec<Mount>, String> {
        let (shared, pod) = (self.shared, self.pod);
        let mut mounts = shared.options.volumes.container_mounts(pod, container, envs, self.volumes).await?;
        let has = |mounts: &[Mount], path: &str| mounts.iter().any(|mount| mount.container_path == path);
        let wants_hosts = pod::is_host_network(pod) || !self.pod_ips.is_empty();
        if wants_hosts && !has(&mounts, "/etc/hosts") {
            let file = directories::write_hosts(shared, pod, self.pod_ips).await;
            let file = file.map_err(|error| format!("writing the hosts file: {error}"))?;
            mounts.push(Mount {
                container_path: "/etc/hosts".into(),
                host_path: file.to_string_lossy().into_owned(),
                ..Mount::default()
            });
        }
        if let Some(path) = container.termination_message_path.as_deref().filter(|path| !path.is_empty()) {
            let file = directories::make_message_file(shared, pod, container).await;
            let file = file.map_err(|error| format!("making the termination message file: {error}"))?;
            mounts.push(Mount {
                container_path: path.into(),
                host_path: file.to_string_lossy().into_owned(),
                ..Mount::default()
            });
        }
        Ok(mounts)
    }

    async fn link(&self, container: &Container, id: &str, log_path: &str) {
        let log = std::path::Path::new(&self.sandbox_config.log_directory).join(log_path);
        if let Err(error) = directories::link_log(self.shared, self.pod, &container.name, id, &log).await {
            tracing::warn!(container = container.name, %error, "linking a log");
        }
    }

    async fn post_start(
        &self,
        kind: ContainerKind,
        container: &Container,
        id: &str,
    ) -> Result<(), NotStarted> {
        let Some(handler) = container.lifecycle.as_ref().and_then(|own| own.post_start.as_ref()) else {
            return Ok(());
        };
        let (shared, pod) = (self.shared, self.pod);
        let ip = self.pod_ips.first().map(String::as_str);
        let Err(message) = hooks::run(shared, pod, container, id, handler, ip).await else { return Ok(()) };
        let object = container_reference(pod, kind, &container.name);
        // The hook's own words may hold secrets; the event does not repeat them.
        shared.recorder.warning(object, "FailedPostStartHook", "PostStartHook failed");
        let request = kill::KillRequest {
            container_id: id,
            name: &container.name,
            message: Some("FailedPostStartHook"),
            reason: KillReason::FailedPostStart,
            grace_s: None,
        };
        if let Err(error) = kill::kill_container(shared, pod, &request, ip).await {
            tracing::warn!(container = request.container_id, %error, "stopping a container");
        }
        Err(failed("PostStartHookError", message))
    }
}
