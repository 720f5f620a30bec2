//! Probes: one task per container instance and probe, which publishes verdicts and wakes the Pod's worker.

pub mod attempt;
pub mod grpc;

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use podlogic::pod::{self, ProbeKind};
use podlogic::probe::Streak;
use tokio::task::AbortHandle;
use tokio::time::{Duration, Instant, MissedTickBehavior};

use crate::api::reference_by_name;
use crate::probes::attempt::{Attempt, Target};
use crate::shared::{Mailbox, Shared};

/// Probes of one Pod that are under way; dropping it ends them.
#[derive(Debug, Default)]
pub struct Probes {
    tasks: HashMap<(String, ProbeKind), AbortHandle>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}

/// What one probe task needs.
struct Task {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    pod: Arc<Pod>,
    container: Container,
    kind: ProbeKind,
    target: Target,
    started_at: Option<jiff::Timestamp>,
}

fn runtime_id(status: &ContainerStatus) -> Option<&str> {
    Some(status.container_id.as_deref()?.split_once("://")?.1)
}

impl Probes {
    /// Begins and ends probes so that they fit the status just reported. `ending`: the Pod is being ended, so only
    /// readiness is still of interest.
    pub fn reconcile(
        &mut self,
        shared: &Arc<Shared>,
        mailbox: &Arc<Mailbox>,
        pod: &Arc<Pod>,
        status: &PodStatus,
        ending: bool,
    ) {
        let mut wanted = Vec::new();
        let lists = [&status.container_statuses, &status.init_container_statuses];
        for own in lists.into_iter().flatten().flatten() {
            let running = own.state.as_ref().and_then(|state| state.running.as_ref());
            let (Some(running), Some(id)) = (running, runtime_id(own)) else { continue };
            let Some((_, container)) = pod::find_container(pod, &own.name) else { continue };
            for kind in ProbeKind::ALL {
                let due = match kind {
                    ProbeKind::Startup => own.started != Some(true) && !ending,
                    ProbeKind::Liveness => own.started == Some(true) && !ending,
                    ProbeKind::Readiness => own.started == Some(true),
                };
                if due && kind.of(&container).is_some() {
                    wanted.push((id.to_owned(), kind, container.clone(), running.started_at.clone()));
                }
            }
        }
        self.tasks.retain(|(id, kind), task| {
            let kept = wanted.iter().any(|(own, own_kind, ..)| own == id && own_kind == kind);
            if !kept {
                task.abort();
            }
            kept
        });
        let pod_ip = status.pod_ip.clone().unwrap_or_default();
        for (id, kind, container, started_at) in wanted {
            self.tasks.entry((id.clone(), kind)).or_insert_with(|| {
                let task = Task {
                    shared: Arc::clone(shared),
                    mailbox: Arc::clone(mailbox),
                    pod: Arc::clone(pod),
                    target: Target { container_id: id, pod_ip: pod_ip.clone() },
                    started_at: started_at.map(|time| time.0),
                    container,
                    kind,
                };
                tokio::spawn(task.run()).abort_handle()
            });
        }
    }
}

impl Task {
    /// Probes again and again, until the verdict is final for this instance.
    async fn run(self) {
        let Some(probe) = self.kind.of(&self.container).cloned() else { return };
        let period =
            Duration::from_secs(u64::try_from(probe.period_seconds.unwrap_or(10)).unwrap_or(10).max(1));
        let delay = Duration::from_secs(u64::try_from(probe.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
        // Readiness is asked at once; the others after a first period, as upstream's tickers have it. All wait for
        // the initial delay to pass.
        let lived = self
            .started_at
            .map(|start| podlogic::back_off::elapsed(start, self.shared.now()))
            .unwrap_or_default();
        let mut first = if self.kind == ProbeKind::Readiness { Duration::ZERO } else { period };
        while lived + first < delay {
            first += period;
        }
        let mut ticks = tokio::time::interval_at(Instant::now() + first, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut streak = Streak::default();
        let limit =
            Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
        loop {
            ticks.tick().await;
            let attempt = attempt::attempt(&self.shared, &probe, &self.container, &self.target, limit).await;
            let Some(success) = self.record(attempt) else { continue };
            let outcome = streak.count(self.kind, &probe, success);
            if let Some(verdict) = outcome.verdict {
                self.publish(verdict);
            }
            if outcome.hold {
                return;
            }
        }
    }

    fn publish(&self, verdict: bool) {
        let key = (self.target.container_id.clone(), self.kind);
        let before = self.mailbox.verdicts.lock().insert(key, verdict);
        if before != Some(verdict) {
            self.mailbox.wake.notify_one();
        }
    }

    /// Records what an attempt brought; `None`: the result is thrown away.
    fn record(&self, attempt: Attempt) -> Option<bool> {
        let title = self.kind.title();
        let warn = |reason: &str, message: String| {
            let object = reference_by_name(&self.pod, &self.container.name);
            self.shared.recorder.warning(object, reason, message);
        };
        match attempt {
            Attempt::Success => Some(true),
            Attempt::Warning(text) => {
                warn("ProbeWarning", format!("{title} probe warning: {text}"));
                Some(true)
            }
            Attempt::Failure(text) => {
                warn("Unhealthy", format!("{title} probe failed: {text}"));
                Some(false)
            }
            Attempt::Error(text) => {
                warn("Unhealthy", format!("{title} probe errored and resulted in unknown state: {text}"));
                None
            }
        }
    }
}
