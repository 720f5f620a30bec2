//! Opening the runtime: directories, control groups, and taking over what an earlier daemon left running.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use cri::image::RootProvider;
use cri::network::PodNetwork;
use cri::runtime::{ContainerState, Event};
use cri::sandbox::{LinuxContainerResources, PodSandboxState};
use cri::{Error, Result};
use parking_lot::Mutex;

use crate::cgroup::Manager;
use crate::client::Client;
use crate::daemon::{Container, Objects, Runtime, Sandbox};
use crate::events::Events;
use crate::launch::Launcher;
use crate::options::Options;
use crate::protocol::{Answer, RequestBody, Run, VERSION};
use crate::state::Records;

const CAP_SYS_RESOURCE: u64 = 1 << 24;

impl Runtime {
    /// Opens the runtime and takes over what runs. Ends that happened meanwhile are the first events of the first
    /// subscriber.
    ///
    /// # Errors
    /// When directories or control groups cannot be made, or the records are of a newer version.
    pub async fn open(
        options: Options,
        network: Arc<dyn PodNetwork>,
        roots: Arc<dyn RootProvider>,
    ) -> Result<Arc<Runtime>> {
        let failed = |error: std::io::Error| Error::unknown(format!("open the container runtime: {error}"));
        std::fs::create_dir_all(options.run_dir.join("pods")).map_err(failed)?;
        let records = Records::open(&options.state_dir).map_err(failed)?;
        let cgroups = Manager::detect().map_err(failed)?;
        if options.enter_daemon_cgroup {
            cgroups.enter_daemon(&options.cgroup_root).map_err(failed)?;
        }
        let shims_group = make_root_groups(&cgroups, &options.cgroup_root).map_err(failed)?;
        let launcher = Launcher::open(&options.executable).map_err(failed)?;
        let capabilities = sys::capability::permitted().map_err(failed)?;
        if capabilities & CAP_SYS_RESOURCE == 0 {
            tracing::warn!(
                "no CAP_SYS_RESOURCE here: containers keep the OOM score of the daemon where lower was asked for"
            );
        }
        let hurry = Manager::hurry(options.cgroup_root.trim_start_matches('/'))
            .inspect_err(|error| tracing::info!("moves between cgroups stay slow here: {error}"))
            .ok();
        let found = Found::read(&records);
        let runtime = Arc::new_cyclic(|this| Runtime {
            network,
            roots,
            cgroups,
            shims_group,
            launcher,
            records,
            events: Events::new(),
            objects: Mutex::new(Objects::default()),
            commands: Mutex::default(),
            prepared: Mutex::default(),
            refilling: tokio::sync::Mutex::default(),
            closed: std::sync::atomic::AtomicBool::new(false),
            capabilities,
            filters: Mutex::default(),
            _hurry: hurry,
            this: this.clone(),
            options,
        });
        runtime.take_over(found).await?;
        runtime.refill();
        Ok(runtime)
    }

    async fn take_over(&self, found: Found) -> Result<()> {
        for sandbox in &found.sandboxes {
            self.objects.lock().sandboxes.insert(sandbox.id.clone(), sandbox.clone());
        }
        let adopted = found.sandboxes.iter().map(|sandbox| self.adopt(sandbox));
        futures::future::join_all(adopted).await;
        self.remove_strays(&found);
        self.remove_stray_groups().await;
        let containers: Vec<String> = self.objects.lock().containers.keys().cloned().collect();
        if let Err(error) = self.roots.retain_roots(&containers).await {
            tracing::warn!("removing roots of containers that are gone: {error}");
        }
        let live: Vec<String> =
            self.objects.lock().sandboxes.values().map(|sandbox| &sandbox.id).cloned().collect();
        self.network.retain(&live).await
    }

    /// Connects to a sandbox's process and learns what happened to its containers.
    async fn adopt(&self, sandbox: &Arc<Sandbox>) {
        let (containers, bad) = self.records.read_containers(&sandbox.id);
        for name in bad {
            tracing::error!("a container's record cannot be read and is passed over: {name}");
        }
        // Known before the process is asked: an end that it tells right behind its answer must find its container.
        for (record, run) in containers {
            let run = run.unwrap_or_default();
            let container = Container::new(record, sandbox.pod_uid(), state_of(&run), run);
            self.objects.lock().containers.insert(container.id.clone(), container);
        }
        let ready = sandbox.record.lock().state == PodSandboxState::Ready;
        let told = if ready { self.ask(sandbox).await } else { None };
        let lost = ready && told.is_none();
        for (id, run) in told.into_iter().flatten() {
            self.note_told(&id, run);
        }
        if lost {
            sandbox.record.lock().state = PodSandboxState::NotReady;
            if let Err(error) = self.records.write_stopped(&sandbox.id) {
                tracing::warn!(sandbox = sandbox.id, "{error}");
            }
        }
        if sandbox.client.lock().is_none() {
            // Also of one that was known to be stopped (who noted that may have died before it noted the ends), and of
            // one whose process went away since it answered.
            self.end_without_shim(&sandbox.id);
        }
        if lost {
            self.events.publish(&Event::SandboxStopped {
                sandbox_id: sandbox.id.clone(),
                pod_uid: sandbox.pod_uid(),
            });
        }
        for container in self.containers_of(Some(&sandbox.id)) {
            if container.state() == ContainerState::Exited {
                // Possibly known already; saying it again is harmless, not saying it is not.
                self.publish_container(&container, |sandbox_id, container_id, pod_uid| {
                    Event::ContainerStopped { sandbox_id, container_id, pod_uid }
                });
            }
        }
    }

    /// Takes over what a Pod's process says of a container, unless its end was told since.
    fn note_told(&self, id: &str, run: Run) {
        let Ok(container) = self.container(id) else { return };
        let state = state_of(&run);
        {
            let mut current = container.run.lock();
            if current.0 == ContainerState::Exited {
                return;
            }
            *current = (state, run);
        }
        if state == ContainerState::Exited {
            container.ended.send_replace(true);
        }
    }

    async fn ask(&self, sandbox: &Arc<Sandbox>) -> Option<Vec<(String, Run)>> {
        let path = self.run_dir(&sandbox.id).join("shim.sock");
        let client = Client::connect(&path, self.listener(&sandbox.id)).await.ok()?;
        // Set before the question: an end that is told right behind the answer must find its sandbox.
        *sandbox.client.lock() = Some(client.clone());
        match client.call(RequestBody::Hello { version: VERSION }).await {
            Ok((Answer::State { containers, .. }, _)) => Some(containers),
            Ok(_) | Err(_) => {
                sandbox.client.lock().take();
                None
            }
        }
    }

    /// Removes control groups of Pods and containers that have no record: the daemon died while it made or removed them.
    async fn remove_stray_groups(&self) {
        let known: BTreeSet<PathBuf> = {
            let objects = self.objects.lock();
            let parents =
                objects.sandboxes.values().map(|own| own.record.lock().config.linux.cgroup_parent.clone());
            let groups = parents.map(|parent| self.cgroups.group_everywhere(&parent));
            let groups = groups.chain(objects.containers.values().map(|own| own.group()));
            groups.flat_map(|group| group.directories).collect()
        };
        for path in self.cgroups.strays(&self.options.cgroup_root, &known) {
            tracing::info!(path, "removing a control group that belongs to nothing");
            self.remove_group(self.cgroups.group_everywhere(&path)).await;
        }
    }

    /// Ends processes and removes directories of sandboxes that have no record: prepared ones of an earlier daemon, or
    /// ones whose creation was interrupted.
    fn remove_strays(&self, found: &Found) {
        let Ok(entries) = std::fs::read_dir(self.options.run_dir.join("pods")) else { return };
        for entry in entries.flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            if found.sandboxes.iter().any(|sandbox| sandbox.id == id) {
                continue;
            }
            let _ = sys::mount::unmount(&entry.path().join("shm"));
            // Its process ends with the only way to reach it.
            if let Ok(stream) = std::os::unix::net::UnixStream::connect(entry.path().join("shim.sock")) {
                let request = crate::protocol::Request { id: 0, body: RequestBody::ShutDown };
                if let Ok(frame) = crate::protocol::encode(&request) {
                    let _ = std::io::Write::write_all(&mut &stream, &frame);
                }
            }
            let _ = sys::tree::remove(&entry.path());
        }
    }
}

fn state_of(run: &Run) -> ContainerState {
    match run {
        run if run.finished_at_ns != 0 => ContainerState::Exited,
        run if run.started_at_ns != 0 => ContainerState::Running,
        _ => ContainerState::Created,
    }
}

/// What the records say.
struct Found {
    sandboxes: Vec<Arc<Sandbox>>,
}

impl Found {
    fn read(records: &Records) -> Self {
        let mut sandboxes = Vec::new();
        for id in records.sandboxes().unwrap_or_default() {
            match records.read_sandbox(&id) {
                Ok(record) => sandboxes.push(Arc::new(Sandbox {
                    id,
                    record: Mutex::new(record),
                    client: Mutex::new(None),
                    changing: tokio::sync::Mutex::new(()),
                })),
                Err(error) => {
                    // The record is what is written last and removed first: one that was prepared ahead has none.
                    if error.kind() == std::io::ErrorKind::NotFound {
                        tracing::debug!(sandbox = id, "removing what is left of a sandbox without a record");
                    } else {
                        tracing::warn!(
                            sandbox = id,
                            "a sandbox's record cannot be read, removing it: {error}"
                        );
                    }
                    if let Err(error) = records.remove_sandbox(&id) {
                        tracing::warn!(sandbox = id, "removing the rest of a sandbox: {error}");
                    }
                }
            }
        }
        Self { sandboxes }
    }
}

/// The groups that are always there. Best-effort Pods as a whole get the least CPU weight.
fn make_root_groups(cgroups: &Manager, root: &str) -> std::io::Result<crate::cgroup::Group> {
    let none = LinuxContainerResources::default();
    let least = LinuxContainerResources { cpu_shares: 2, ..LinuxContainerResources::default() };
    cgroups.make(&format!("{root}/kubepods/burstable"), &none)?;
    cgroups.make(&format!("{root}/kubepods/besteffort"), &least)?;
    cgroups.make(&format!("{root}/shims"), &none)
}
