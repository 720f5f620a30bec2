//! Sandboxes: made, stopped, removed.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use cri::network::Attachment;
use cri::runtime::{ContainerState, Event};
use cri::sandbox::{NamespaceMode, NamespaceOption, PodSandboxConfig, PodSandboxState, PodSandboxStatus};
use cri::{Error, ErrorKind, Result};
use parking_lot::Mutex;

use crate::client::Client;
use crate::daemon::{Prepared, Runtime, Sandbox, blocking};
use crate::plan::resolv_conf;
use crate::protocol::RequestBody;
use crate::spec::SandboxSpec;
use crate::state::SandboxRecord;

/// `/dev/shm` of a Pod.
const SHM_OPTIONS: &str = "mode=1777,size=67108864";

fn remove_run_dir(directory: &std::path::Path, id: &str) {
    if let Err(error) = sys::mount::unmount(&directory.join("shm")) {
        tracing::warn!(sandbox = id, "unmount the shared memory: {error}");
    }
    if let Err(error) = sys::tree::remove(directory) {
        tracing::warn!("remove {}: {error}", directory.display());
    }
}

impl Runtime {
    /// See [`cri::runtime::RuntimeService::run_pod_sandbox`].
    pub(crate) async fn make_sandbox(&self, config: &PodSandboxConfig) -> Result<String> {
        self.check_name(config)?;
        let options = &config.linux.security_context.namespace_options;
        let usual = options.network != NamespaceMode::Node && options.ipc != NamespaceMode::Node;
        let claimed = if usual { self.prepared.lock().pop() } else { None };
        let group = async {
            let parent = &config.linux.cgroup_parent;
            if parent.is_empty() {
                return Ok(());
            }
            self.make_group(parent.clone(), config.linux.resources.clone()).await.map(|_| ())
        };
        let process = async {
            match claimed {
                Some(prepared) => Ok(prepared),
                None => self.prepare(options).await,
            }
        };
        let (group, prepared) = tokio::join!(group, process);
        let prepared = prepared?;
        let id = prepared.id.clone();
        let made = match group {
            Ok(()) => self.finish_sandbox(&prepared, config).await,
            Err(error) => Err(error),
        };
        self.refill();
        match made {
            Ok(()) => Ok(id),
            Err(error) => {
                self.objects.lock().sandboxes.remove(&id);
                self.discard(&prepared).await;
                let _ = self.network.detach(&id).await;
                let _ = self.records.remove_sandbox(&id);
                Err(error)
            }
        }
    }

    fn check_name(&self, config: &PodSandboxConfig) -> Result<()> {
        let objects = self.objects.lock();
        let taken = objects
            .sandboxes
            .values()
            .find(|sandbox| sandbox.record.lock().config.metadata == config.metadata);
        match taken {
            None => Ok(()),
            Some(sandbox) => {
                let metadata = &config.metadata;
                let name =
                    format!("{}_{}_{}_{}", metadata.name, metadata.namespace, metadata.uid, metadata.attempt);
                Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!(
                        "failed to reserve sandbox name {name:?}: name {name:?} is reserved for {:?}",
                        sandbox.id
                    ),
                ))
            }
        }
    }

    /// Starts a Pod's process with its namespaces.
    pub(crate) async fn prepare(&self, options: &NamespaceOption) -> Result<Prepared> {
        let id = self.options.entropy.hex(64);
        let directory = self.run_dir(&id);
        let failed =
            |error: std::io::Error| Error::unknown(format!("failed to start sandbox {id:?}: {error}"));
        std::fs::create_dir_all(directory.join("shm")).map_err(failed)?;
        std::fs::create_dir_all(directory.join("root")).map_err(failed)?;
        std::fs::create_dir_all(self.records.sandbox_dir(&id)).map_err(failed)?;
        let (socket, pid) = self.launcher.start(&directory.join("shim.log")).map_err(failed)?;
        let client = Client::new(socket, pid, self.listener(&id)).map_err(failed)?;
        let prepared = Prepared { id: id.clone(), client };
        let spec = SandboxSpec {
            sandbox: id.clone(),
            socket: directory.join("shim.sock"),
            group: self.shims_group.clone(),
            own_network: options.network != NamespaceMode::Node,
            own_ipc: options.ipc != NamespaceMode::Node,
            records: self.records.sandbox_dir(&id),
        };
        let call = prepared.client.call(RequestBody::Prepare(Box::new(spec)));
        let mounted = async {
            if options.ipc == NamespaceMode::Node {
                return Ok(());
            }
            sys::mount::mount("tmpfs", &directory.join("shm"), SHM_OPTIONS)
        };
        let (answered, mounted) = tokio::join!(call, mounted);
        match answered.and_then(|_| mounted.map_err(failed)) {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.discard(&prepared).await;
                Err(error)
            }
        }
    }

    /// Ends a process that became no sandbox, and removes its files.
    pub(crate) async fn discard(&self, prepared: &Prepared) {
        self.end_process(&prepared.client).await;
        let _ = self.remove_files(&prepared.id).await;
    }

    /// Removes a sandbox's directories. A disk may take milliseconds for each name.
    async fn remove_files(&self, id: &str) -> std::io::Result<()> {
        let (directory, records, id) = (self.run_dir(id), self.records.clone(), id.to_owned());
        blocking(move || {
            remove_run_dir(&directory, &id);
            records.remove_sandbox(&id)
        })
        .await
    }

    async fn end_process(&self, client: &Arc<Client>) {
        // Nobody answers; the connection closes.
        let _ = client.call(RequestBody::ShutDown).await;
        client.wait_closed().await;
    }

    async fn finish_sandbox(&self, prepared: &Prepared, config: &PodSandboxConfig) -> Result<()> {
        let id = &prepared.id;
        let options = &config.linux.security_context.namespace_options;
        let failed =
            |error: std::io::Error| Error::unknown(format!("failed to set up sandbox {id:?}: {error}"));
        self.write_files(id, config).map_err(failed)?;
        let sysctls = crate::plan::sysctls(config)
            .map_err(|why| Error::unknown(format!("failed to start sandbox container: {why}")))?;
        let configure = prepared.client.call(RequestBody::Configure {
            hostname: if options.network == NamespaceMode::Node {
                String::new()
            } else {
                config.hostname.clone()
            },
            sysctls,
            shared_pid_namespace: options.pid == NamespaceMode::Pod,
        });
        let attach = async {
            if options.network == NamespaceMode::Node {
                return Ok(Vec::new());
            }
            let namespace = File::open(format!("/proc/{}/ns/net", prepared.client.pid)).map_err(failed)?;
            let attachment = Attachment {
                sandbox_id: id.clone(),
                port_mappings: config.port_mappings.clone(),
                pod_namespace: config.metadata.namespace.clone(),
                pod_name: config.metadata.name.clone(),
            };
            self.network.attach(namespace.as_fd(), &attachment).await.map_err(|error| {
                let message = format!("failed to setup network for sandbox {id:?}: {error}");
                Error::new(error.kind, message)
            })
        };
        let (configured, attached) = tokio::join!(configure, attach);
        configured.map_err(|error| {
            Error::new(error.kind, format!("failed to start sandbox container: {}", error.message))
        })?;
        let record = SandboxRecord {
            id: id.clone(),
            config: config.clone(),
            created_at_ns: self.now_ns(),
            ips: attached?.iter().map(ToString::to_string).collect(),
            state: PodSandboxState::Ready,
        };
        self.records.write_sandbox(&record).map_err(failed)?;
        let sandbox = Arc::new(Sandbox {
            id: id.clone(),
            record: Mutex::new(record),
            client: Mutex::new(Some(prepared.client.clone())),
            changing: tokio::sync::Mutex::new(()),
        });
        self.objects.lock().sandboxes.insert(id.clone(), sandbox);
        Ok(())
    }

    fn write_files(&self, id: &str, config: &PodSandboxConfig) -> std::io::Result<()> {
        let files = self.files(id);
        let hostname = if config.hostname.is_empty() { host_name() } else { config.hostname.clone() };
        std::fs::write(&files.hostname, format!("{hostname}\n"))?;
        match &config.dns_config {
            Some(dns) => std::fs::write(&files.resolv_conf, resolv_conf(dns)),
            // A machine without the file has no names to resolve.
            None => std::fs::write(&files.resolv_conf, std::fs::read("/etc/resolv.conf").unwrap_or_default()),
        }
    }

    /// See [`cri::runtime::RuntimeService::stop_pod_sandbox`].
    pub(crate) async fn stop_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        let _turn = sandbox.changing.lock().await;
        let client = sandbox.client.lock().clone();
        let containers = self.containers_of(Some(&sandbox.id));
        if let Some(client) = client {
            let kill = containers
                .iter()
                .filter(|container| container.state() == ContainerState::Running)
                .map(|container| async {
                    let container_id = container.id.clone();
                    let signal = sys::process::SIGKILL;
                    let sent =
                        client.call(RequestBody::Signal { container: container_id, signal, all: true });
                    if sent.await.is_ok() {
                        container.wait_ended().await;
                    }
                });
            futures::future::join_all(kill).await;
            self.end_process(&client).await;
        }
        self.network.detach(&sandbox.id).await?;
        let memory = self.files(&sandbox.id).shm;
        // The kernel waits for all processors before a mount is gone.
        blocking(move || sys::mount::unmount(&memory)).await.map_err(|error| {
            Error::unknown(format!("failed to unmount the shared memory of the sandbox: {error}"))
        })?;
        // The lost connection has done the rest; a sandbox without one gets it here.
        let was_ready = {
            let mut record = sandbox.record.lock();
            let was_ready = record.state == PodSandboxState::Ready;
            record.state = PodSandboxState::NotReady;
            was_ready
        };
        if was_ready {
            self.records.write_stopped(&sandbox.id).map_err(|error| Error::unknown(error.to_string()))?;
            self.events.publish(&Event::SandboxStopped {
                sandbox_id: sandbox.id.clone(),
                pod_uid: sandbox.pod_uid(),
            });
        }
        Ok(())
    }

    /// See [`cri::runtime::RuntimeService::remove_pod_sandbox`].
    pub(crate) async fn delete_sandbox(&self, sandbox: &Sandbox) -> Result<()> {
        self.stop_sandbox(sandbox).await?;
        for container in self.containers_of(Some(&sandbox.id)) {
            self.delete_container(&container).await?;
        }
        let _turn = sandbox.changing.lock().await;
        let parent = sandbox.record.lock().config.linux.cgroup_parent.clone();
        let shared =
            self.objects.lock().sandboxes.values().any(|other| {
                other.id != sandbox.id && other.record.lock().config.linux.cgroup_parent == parent
            });
        if !parent.is_empty() && !shared {
            self.remove_group(self.cgroups.group_everywhere(&parent)).await;
        }
        self.remove_files(&sandbox.id)
            .await
            .map_err(|error| Error::unknown(format!("failed to remove sandbox {:?}: {error}", sandbox.id)))?;
        self.objects.lock().sandboxes.remove(&sandbox.id);
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Keeps the number of prepared sandboxes up, beside other work.
    pub(crate) fn refill(&self) {
        if self.prepared.lock().len() >= self.options.prepared_sandboxes || self.is_closed() {
            return;
        }
        let this = self.this.clone();
        tokio::spawn(async move {
            let Some(runtime) = this.upgrade() else { return };
            // Held until what is being prepared is kept: `close` waits for it.
            let _turn = runtime.refilling.lock().await;
            if runtime.is_closed() {
                return;
            }
            match runtime.prepare(&NamespaceOption::default()).await {
                Ok(prepared) => runtime.keep_prepared(prepared).await,
                Err(error) => tracing::warn!("prepare a sandbox: {error}"),
            }
        });
    }

    async fn keep_prepared(&self, prepared: Prepared) {
        let surplus = {
            let mut kept = self.prepared.lock();
            if kept.len() < self.options.prepared_sandboxes && !self.is_closed() {
                kept.push(prepared);
                None
            } else {
                Some(prepared)
            }
        };
        match surplus {
            Some(surplus) => self.discard(&surplus).await,
            None => self.refill(),
        }
    }

    /// Ends the prepared sandboxes. Pods go on.
    pub async fn close(&self) {
        self.closed.store(true, std::sync::atomic::Ordering::Release);
        let _turn = self.refilling.lock().await;
        let prepared = std::mem::take(&mut *self.prepared.lock());
        for prepared in &prepared {
            self.discard(prepared).await;
        }
    }
}

/// The node's own name.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The sandbox as clients see it.
pub(crate) fn status(sandbox: &Sandbox) -> PodSandboxStatus {
    let record = sandbox.record.lock();
    PodSandboxStatus {
        id: record.id.clone(),
        metadata: record.config.metadata.clone(),
        state: record.state,
        created_at_ns: record.created_at_ns,
        ips: record.ips.clone(),
        namespace_options: record.config.linux.security_context.namespace_options.clone(),
        labels: record.config.labels.clone(),
        annotations: record.config.annotations.clone(),
    }
}
