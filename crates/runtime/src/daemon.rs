//! The daemon's view of sandboxes and containers, and the runtime that holds it.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use cri::image::RootProvider;
use cri::network::PodNetwork;
use cri::runtime::{ContainerState, Event};
use cri::sandbox::{LinuxContainerResources, PodSandboxState};
use cri::{Error, Result};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::cgroup::{Group, Manager};
use crate::client::{Client, Listener};
use crate::events::Events;
use crate::launch::Launcher;
use crate::options::Options;
use crate::plan::SandboxFiles;
use crate::protocol::{Event as ShimEvent, Run};
use crate::state::{ContainerRecord, Records, SandboxRecord};

/// A sandbox.
pub(crate) struct Sandbox {
    pub id: String,
    pub record: Mutex<SandboxRecord>,
    pub client: Mutex<Option<Arc<Client>>>,
    /// One change at a time.
    pub changing: tokio::sync::Mutex<()>,
}

impl Sandbox {
    pub fn pod_uid(&self) -> String {
        self.record.lock().config.metadata.uid.clone()
    }

    /// The connection to the Pod's process.
    pub fn client(&self) -> Result<Arc<Client>> {
        self.client.lock().clone().ok_or_else(|| {
            Error::new(cri::ErrorKind::FailedPrecondition, format!("sandbox {:?} is not ready", self.id))
        })
    }
}

/// A container.
pub(crate) struct Container {
    pub id: String,
    pub pod_uid: String,
    pub record: Mutex<ContainerRecord>,
    pub run: Mutex<(ContainerState, Run)>,
    /// Becomes true when it has ended.
    pub ended: watch::Sender<bool>,
}

impl Container {
    pub fn new(record: ContainerRecord, pod_uid: String, state: ContainerState, run: Run) -> Arc<Self> {
        let ended = watch::channel(state == ContainerState::Exited).0;
        let id = record.id.clone();
        Arc::new(Self { id, pod_uid, record: Mutex::new(record), run: Mutex::new((state, run)), ended })
    }

    pub fn sandbox(&self) -> String {
        self.record.lock().sandbox.clone()
    }

    pub fn group(&self) -> Group {
        self.record.lock().group.clone()
    }

    pub fn state(&self) -> ContainerState {
        self.run.lock().0
    }

    pub async fn wait_ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

#[derive(Default)]
pub(crate) struct Objects {
    pub sandboxes: BTreeMap<String, Arc<Sandbox>>,
    pub containers: BTreeMap<String, Arc<Container>>,
}

/// A sandbox that is ready but for a Pod.
pub(crate) struct Prepared {
    pub id: String,
    pub client: Arc<Client>,
}

/// The container runtime. See [`cri::runtime::RuntimeService`].
pub struct Runtime {
    pub(crate) options: Options,
    pub(crate) network: Arc<dyn PodNetwork>,
    pub(crate) roots: Arc<dyn RootProvider>,
    pub(crate) cgroups: Manager,
    pub(crate) shims_group: Group,
    pub(crate) launcher: Launcher,
    pub(crate) records: Records,
    pub(crate) events: Events,
    pub(crate) objects: Mutex<Objects>,
    /// Who waits for the end of a command: (sandbox, sender).
    pub(crate) commands: Mutex<HashMap<String, (String, oneshot::Sender<i32>)>>,
    pub(crate) prepared: Mutex<Vec<Prepared>>,
    /// One sandbox is prepared at a time.
    pub(crate) refilling: tokio::sync::Mutex<()>,
    /// Nothing is prepared any more.
    pub(crate) closed: std::sync::atomic::AtomicBool,
    pub(crate) capabilities: u64,
    /// Default filters compiled so far, by capabilities.
    pub(crate) filters: Mutex<HashMap<u64, Vec<u64>>>,
    /// Held, never read; see [`Manager::hurry`].
    pub(crate) _hurry: Option<OwnedFd>,
    /// For tasks that must not keep it alive.
    pub(crate) this: Weak<Runtime>,
}

impl Runtime {
    /// Files and sockets of a sandbox that do not outlive a reboot.
    pub(crate) fn run_dir(&self, sandbox: &str) -> PathBuf {
        self.options.run_dir.join("pods").join(sandbox)
    }

    pub(crate) fn files(&self, sandbox: &str) -> SandboxFiles {
        let directory = self.run_dir(sandbox);
        SandboxFiles {
            hostname: directory.join("hostname"),
            resolv_conf: directory.join("resolv.conf"),
            shm: directory.join("shm"),
        }
    }

    pub(crate) fn now_ns(&self) -> i64 {
        i64::try_from(self.options.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    pub(crate) fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = self.objects.lock().sandboxes.get(id).cloned();
        found.ok_or_else(|| {
            Error::not_found(format!("an error occurred when try to find sandbox {id:?}: not found"))
        })
    }

    pub(crate) fn container(&self, id: &str) -> Result<Arc<Container>> {
        let found = self.objects.lock().containers.get(id).cloned();
        found.ok_or_else(|| {
            Error::not_found(format!("an error occurred when try to find container {id:?}: not found"))
        })
    }

    pub(crate) fn containers_of(&self, sandbox: Option<&str>) -> Vec<Arc<Container>> {
        let objects = self.objects.lock();
        let all = objects.containers.values();
        all.filter(|container| sandbox.is_none_or(|id| container.record.lock().sandbox == id))
            .cloned()
            .collect()
    }

    /// What hears a Pod's process.
    pub(crate) fn listener(&self, sandbox: &str) -> Listener {
        let (this, sandbox) = (self.this.clone(), sandbox.to_owned());
        Box::new(move |event| {
            let Some(runtime) = this.upgrade() else { return };
            match event {
                Some(ShimEvent::Exited { container, run }) => runtime.on_exited(&container, run),
                Some(ShimEvent::ExecEnded { exec, code }) => {
                    let waiting = runtime.commands.lock().remove(&exec);
                    if let Some((_, waiting)) = waiting {
                        let _ = waiting.send(code);
                    }
                }
                None => runtime.on_lost(&sandbox),
            }
        })
    }

    /// A container has ended.
    pub(crate) fn on_exited(&self, id: &str, run: Run) {
        let Ok(container) = self.container(id) else { return };
        {
            let mut current = container.run.lock();
            if current.0 == ContainerState::Exited {
                return;
            }
            if current.0 == ContainerState::Created && run.started_at_ns != 0 {
                self.publish_container(&container, |sandbox_id, container_id, pod_uid| {
                    Event::ContainerStarted { sandbox_id, container_id, pod_uid }
                });
            }
            *current = (ContainerState::Exited, run);
        }
        container.ended.send_replace(true);
        self.publish_container(&container, |sandbox_id, container_id, pod_uid| Event::ContainerStopped {
            sandbox_id,
            container_id,
            pod_uid,
        });
    }

    /// A Pod's process is gone: its containers die with it.
    fn on_lost(&self, id: &str) {
        self.commands.lock().retain(|_, (sandbox, _)| sandbox != id);
        self.prepared.lock().retain(|prepared| prepared.id != id);
        let Ok(sandbox) = self.sandbox(id) else { return };
        sandbox.client.lock().take();
        let was_ready = {
            let mut record = sandbox.record.lock();
            let was_ready = record.state == PodSandboxState::Ready;
            record.state = PodSandboxState::NotReady;
            if let Err(error) = self.records.write_stopped(id) {
                tracing::warn!(sandbox = id, "{error}");
            }
            was_ready
        };
        self.end_without_shim(id);
        if was_ready {
            self.events
                .publish(&Event::SandboxStopped { sandbox_id: id.to_owned(), pod_uid: sandbox.pod_uid() });
        }
    }

    /// Kills and notes as killed what still ran when the Pod's process went away.
    pub(crate) fn end_without_shim(&self, sandbox: &str) {
        for container in self.containers_of(Some(sandbox)) {
            if container.state() != ContainerState::Running {
                continue;
            }
            container.group().kill_all();
            let mut run = container.run.lock().1.clone();
            run.pid = 0;
            run.exit_code = 137;
            run.reason = "Error".to_owned();
            run.finished_at_ns = self.now_ns();
            if let Err(error) = self.records.write_run(sandbox, &container.id, &run) {
                tracing::warn!(container = container.id, "{error}");
            }
            self.on_exited(&container.id, run);
        }
    }

    pub(crate) fn publish_container(
        &self,
        container: &Container,
        make: impl Fn(String, String, String) -> Event,
    ) {
        let sandbox = container.sandbox();
        self.events.publish(&make(sandbox, container.id.clone(), container.pod_uid.clone()));
    }

    /// Makes a control group beside other work; a version 1 memory group can take a while.
    pub(crate) async fn make_group(&self, path: String, limits: LinuxContainerResources) -> Result<Group> {
        let manager = self.cgroups.clone();
        let made = blocking(move || manager.make(&path, &limits)).await;
        made.map_err(|error| Error::unknown(format!("make cgroup: {error}")))
    }
}

/// Waits for disk or kernel on a thread of its own: those that serve requests and start Pods have others waiting.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
