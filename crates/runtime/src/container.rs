//! Containers: made, started, stopped, removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::image::PreparedRoot;
use cri::runtime::{ContainerConfig, ContainerState, ContainerStatus, Event};
use cri::sandbox::{PodSandboxConfig, PodSandboxState};
use cri::{Error, ErrorKind, Result};

use crate::cgroup::Group;
use crate::daemon::{Container, Runtime, Sandbox, blocking};
use crate::host_devices;
use crate::plan;
use crate::protocol::{Answer, RequestBody, Run};
use crate::seccomp_profile::{compile, default_profile};
use crate::spec::{ContainerSpec, DeviceSpec, ProcessSpec};
use crate::state::{ContainerRecord, VERSION};

/// How often, and how far apart, a control group whose processes are just ending is removed again.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

/// How many compiled filters are kept.
const FILTERS_MAX: usize = 64;

impl Runtime {
    /// See [`cri::runtime::RuntimeService::create_container`].
    pub(crate) async fn make_container(
        &self,
        sandbox: &Arc<Sandbox>,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<String> {
        if sandbox.record.lock().state != PodSandboxState::Ready {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("failed to get sandbox: sandbox {:?} is not ready", sandbox.id),
            ));
        }
        let id = self.options.entropy.hex(64);
        let parent = match sandbox_config.linux.cgroup_parent.as_str() {
            "" => format!("{}/kubepods", self.options.cgroup_root),
            parent => parent.to_owned(),
        };
        let group = self.make_group(format!("{parent}/{id}"), config.resources.clone());
        let root = self.roots.prepare_root(&config.image, &id);
        let (group, root) = tokio::join!(group, root);
        let made = match (&group, root) {
            (Ok(group), Ok(root)) => self.write_container(sandbox, &id, config, sandbox_config, group, root),
            (Err(error), _) => Err(error.clone()),
            (_, Err(error)) => Err(error),
        };
        match made {
            Ok(container) => {
                self.publish_container(&container, |sandbox_id, container_id, pod_uid| {
                    Event::ContainerCreated { sandbox_id, container_id, pod_uid }
                });
                Ok(id)
            }
            Err(error) => {
                self.remove_records(&sandbox.id, &id).await;
                if let Ok(group) = group {
                    self.remove_group(group).await;
                }
                let _ = self.roots.remove_root(&id).await;
                Err(error)
            }
        }
    }

    fn write_container(
        &self,
        sandbox: &Sandbox,
        id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
        group: &Group,
        root: PreparedRoot,
    ) -> Result<Arc<Container>> {
        let failed =
            |error: std::io::Error| Error::unknown(format!("failed to create containerd container: {error}"));
        make_missing_sources(config).map_err(failed)?;
        let spec = self.container_spec(sandbox, id, config, sandbox_config, group, &root)?;
        let record = ContainerRecord {
            id: id.to_owned(),
            sandbox: sandbox.id.clone(),
            config: config.clone(),
            created_at_ns: self.now_ns(),
            image_id: root.image_id,
            image_ref: root.image_ref,
            log_path: spec.log_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
            stop_signal: plan::stop_signal(&config.stop_signal, &root.config.stop_signal),
            group: group.clone(),
        };
        crate::state::write(&self.records.spec_path(&sandbox.id, id), &spec).map_err(failed)?;
        self.records.write_container(&record).map_err(failed)?;
        let container = Container::new(record, sandbox.pod_uid(), ContainerState::Created, Run::default());
        self.objects.lock().containers.insert(id.to_owned(), container.clone());
        Ok(container)
    }

    fn container_spec(
        &self,
        sandbox: &Sandbox,
        id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
        group: &Group,
        root: &PreparedRoot,
    ) -> Result<ContainerSpec> {
        let invalid =
            |error: String| Error::unknown(format!("failed to create containerd container: {error}"));
        let context = &config.security_context;
        let capabilities = plan::capabilities(config, self.capabilities).map_err(invalid)?;
        let devices = requested_devices(config).map_err(|error| invalid(error.to_string()))?;
        let rules = plan::device_rules(context.privileged, &devices);
        group.restrict_devices(&rules).map_err(|error| invalid(error.to_string()))?;
        let mounts = plan::mounts(config, sandbox_config, &self.files(&sandbox.id));
        let hostname = match sandbox_config.hostname.as_str() {
            "" => crate::sandbox::host_name(),
            hostname => hostname.to_owned(),
        };
        let directory = match (config.working_dir.as_str(), root.config.working_dir.as_str()) {
            ("", "") => "/",
            ("", image) => image,
            (own, _) => own,
        };
        let mut nodes = plan::default_devices();
        if context.privileged {
            nodes.extend(host_devices::all(Path::new("/dev")));
        }
        nodes.extend(devices.into_iter().map(|(device, _)| device));
        Ok(ContainerSpec {
            version: VERSION,
            id: id.to_owned(),
            root: root.mount.clone(),
            staging: self.run_dir(&sandbox.id).join("root"),
            readonly_root: context.readonly_rootfs,
            pid_namespace: plan::pid_namespace(config),
            group: group.clone(),
            own_group_namespace: group.unified && !context.privileged,
            populate_dev: plan::populate_dev(&mounts),
            devices: if plan::populate_dev(&mounts) { nodes } else { Vec::new() },
            mounts,
            masked_paths: context.masked_paths.clone(),
            readonly_paths: context.readonly_paths.clone(),
            user: plan::user(config, &root.config).map_err(invalid)?,
            process: ProcessSpec {
                arguments: plan::arguments(config, &root.config).map_err(invalid)?,
                environment: plan::environment(config, &root.config, &hostname),
                directory: Path::new("/").join(directory),
                terminal: config.tty,
                stdin: config.stdin,
                capabilities,
                no_new_privileges: context.no_new_privs,
                seccomp: plan::seccomp(config, || self.default_filter(capabilities)).map_err(invalid)?,
                oom_score_adj: Some(config.resources.oom_score_adj),
            },
            stdin_once: config.stdin_once,
            log_path: log_path(config, sandbox_config),
        })
    }

    /// The default filter for a set of capabilities. Pods use few different sets.
    fn default_filter(&self, capabilities: u64) -> Vec<u64> {
        let mut filters = self.filters.lock();
        if filters.len() > FILTERS_MAX {
            filters.clear();
        }
        let make = || compile(&default_profile(capabilities));
        filters.entry(capabilities).or_insert_with(make).clone()
    }

    /// See [`cri::runtime::RuntimeService::start_container`].
    pub(crate) async fn run_container(&self, container: &Arc<Container>) -> Result<()> {
        if container.state() != ContainerState::Created {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!(
                    "failed to set starting state for container {:?}: container is in {} state",
                    container.id,
                    state_name(container.state())
                ),
            ));
        }
        let sandbox = self.sandbox(&container.sandbox())?;
        let spec = self.records.spec_path(&sandbox.id, &container.id).display().to_string();
        let started =
            sandbox.client()?.call(RequestBody::Start { container: container.id.clone(), spec }).await;
        match started {
            Ok((Answer::Started(run), _)) => {
                {
                    let mut current = container.run.lock();
                    // Its end may have been told meanwhile.
                    if current.0 != ContainerState::Created {
                        return Ok(());
                    }
                    *current = (ContainerState::Running, run);
                }
                self.publish_container(container, |sandbox_id, container_id, pod_uid| {
                    Event::ContainerStarted { sandbox_id, container_id, pod_uid }
                });
                Ok(())
            }
            Ok(_) => Err(Error::unknown("the pod's process gave an unexpected answer")),
            Err(error) => {
                let run = Run {
                    finished_at_ns: self.now_ns(),
                    exit_code: 128,
                    reason: "StartError".to_owned(),
                    message: error.message.clone(),
                    ..Run::default()
                };
                if let Err(error) = self.records.write_run(&sandbox.id, &container.id, &run) {
                    tracing::warn!(container = container.id, "{error}");
                }
                self.on_exited(&container.id, run);
                Err(error)
            }
        }
    }

    /// See [`cri::runtime::RuntimeService::stop_container`].
    pub(crate) async fn end_container(&self, container: &Arc<Container>, timeout_s: i64) -> Result<()> {
        if container.state() != ContainerState::Running {
            return Ok(());
        }
        let Ok(client) = self.sandbox(&container.sandbox()).and_then(|sandbox| sandbox.client()) else {
            // Without its process a container has ended or is just being noted as ended.
            container.wait_ended().await;
            return Ok(());
        };
        let send = |signal: i32, all: bool| {
            client.call(RequestBody::Signal { container: container.id.clone(), signal, all })
        };
        if timeout_s > 0 {
            let signal = container.record.lock().stop_signal;
            // An error means that it has just ended.
            let _ = send(signal, false).await;
            let grace = Duration::from_secs(timeout_s.unsigned_abs());
            if tokio::time::timeout(grace, container.wait_ended()).await.is_ok() {
                return Ok(());
            }
        }
        let _ = send(sys::process::SIGKILL, true).await;
        container.wait_ended().await;
        Ok(())
    }

    /// See [`cri::runtime::RuntimeService::remove_container`].
    pub(crate) async fn delete_container(&self, container: &Arc<Container>) -> Result<()> {
        self.end_container(container, 0).await?;
        let sandbox = container.sandbox();
        if let Ok(client) = self.sandbox(&sandbox).and_then(|sandbox| sandbox.client()) {
            let _ = client.call(RequestBody::Forget { container: container.id.clone() }).await;
        }
        self.remove_group(container.group()).await;
        self.roots.remove_root(&container.id).await?;
        self.remove_records(&sandbox, &container.id).await;
        if self.objects.lock().containers.remove(&container.id).is_some() {
            self.publish_container(container, |sandbox_id, container_id, pod_uid| Event::ContainerDeleted {
                sandbox_id,
                container_id,
                pod_uid,
            });
        }
        Ok(())
    }

    /// Removes a container's records. A disk may take milliseconds for each name.
    async fn remove_records(&self, sandbox: &str, container: &str) {
        let (records, sandbox, container) = (self.records.clone(), sandbox.to_owned(), container.to_owned());
        let removed = blocking(move || {
            records.remove_container(&sandbox, &container);
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::warn!("remove the records of a container: {error}");
        }
    }

    /// Removes a control group. Killed processes leave it a moment after they were signalled, which the kernel does
    /// not announce on version 1.
    pub(crate) async fn remove_group(&self, group: Group) {
        for attempt in 1..=REMOVE_TRIES {
            let group = group.clone();
            let removed = tokio::task::spawn_blocking(move || {
                let removed = group.remove();
                if removed.is_err() {
                    group.kill_all();
                }
                removed
            });
            match removed.await {
                Ok(Err(error)) if attempt == REMOVE_TRIES => tracing::warn!("{error}"),
                Ok(Err(_)) => tokio::time::sleep(REMOVE_PAUSE).await,
                Ok(Ok(())) | Err(_) => return,
            }
        }
    }
}

/// Host paths that are not there are made as directories, as upstream's runtime does.
fn make_missing_sources(config: &ContainerConfig) -> std::io::Result<()> {
    for mount in &config.mounts {
        if !Path::new(&mount.host_path).exists() {
            std::fs::create_dir_all(&mount.host_path).map_err(|error| {
                std::io::Error::new(error.kind(), format!("failed to mkdir {:?}: {error}", mount.host_path))
            })?;
        }
    }
    Ok(())
}

fn requested_devices(config: &ContainerConfig) -> std::io::Result<Vec<(DeviceSpec, String)>> {
    let mut devices = Vec::new();
    for device in &config.devices {
        let metadata = std::fs::metadata(&device.host_path).map_err(|error| {
            std::io::Error::new(error.kind(), format!("device {}: {error}", device.host_path))
        })?;
        let spec = host_devices::node(PathBuf::from(&device.container_path), &metadata)
            .ok_or_else(|| std::io::Error::other(format!("{} is not a device", device.host_path)))?;
        devices.push((spec, device.permissions.clone()));
    }
    Ok(devices)
}

fn log_path(config: &ContainerConfig, sandbox: &PodSandboxConfig) -> Option<PathBuf> {
    let wanted = !sandbox.log_directory.is_empty() && !config.log_path.is_empty();
    wanted.then(|| Path::new(&sandbox.log_directory).join(&config.log_path))
}

/// CRI's name of a state, for messages.
pub(crate) fn state_name(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "CONTAINER_CREATED",
        ContainerState::Running => "CONTAINER_RUNNING",
        ContainerState::Exited => "CONTAINER_EXITED",
        ContainerState::Unknown => "CONTAINER_UNKNOWN",
    }
}

/// The container as clients see it.
pub(crate) fn status(container: &Container) -> ContainerStatus {
    let record = container.record.lock().clone();
    let (state, run) = container.run.lock().clone();
    let image = match record.config.user_specified_image.as_str() {
        "" => record.config.image.clone(),
        written => written.to_owned(),
    };
    ContainerStatus {
        id: record.id,
        pod_sandbox_id: record.sandbox,
        metadata: record.config.metadata,
        state,
        created_at_ns: record.created_at_ns,
        started_at_ns: run.started_at_ns,
        finished_at_ns: run.finished_at_ns,
        exit_code: run.exit_code,
        image,
        image_id: record.image_id,
        image_ref: record.image_ref,
        reason: run.reason,
        message: run.message,
        labels: record.config.labels,
        annotations: record.config.annotations,
        mounts: record.config.mounts,
        log_path: record.log_path,
        resources: record.config.resources,
        user: run.user,
        pid: run.pid,
    }
}
