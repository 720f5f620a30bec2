//! One step of a living Pod: observe, report, decide, act, report again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cri::runtime::ContainerState;
use cri::sandbox::PodSandboxConfig;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use k8s_openapi::api::node::v1::RuntimeClass;
use podlogic::actions::{Actions, compute_actions};
use podlogic::back_off::BackOff;
use podlogic::container_status::StartFailure;
use podlogic::sandbox_config::{SandboxInput, sandbox_config};
use podlogic::{ContainerKind, Observed, StatusInput, dns, generate_status, labels, pod};
use tokio::time::Duration;

use crate::api::{container_reference, pod_reference};
use crate::kill::{self, KillRequest};
use crate::seams::{PreparedVolumes, VolumeFacts};
use crate::shared::{Mailbox, Shared};
use crate::source::mirror;
use crate::start::{NotStarted, StartContext};
use crate::{directories, files, garbage, observe};

/// Pause before something that failed without saying when to come back is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Steps that may follow each other at once.
const QUICK_STEPS_MAX: u32 = 32;
/// Pause after which a failed pull shows as back-off.
const PULL_SETTLES: Duration = Duration::from_secs(5);
/// How long a container's end shows before its waiting for the next start does.
const END_SHOWS: Duration = Duration::from_secs(1);

/// What a worker remembers between steps.
#[derive(Debug, Default)]
pub struct PodState {
    /// Sandboxes of the Pod.
    pub sandbox_ids: Vec<String>,
    /// Why containers could not be started, by name.
    pub failures: BTreeMap<String, StartFailure>,
    /// Containers that ended just now and have to wait: their end is what shows.
    pub just_ended: BTreeSet<String>,
    /// Pauses between restarts.
    pub back_off: BackOff,
    /// The Pod failed as a whole: (reason, message).
    pub failed: Option<(String, String)>,
    /// Nothing of the Pod is left on the node.
    pub is_clean: bool,
    /// Data directories are there.
    pub has_directories: bool,
    /// Steps in a row that followed at once.
    pub quick_steps: u32,
    /// Failed steps in a row, for the pause after them.
    pub failures_in_a_row: u32,
    /// Failures in a row to show a static Pod in the API.
    pub mirror_failures: u32,
    /// Probes under way.
    pub probes: crate::probes::Probes,
}

/// What follows from a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Wait for an event, at most until then.
    Wait(Option<Timestamp>),
    /// Nothing will be started any more: end the Pod.
    End,
}

/// Earlier of two times.
fn earlier(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

/// A step under way.
pub struct Step<'a> {
    /// The agent.
    pub shared: &'a Arc<Shared>,
    /// The Pod's post box.
    pub mailbox: &'a Arc<Mailbox>,
    /// The Pod.
    pub pod: &'a Arc<Pod>,
    /// What the worker remembers.
    pub state: &'a mut PodState,
}

impl Step<'_> {
    /// Makes the status of what is observed and hands it to the writer.
    pub fn report(&mut self, observed: &Observed, is_terminal: bool) -> PodStatus {
        let uid = pod::uid(self.pod);
        let mirror = self.mailbox.inbox.lock().mirror.clone();
        let target = if pod::is_static(self.pod) { mirror } else { Some(Arc::clone(self.pod)) };
        let old = self.last_status(target.as_deref());
        let verdicts = self.mailbox.verdicts.lock().clone();
        let status = generate_status(&StatusInput {
            pod: self.pod,
            observed,
            old: &old,
            failures: &self.state.failures,
            verdicts: &verdicts,
            host_ips: &self.shared.host_ips,
            runtime_name: &self.shared.runtime_name,
            is_terminal,
            failed: self.state.failed.as_ref(),
            now: self.shared.now(),
        });
        let mut written = status.clone();
        if !is_terminal {
            hold_back_final_phase(&mut written, &old);
        }
        let ending = is_terminal || self.mailbox.must_end() || is_final(&status);
        self.state.probes.reconcile(self.shared, self.mailbox, self.pod, &status, ending);
        self.shared.statuses.set(uid, target.as_ref(), written);
        status
    }

    /// What the Pod's status was: as decided last, or as the API has it from an earlier agent.
    fn last_status(&self, target: Option<&Pod>) -> Arc<PodStatus> {
        let uid = pod::uid(self.pod);
        let decided = self.shared.statuses.get(uid);
        if decided.is_some() && self.shared.statuses.has_object(uid) {
            return decided.unwrap_or_default();
        }
        // What was decided before the mirror was seen knew nothing of the past.
        let reported = target.and_then(|own| own.status.clone()).filter(|own| own.conditions.is_some());
        reported.map(Arc::new).or(decided).unwrap_or_default()
    }

    /// Performs the step.
    pub async fn run(&mut self) -> Next {
        let observed = match observe::observe(self.shared, &mut self.state.sandbox_ids).await {
            Ok(observed) => observed,
            Err(error) => return self.retry("FailedSync", &format!("error determining status: {error}")),
        };
        if self.deadline_passed() {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            let object = pod_reference(self.pod);
            self.shared.recorder.normal(object, "DeadlineExceeded", message.clone());
            self.state.failed = Some(("DeadlineExceeded".into(), message));
        }
        let mirror_at = self.mirror().await;
        let status = self.report(&observed, false);
        if is_final(&status) {
            return Next::End;
        }
        if let Err(next) = self.prepare_directories().await {
            return next;
        }
        let volumes = match self.prepare_volumes().await {
            Ok(volumes) => volumes,
            Err(next) => return next,
        };
        let verdicts = self.mailbox.verdicts.lock().clone();
        let actions = compute_actions(self.pod, &observed, &verdicts);
        let retry_at = match self.act(&observed, &actions, &volumes).await {
            Ok(retry_at) => retry_at,
            Err(next) => return next,
        };
        self.state.failures_in_a_row = 0;
        let Ok(observed) = observe::observe(self.shared, &mut self.state.sandbox_ids).await else {
            return self.retry("FailedSync", "error determining status after a change");
        };
        let status = self.report(&observed, false);
        if is_final(&status) {
            return Next::End;
        }
        garbage::collect(self.shared, self.pod, &observed, &mut self.state.sandbox_ids).await;
        self.mailbox.verdicts.lock().retain(|(id, _), _| observed.containers.iter().any(|own| own.id == *id));
        let verdicts = self.mailbox.verdicts.lock().clone();
        let more = compute_actions(self.pod, &observed, &verdicts);
        if self.can_go_on(&more) {
            self.state.quick_steps += 1;
            // Should acting not change what is observed, this must not spin.
            let pause = if self.state.quick_steps < QUICK_STEPS_MAX { Duration::ZERO } else { RETRY };
            return Next::Wait(self.shared.now().checked_add(pause).ok());
        }
        self.state.quick_steps = 0;
        Next::Wait(earlier(mirror_at, earlier(retry_at, self.deadline())))
    }

    /// Lets the API show a static Pod. Answers when that is to be tried again, if it failed.
    async fn mirror(&mut self) -> Option<jiff::Timestamp> {
        if !pod::is_static(self.pod) || mirror::reconcile(self.shared, self.mailbox, self.pod).await {
            self.state.mirror_failures = 0;
            return None;
        }
        let pause = mirror::pause_after(self.state.mirror_failures);
        self.state.mirror_failures += 1;
        self.shared.now().checked_add(pause).ok()
    }

    /// Whether what was done made something else possible at once: the container after a sidecar that runs now.
    fn can_go_on(&self, more: &Actions) -> bool {
        let waits = |start: &podlogic::Start| {
            let list = pod::containers_of(self.pod, start.kind);
            list.get(start.index).is_none_or(|own| {
                self.state.failures.contains_key(&own.name) || self.state.just_ended.contains(&own.name)
            })
        };
        !more.kill.is_empty() || more.start.iter().any(|start| !waits(start))
    }

    fn retry(&mut self, reason: &str, message: &str) -> Next {
        tracing::warn!(pod = pod::describe(self.pod), reason, message, "the pod is tried again");
        Next::Wait(self.try_again_at())
    }

    /// When to come back after a failure: later the more of them were in a row.
    pub fn try_again_at(&mut self) -> Option<Timestamp> {
        let pause = RETRY * 2u32.saturating_pow(self.state.failures_in_a_row.min(5));
        self.state.failures_in_a_row += 1;
        self.shared.now().checked_add(pause.min(RETRY_MAX)).ok()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let limit = u64::try_from(pod::spec(self.pod).active_deadline_seconds?).ok()?;
        let status = self.shared.statuses.get(pod::uid(self.pod));
        let start = status.and_then(|status| status.start_time.clone())?;
        start.0.checked_add(Duration::from_secs(limit)).ok()
    }

    fn deadline_passed(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= self.shared.now())
    }

    async fn prepare_directories(&mut self) -> Result<(), Next> {
        if self.state.has_directories {
            return Ok(());
        }
        if let Err(error) = directories::make_pod_directories(self.shared, self.pod).await {
            let message = format!("error making pod data directories: {error}");
            let object = pod_reference(self.pod);
            self.shared.recorder.warning(object, "FailedToMakePodDataDirectories", message.clone());
            return Err(self.retry("FailedToMakePodDataDirectories", &message));
        }
        self.state.has_directories = true;
        Ok(())
    }

    async fn prepare_volumes(&mut self) -> Result<PreparedVolumes, Next> {
        let facts = VolumeFacts { host_ips: &self.shared.host_ips, allocatable: &self.shared.allocatable };
        match self.shared.options.volumes.prepare(self.pod, facts).await {
            Ok(volumes) => Ok(volumes),
            Err(error) => {
                let object = pod_reference(self.pod);
                self.shared.recorder.warning(object, error.reason, error.message.clone());
                Err(self.retry(error.reason, &error.message))
            }
        }
    }

    /// Performs what was decided; answers when to come back.
    async fn act(
        &mut self,
        observed: &Observed,
        actions: &Actions,
        volumes: &PreparedVolumes,
    ) -> Result<Option<Timestamp>, Next> {
        self.kill(observed, actions).await?;
        if !actions.create_sandbox && actions.start.is_empty() {
            return Ok(None);
        }
        let config = self.sandbox_config(actions.attempt).await?;
        let (sandbox_id, pod_ips) = match (actions.create_sandbox, &actions.sandbox_id) {
            (false, Some(id)) => (id.clone(), observed.ips()),
            (false, None) => return Ok(None),
            (true, _) => self.create_sandbox(&config).await?,
        };
        // What was killed just now has ended; what is started next is decided on what is true now.
        let mut observed = observed.clone();
        let pulls = actions.create_sandbox && self.has_to_pull(actions).await;
        if !actions.kill.is_empty() || !observed.sandboxes.is_empty() && actions.kill_pod || pulls {
            match observe::observe(self.shared, &mut self.state.sandbox_ids).await {
                Ok(fresh) => observed = fresh,
                Err(error) => return Err(self.retry("FailedSync", &error.to_string())),
            }
        }
        if pulls {
            // Pulls take their time; that the sandbox is there is news worth telling before.
            self.report(&observed, false);
        }
        let pod_ips = if pod::is_host_network(self.pod) { self.shared.host_ips.clone() } else { pod_ips };
        let pull_secrets = crate::images::pull_secrets(self.shared, self.pod).await;
        let context = StartContext {
            shared: self.shared,
            mailbox: self.mailbox,
            pod: self.pod,
            observed: &observed,
            sandbox_id: &sandbox_id,
            sandbox_config: &config,
            pod_ips: &pod_ips,
            volumes,
            pull_secrets: &pull_secrets,
        };
        Ok(self.start(&context, actions).await)
    }

    /// Ends what has to go.
    async fn kill(&mut self, observed: &Observed, actions: &Actions) -> Result<(), Next> {
        if actions.create_sandbox && actions.sandbox_id.is_some() {
            let message = "Pod sandbox changed, it will be killed and re-created.";
            self.shared.recorder.normal(pod_reference(self.pod), "SandboxChanged", message);
        }
        if actions.kill_pod {
            if let Err(error) = kill::kill_pod(self.shared, self.pod, observed, None).await {
                return Err(self.retry("FailedKillPod", &format!("error killing pod: {error}")));
            }
            if actions.create_sandbox {
                self.purge_inits(observed).await;
            }
            return Ok(());
        }
        for own in &actions.kill {
            let request = KillRequest {
                container_id: &own.container_id,
                name: &own.name,
                message: Some(&own.message),
                reason: own.reason,
                grace_s: None,
            };
            let ips = observed.ips();
            let ip = ips.first().map(String::as_str);
            if let Err(error) = kill::kill_container(self.shared, self.pod, &request, ip).await {
                // It may run on: another in its place would be its twin.
                let message = format!("error killing container {}: {error}", own.name);
                return Err(self.retry("KillContainerError", &message));
            }
        }
        Ok(())
    }

    /// Whether some image is not there.
    async fn has_to_pull(&self, actions: &Actions) -> bool {
        for start in &actions.start {
            let list = pod::containers_of(self.pod, start.kind);
            let Some(image) = list.get(start.index).and_then(|own| own.image.as_deref()) else { continue };
            if !matches!(self.shared.options.images.image_status(image).await, Ok(Some(_))) {
                return true;
            }
        }
        false
    }

    /// Starts containers in order; answers when to come back for those that could not be started.
    async fn start(&mut self, context: &StartContext<'_>, actions: &Actions) -> Option<Timestamp> {
        let mut retry_at = None;
        self.state.just_ended.clear();
        for start in &actions.start {
            if self.mailbox.must_end() {
                break;
            }
            let list = pod::containers_of(self.pod, start.kind);
            let Some(container) = list.get(start.index) else { continue };
            let holds_others = start.kind == ContainerKind::Init && !pod::is_sidecar(container);
            if let Some(shown) = self.end_shows_until(container, context.observed) {
                self.state.just_ended.insert(container.name.clone());
                retry_at = earlier(retry_at, Some(shown));
                if holds_others {
                    break;
                }
                continue;
            }
            let outcome = match self.check_back_off(start.kind, container, context.observed) {
                Some(waits) => Err(waits),
                None => context.start(start.kind, container).await,
            };
            match outcome {
                Ok(()) => {
                    self.state.failures.remove(&container.name);
                }
                Err(waits) => {
                    retry_at = earlier(retry_at, Some(self.retry_time(&waits)));
                    self.state.failures.insert(container.name.clone(), waits.failure);
                    if holds_others {
                        break;
                    }
                }
            }
        }
        retry_at
    }

    fn retry_time(&self, waits: &NotStarted) -> Timestamp {
        let now = self.shared.now();
        let pause = match (waits.failure.reason.as_str(), waits.retry_at) {
            ("ErrImagePull", _) => PULL_SETTLES,
            (_, Some(at)) => return at,
            _ => Duration::from_secs(10),
        };
        now.checked_add(pause).unwrap_or(now)
    }

    /// Until when the end of a container that has to wait shows as its state: whoever watches sees how it ended
    /// before that it waits.
    fn end_shows_until(&self, container: &Container, observed: &Observed) -> Option<Timestamp> {
        let (key, finished) = end_of(container, observed)?;
        let now = self.shared.now();
        let until = self.state.back_off.until(&key, finished, now)?;
        let shown = finished.checked_add(END_SHOWS).ok()?.min(until);
        (shown > now).then_some(shown)
    }

    /// Whether a container that ended has to wait; notes the attempt otherwise.
    fn check_back_off(
        &mut self,
        kind: ContainerKind,
        container: &Container,
        observed: &Observed,
    ) -> Option<NotStarted> {
        let (key, finished) = end_of(container, observed)?;
        let now = self.shared.now();
        let Some(until) = self.state.back_off.until(&key, finished, now) else {
            self.state.back_off.next(&key, finished, now);
            return None;
        };
        let place = pod::describe(self.pod);
        let object = container_reference(self.pod, kind, &container.name);
        let event = format!("Back-off restarting failed container {} in pod {place}", container.name);
        self.shared.recorder.warning(object, "BackOff", event);
        let pause = stdx::duration::format_go(self.state.back_off.pause(&key));
        let message = format!("back-off {pause} restarting failed container={} pod={place}", container.name);
        let failure = StartFailure { reason: "CrashLoopBackOff".into(), message };
        Some(NotStarted { failure, retry_at: Some(until) })
    }

    async fn sandbox_config(&mut self, attempt: u32) -> Result<PodSandboxConfig, Next> {
        let (dns, warnings) = dns::pod_dns(self.pod, &self.shared.dns);
        if self.state.sandbox_ids.is_empty() {
            for (reason, message) in warnings {
                self.shared.recorder.warning(pod_reference(self.pod), reason, message);
            }
        }
        let options = &self.shared.options;
        let config = sandbox_config(SandboxInput {
            pod: self.pod,
            attempt,
            dns,
            logs_root: &options.directories.pod_logs,
            cgroup_root: &options.cgroup_root,
            cluster_domain: &options.config.cluster_domain,
            limits: &self.shared.limits,
        });
        config.map_err(|message| self.retry("FailedCreatePodSandBox", &message))
    }

    async fn create_sandbox(&mut self, config: &PodSandboxConfig) -> Result<(String, Vec<String>), Next> {
        if let Err(error) = files::create_dir_all(&config.log_directory).await {
            let message =
                format!("Failed to create log directory for pod {:?}: {error}", pod::describe(self.pod));
            return Err(self.retry("FailedCreatePodSandBox", &message));
        }
        let handler = match self.runtime_handler().await {
            Ok(handler) => handler,
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                let object = pod_reference(self.pod);
                self.shared.recorder.warning(object, "FailedCreatePodSandBox", message.clone());
                return Err(self.retry("FailedCreatePodSandBox", &message));
            }
        };
        match self.shared.runtime().run_pod_sandbox(config, &handler).await {
            Ok(id) => {
                self.state.sandbox_ids.push(id.clone());
                match self.shared.runtime().pod_sandbox_status(&id).await {
                    Ok(status) => Ok((id, status.ips)),
                    Err(error) => {
                        let message = format!("Unable to get pod sandbox status: {error}");
                        let object = pod_reference(self.pod);
                        self.shared.recorder.warning(object, "FailedPodSandBoxStatus", message.clone());
                        Err(self.retry("FailedPodSandBoxStatus", &message))
                    }
                }
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {}", crate::images::as_rpc(&error));
                let object = pod_reference(self.pod);
                self.shared.recorder.warning(object, "FailedCreatePodSandBox", message.clone());
                Err(self.retry("FailedCreatePodSandBox", &message))
            }
        }
    }

    /// The runtime handler of the Pod's RuntimeClass; empty is the default one.
    async fn runtime_handler(&self) -> Result<String, String> {
        let name = pod::spec(self.pod).runtime_class_name.as_deref().filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(String::new()) };
        let Some(client) = &self.shared.options.client else {
            return Err(format!("RuntimeClass {name:?} is not known without an API server"));
        };
        match client.get::<RuntimeClass>(None, name).await {
            Ok(class) => Ok(class.handler),
            Err(status) => Err(status.message),
        }
    }

    /// Removes the init containers of older sandboxes: in the new one they run again. Their logs stay: once the containers
    /// are gone, the logs' numbers are what tells how often they were restarted.
    async fn purge_inits(&self, observed: &Observed) {
        for container in pod::init_containers(self.pod) {
            for own in observed.containers.iter().filter(|own| own.metadata.name == container.name) {
                garbage::remove_container(self.shared, self.pod, &own.id, &container.name).await;
            }
        }
    }
}

/// The back-off's key of a container that ended, and when it did.
fn end_of(container: &Container, observed: &Observed) -> Option<(String, Timestamp)> {
    let ended = observed.latest(&container.name).filter(|own| own.state == ContainerState::Exited)?;
    let finished = Timestamp::from_nanosecond(i128::from(ended.finished_at_ns)).ok()?;
    Some((format!("{}_{:x}", container.name, labels::container_hash(container)), finished))
}

/// Whether the phase is final.
pub fn is_final(status: &PodStatus) -> bool {
    matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"))
}

/// A Pod is not reported as ended before all of it has ended: not its main containers only.
fn hold_back_final_phase(status: &mut PodStatus, old: &PodStatus) {
    if !is_final(status) || is_final(old) {
        return;
    }
    status.phase = Some(old.phase.clone().unwrap_or_else(|| "Pending".into()));
    status.reason.clone_from(&old.reason);
    status.message.clone_from(&old.message);
}
