//! A runtime in memory. Containers end when a test says so, or at once by a script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use cri::runtime::{
    ContainerConfig, ContainerState, ContainerStats, ContainerStatus, Event, ExecOutput, ExecRequest, Reader,
    RuntimeService, StreamSession, Writer,
};
use cri::sandbox::{LinuxContainerResources, PodSandboxConfig, PodSandboxState, PodSandboxStatus};
use cri::{Error, Result};
use parking_lot::Mutex;
use stdx::clock::Clock;
use tokio::sync::{Notify, mpsc};

/// What happens to a container once it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It runs until it is stopped.
    Runs,
    /// It ends at once with this code.
    Exits(i32),
    /// It cannot be started.
    StartFails(String),
    /// It runs and ignores the stop signal until the grace period is over.
    Stubborn,
}

/// What a runtime call was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `run_pod_sandbox` of this Pod name.
    RunSandbox(String),
    /// `stop_pod_sandbox`.
    StopSandbox,
    /// `remove_pod_sandbox`.
    RemoveSandbox,
    /// `create_container` of this name and attempt.
    Create(String, u32),
    /// `start_container` of this name.
    Start(String),
    /// `stop_container` of this name with this grace.
    Stop(String, i64),
    /// `remove_container` of this name.
    Remove(String),
    /// `exec_sync` of this command.
    Exec(String),
}

/// Answers an `exec_sync`.
type Exec = Arc<dyn Fn(&str, &[String]) -> Result<ExecOutput> + Send + Sync>;
/// Sees a container that was started just now.
type Observer = Arc<dyn Fn(&ContainerStatus) + Send + Sync>;

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, PodSandboxStatus>,
    containers: BTreeMap<String, (ContainerStatus, ContainerConfig, Fate)>,
    fates: BTreeMap<String, VecDeque<Fate>>,
    listeners: Vec<mpsc::Sender<Event>>,
    calls: Vec<Call>,
    sandbox_errors: VecDeque<String>,
    exec: Option<Exec>,
    observer: Option<Observer>,
    /// Stops of containers that fail from now on.
    stop_failures: usize,
    /// Questions for a sandbox's status that fail from now on.
    status_failures: usize,
    next_id: u64,
}

/// A runtime in memory. Cheap to clone.
#[derive(Clone)]
pub struct FakeRuntime {
    state: Arc<Mutex<State>>,
    stopped: Arc<Notify>,
    clock: Clock,
}

fn now_ns(clock: &Clock) -> i64 {
    i64::try_from(clock.now().as_nanosecond()).unwrap_or(i64::MAX)
}

impl FakeRuntime {
    /// An empty runtime.
    pub fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), stopped: Arc::new(Notify::new()), clock }
    }

    /// The next starts of a container of this name go so; afterwards it runs.
    pub fn script(&self, name: &str, fates: impl IntoIterator<Item = Fate>) {
        self.state.lock().fates.entry(name.into()).or_default().extend(fates);
    }

    /// Nothing that was scripted happens any more: containers that start from now on run.
    pub fn forget_scripts(&self) {
        let mut state = self.state.lock();
        state.fates.clear();
        state.sandbox_errors.clear();
    }

    /// The next sandbox cannot be made.
    pub fn fail_sandbox(&self, message: &str) {
        self.state.lock().sandbox_errors.push_back(message.into());
    }

    /// So many stops of containers fail from now on, and the containers run on.
    pub fn fail_stops(&self, count: usize) {
        self.state.lock().stop_failures = count;
    }

    /// So many questions for a sandbox's status fail from now on.
    pub fn fail_status(&self, count: usize) {
        self.state.lock().status_failures = count;
    }

    /// Answers every `exec_sync`.
    pub fn on_exec(&self, exec: impl Fn(&str, &[String]) -> Result<ExecOutput> + Send + Sync + 'static) {
        self.state.lock().exec = Some(Arc::new(exec));
    }

    /// Shows every container that is started from now on, in the moment it runs.
    pub fn on_start(&self, observer: impl Fn(&ContainerStatus) + Send + Sync + 'static) {
        self.state.lock().observer = Some(Arc::new(observer));
    }

    /// Containers, in no state in particular.
    pub fn containers(&self) -> Vec<ContainerStatus> {
        self.state.lock().containers.values().map(|(status, ..)| status.clone()).collect()
    }

    /// Calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// The configuration a container of this name was last created with.
    pub fn config(&self, name: &str) -> Option<ContainerConfig> {
        let state = self.state.lock();
        let mut own: Vec<_> =
            state.containers.values().filter(|(status, ..)| status.metadata.name == name).collect();
        own.sort_by_key(|(status, ..)| status.metadata.attempt);
        own.last().map(|(_, config, _)| config.clone())
    }

    /// Lets the newest running container of a name end.
    pub fn exit(&self, name: &str, code: i32) {
        let id = {
            let state = self.state.lock();
            let running = state.containers.iter().find(|(_, (status, ..))| {
                status.metadata.name == name && status.state == ContainerState::Running
            });
            running.map(|(id, _)| id.clone())
        };
        if let Some(id) = id {
            self.end(&id, code);
        }
    }

    /// Kills a Pod's sandbox, as if its process had been killed.
    pub fn kill_sandboxes(&self) {
        let ids: Vec<String> = {
            let mut state = self.state.lock();
            state.sandboxes.values_mut().for_each(|own| own.state = PodSandboxState::NotReady);
            let running =
                state.containers.iter().filter(|(_, (own, ..))| own.state == ContainerState::Running);
            running.map(|(id, _)| id.clone()).collect()
        };
        ids.iter().for_each(|id| self.end(id, 137));
        let state = self.state.lock();
        for own in state.sandboxes.values() {
            let event =
                Event::SandboxStopped { sandbox_id: own.id.clone(), pod_uid: own.metadata.uid.clone() };
            state.send(&event);
        }
    }

    fn end(&self, id: &str, code: i32) {
        let mut state = self.state.lock();
        let Some((status, ..)) = state.containers.get_mut(id) else { return };
        if status.state != ContainerState::Running {
            return;
        }
        status.state = ContainerState::Exited;
        status.exit_code = code;
        status.finished_at_ns = now_ns(&self.clock);
        status.reason = if code == 0 { "Completed" } else { "Error" }.into();
        let (sandbox_id, pod_uid) =
            (status.pod_sandbox_id.clone(), status.labels[podlogic::labels::POD_UID].clone());
        state.send(&Event::ContainerStopped { sandbox_id, container_id: id.into(), pod_uid });
        drop(state);
        self.stopped.notify_waiters();
    }

    fn name(&self, id: &str) -> Result<String> {
        let state = self.state.lock();
        let own = state.containers.get(id);
        own.map(|(status, ..)| status.metadata.name.clone())
            .ok_or_else(|| Error::not_found(format!("container {id:?} not found")))
    }
}

impl State {
    fn send(&self, event: &Event) {
        for listener in &self.listeners {
            // A full queue in a test is the test's fault; the agent would list everything.
            let _ = listener.try_send(event.clone());
        }
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("{:064x}", self.next_id)
    }
}

#[async_trait]
impl RuntimeService for FakeRuntime {
    fn version(&self) -> (String, String) {
        ("carob".into(), "0.1.0".into())
    }

    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, _: &str) -> Result<String> {
        let mut state = self.state.lock();
        state.calls.push(Call::RunSandbox(config.metadata.name.clone()));
        if let Some(message) = state.sandbox_errors.pop_front() {
            return Err(Error::unknown(message));
        }
        let id = state.id();
        let ips = match config.linux.security_context.namespace_options.network {
            cri::sandbox::NamespaceMode::Node => Vec::new(),
            _ => vec![format!("10.42.0.{}", state.next_id + 1)],
        };
        let status = PodSandboxStatus {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: PodSandboxState::Ready,
            created_at_ns: now_ns(&self.clock),
            ips,
            namespace_options: config.linux.security_context.namespace_options.clone(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
        };
        state.sandboxes.insert(id.clone(), status);
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        let ids: Vec<String> = {
            let mut state = self.state.lock();
            state.calls.push(Call::StopSandbox);
            let Some(own) = state.sandboxes.get_mut(sandbox_id) else { return Ok(()) };
            own.state = PodSandboxState::NotReady;
            let inside = state.containers.iter().filter(|(_, (own, ..))| own.pod_sandbox_id == sandbox_id);
            inside.map(|(id, _)| id.clone()).collect()
        };
        ids.iter().for_each(|id| self.end(id, 137));
        Ok(())
    }

    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.calls.push(Call::RemoveSandbox);
        state.sandboxes.remove(sandbox_id);
        state.containers.retain(|_, (own, ..)| own.pod_sandbox_id != sandbox_id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatus> {
        let mut state = self.state.lock();
        if let Some(left) = state.status_failures.checked_sub(1) {
            state.status_failures = left;
            return Err(Error::unknown("the runtime is busy"));
        }
        let own = state.sandboxes.get(sandbox_id).cloned();
        own.ok_or_else(|| Error::not_found(format!("sandbox {sandbox_id:?} not found")))
    }

    async fn list_pod_sandboxes(&self, wanted: Option<PodSandboxState>) -> Result<Vec<PodSandboxStatus>> {
        let state = self.state.lock();
        let all = state.sandboxes.values();
        Ok(all.filter(|own| wanted.is_none_or(|wanted| own.state == wanted)).cloned().collect())
    }

    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox: &PodSandboxConfig,
    ) -> Result<String> {
        let mut state = self.state.lock();
        let name = config.metadata.name.clone();
        state.calls.push(Call::Create(name.clone(), config.metadata.attempt));
        let fate = state.fates.get_mut(&name).and_then(VecDeque::pop_front).unwrap_or(Fate::Runs);
        let id = state.id();
        let status = ContainerStatus {
            id: id.clone(),
            pod_sandbox_id: sandbox_id.into(),
            metadata: config.metadata.clone(),
            state: ContainerState::Created,
            created_at_ns: now_ns(&self.clock),
            started_at_ns: 0,
            finished_at_ns: 0,
            exit_code: 0,
            image: config.user_specified_image.clone(),
            image_id: config.image.clone(),
            image_ref: config.image.clone(),
            reason: String::new(),
            message: String::new(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            mounts: config.mounts.clone(),
            log_path: format!("{}/{}", sandbox.log_directory, config.log_path),
            resources: config.resources.clone(),
            user: Some((0, 0, vec![0])),
            pid: 0,
        };
        state.containers.insert(id.clone(), (status, config.clone(), fate));
        Ok(id)
    }

    async fn start_container(&self, container_id: &str) -> Result<()> {
        let (fate, name, started, observer) = {
            let mut state = self.state.lock();
            let Some((status, _, fate)) = state.containers.get_mut(container_id) else {
                return Err(Error::not_found(format!("container {container_id:?} not found")));
            };
            let (fate, name) = (fate.clone(), status.metadata.name.clone());
            status.started_at_ns = now_ns(&self.clock);
            if let Fate::StartFails(message) = &fate {
                status.state = ContainerState::Exited;
                status.finished_at_ns = status.started_at_ns;
                (status.exit_code, status.reason, status.message) =
                    (128, "StartError".into(), message.clone());
            } else {
                status.state = ContainerState::Running;
            }
            let (sandbox_id, uid) =
                (status.pod_sandbox_id.clone(), status.labels[podlogic::labels::POD_UID].clone());
            let started = status.clone();
            state.calls.push(Call::Start(name.clone()));
            state.send(&Event::ContainerStarted {
                sandbox_id,
                container_id: container_id.into(),
                pod_uid: uid,
            });
            (fate, name, started, state.observer.clone())
        };
        tracing::trace!(name, "fake start");
        if let Some(observer) = observer {
            observer(&started);
        }
        match fate {
            Fate::Exits(code) => self.end(container_id, code),
            Fate::StartFails(message) => return Err(Error::unknown(message)),
            Fate::Runs | Fate::Stubborn => {}
        }
        Ok(())
    }

    async fn stop_container(&self, container_id: &str, timeout_s: i64) -> Result<()> {
        let name = self.name(container_id)?;
        let stubborn = {
            let mut state = self.state.lock();
            state.calls.push(Call::Stop(name, timeout_s));
            if let Some(left) = state.stop_failures.checked_sub(1) {
                state.stop_failures = left;
                return Err(Error::unknown("the runtime is busy"));
            }
            state.containers.get(container_id).is_some_and(|(_, _, fate)| *fate == Fate::Stubborn)
        };
        if stubborn {
            let grace = std::time::Duration::from_secs(u64::try_from(timeout_s).unwrap_or(0));
            let ended = async {
                loop {
                    let stopped = self.stopped.notified();
                    let state = self.state.lock().containers.get(container_id).map(|(own, ..)| own.state);
                    if state != Some(ContainerState::Running) {
                        return;
                    }
                    stopped.await;
                }
            };
            let _ = tokio::time::timeout(grace, ended).await;
        }
        self.end(container_id, if stubborn { 137 } else { 143 });
        Ok(())
    }

    async fn remove_container(&self, container_id: &str) -> Result<()> {
        let Ok(name) = self.name(container_id) else { return Ok(()) };
        let mut state = self.state.lock();
        state.calls.push(Call::Remove(name));
        state.containers.remove(container_id);
        Ok(())
    }

    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus> {
        let state = self.state.lock();
        let own = state.containers.get(container_id).map(|(status, ..)| status.clone());
        own.ok_or_else(|| Error::not_found(format!("container {container_id:?} not found")))
    }

    async fn list_containers(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStatus>> {
        let state = self.state.lock();
        let all = state.containers.values().map(|(status, ..)| status);
        Ok(all.filter(|own| sandbox_id.is_none_or(|wanted| own.pod_sandbox_id == wanted)).cloned().collect())
    }

    async fn update_container_resources(&self, _: &str, _: &LinuxContainerResources) -> Result<()> {
        Ok(())
    }

    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        Ok(())
    }

    async fn list_container_stats(&self, _: Option<&str>) -> Result<Vec<ContainerStats>> {
        Ok(Vec::new())
    }

    async fn exec_sync(&self, container_id: &str, command: &[String], _: u64) -> Result<ExecOutput> {
        let name = self.name(container_id)?;
        let exec = {
            let mut state = self.state.lock();
            state.calls.push(Call::Exec(command.join(" ")));
            state.exec.clone()
        };
        match exec {
            Some(exec) => exec(&name, command),
            None => Ok(ExecOutput::default()),
        }
    }

    async fn exec(&self, _: &ExecRequest) -> Result<StreamSession> {
        Err(Error::unknown("the fake has no streams"))
    }

    async fn attach(&self, _: &ExecRequest) -> Result<StreamSession> {
        Err(Error::unknown("the fake has no streams"))
    }

    async fn port_forward(&self, _: &str, _: u16) -> Result<(Reader, Writer)> {
        Err(Error::unknown("the fake has no streams"))
    }

    fn events(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(1000);
        self.state.lock().listeners.push(sender);
        receiver
    }
}
