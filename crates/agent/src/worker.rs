//! One Pod's task: lives from the first sight of the Pod until nothing of it is left on the node.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use podlogic::admission::Rejection;
use podlogic::pod;
use tokio::time::{Duration, Instant};

use crate::shared::{Mailbox, Shared};
use crate::source::mirror;
use crate::sync::{Next, PodState, Step};
use crate::{admit, directories, kill, observe};

/// Pause before the end of a Pod is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Where a Pod stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Containers are kept running.
    Living,
    /// Containers are being ended.
    Ending,
    /// Nothing runs any more.
    Ended,
}

/// What is left of an ended Pod on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing, and its object is gone.
    Nothing,
    /// What stays until its object is deleted, or gone.
    ForLater,
    /// What could not be taken away.
    Failed,
}

/// Runs a Pod's task to its end. `sandbox_ids`: what was found of it when the agent started.
pub async fn run(shared: Arc<Shared>, mailbox: Arc<Mailbox>, sandbox_ids: Vec<String>) {
    let mut state = PodState { sandbox_ids, ..PodState::default() };
    state.back_off = podlogic::back_off::BackOff::new(
        podlogic::back_off::INITIAL,
        shared.options.config.max_container_restart_period,
    );
    let mut stage = Stage::Living;
    if let Some(pod) = mailbox.pod() {
        wait_for_predecessor(&shared, &pod).await;
        let ended = pod.status.as_ref().is_some_and(crate::sync::is_final);
        let adopted = !state.sandbox_ids.is_empty();
        if !ended
            && !mailbox.must_end()
            && let Err(rejection) = admit::admit(&shared, &pod, adopted)
        {
            reject(&shared, &mailbox, &pod, &rejection);
            stage = Stage::Ended;
        }
    }
    loop {
        let Some(pod) = mailbox.pod() else { return };
        if let Some(termination) = mailbox.inbox.lock().termination.clone()
            && state.failed.is_none()
        {
            state.failed = termination.failed;
        }
        if stage == Stage::Living && mailbox.must_end() {
            stage = Stage::Ending;
        }
        let mut step = Step { shared: &shared, mailbox: &mailbox, pod: &pod, state: &mut state };
        let wait_until = match stage {
            Stage::Living => match step.run().await {
                Next::End => {
                    stage = Stage::Ending;
                    continue;
                }
                Next::Wait(until) => until,
            },
            Stage::Ending => match end(&mut step).await {
                true => {
                    admit::release(&shared, &mailbox.uid);
                    step.state.failures_in_a_row = 0;
                    stage = Stage::Ended;
                    continue;
                }
                false => shared.now().checked_add(RETRY).ok(),
            },
            Stage::Ended => match finish(&mut step).await {
                Left::Nothing => {
                    shared.pods.lock().remove(&mailbox.uid);
                    shared.ended.send_modify(|count| *count += 1);
                    return;
                }
                Left::ForLater => {
                    step.state.failures_in_a_row = 0;
                    None
                }
                Left::Failed => step.try_again_at(),
            },
        };
        wait(&shared, &mailbox, wait_until).await;
    }
}

/// A static Pod whose file changed starts once nothing is left of what the file said before.
async fn wait_for_predecessor(shared: &Shared, pod: &Pod) {
    if !pod::is_static(pod) {
        return;
    }
    let mut ended = shared.ended.subscribe();
    let is_other = |other: &Pod| {
        pod::is_static(other)
            && pod::uid(other) != pod::uid(pod)
            && pod::name(other) == pod::name(pod)
            && pod::namespace(other) == pod::namespace(pod)
    };
    loop {
        ended.borrow_and_update();
        let present = {
            let pods = shared.pods.lock();
            pods.values().any(|mailbox| {
                let inbox = mailbox.inbox.lock();
                inbox.removed && inbox.pod.as_ref().is_some_and(|own| is_other(own))
            })
        };
        if !present || ended.changed().await.is_err() {
            return;
        }
    }
}

/// Reports that the node does not take a Pod.
fn reject(shared: &Shared, mailbox: &Mailbox, pod: &Arc<Pod>, rejection: &Rejection) {
    let object = crate::api::pod_reference(pod);
    shared.recorder.warning(object, &rejection.reason, rejection.message.clone());
    let before = pod.status.clone().unwrap_or_default();
    let status = PodStatus {
        phase: Some("Failed".into()),
        reason: Some(rejection.reason.clone()),
        message: Some(format!("Pod was rejected: {}", rejection.message)),
        start_time: Some(podlogic::status::seconds(shared.now())),
        conditions: before.conditions,
        qos_class: Some(podlogic::limits::qos_class(pod).to_owned()),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    };
    let mirror = mailbox.inbox.lock().mirror.clone();
    let target = if pod::is_static(pod) { mirror } else { Some(Arc::clone(pod)) };
    shared.statuses.set(pod::uid(pod), target.as_ref(), status);
}

/// Waits for a ring, at most until a time of day.
async fn wait(shared: &Shared, mailbox: &Mailbox, until: Option<jiff::Timestamp>) {
    let Some(until) = until else { return mailbox.wake.notified().await };
    let pause = Duration::try_from(until.duration_since(shared.now())).unwrap_or_default();
    tokio::select! {
        biased;
        () = mailbox.wake.notified() => {}
        () = tokio::time::sleep_until(Instant::now() + pause) => {}
    }
}

/// Ends containers and sandboxes; answers whether everything has ended.
async fn end(step: &mut Step<'_>) -> bool {
    let (shared, mailbox, pod) = (step.shared, step.mailbox, Arc::clone(step.pod));
    let Ok(observed) = observe::observe(shared, &mut step.state.sandbox_ids).await else { return false };
    step.report(&observed, false);
    let grace_s = mailbox.inbox.lock().termination.as_ref().and_then(|own| own.grace_s);
    let killing = kill::kill_pod(shared, &pod, &observed, grace_s);
    tokio::pin!(killing);
    let outcome = loop {
        tokio::select! {
            biased;
            outcome = &mut killing => break outcome,
            () = mailbox.wake.notified() => shorten(shared, mailbox, &pod, &observed).await,
        }
    };
    // Rings that came while killing may have been about something else.
    mailbox.wake.notify_one();
    if let Err(error) = outcome {
        tracing::warn!(pod = pod::describe(&pod), %error, "ending the pod");
        return false;
    }
    let Ok(observed) = observe::observe(shared, &mut step.state.sandbox_ids).await else { return false };
    if observed.is_running() {
        return false;
    }
    step.report(&observed, true);
    true
}

/// While containers are being ended, a shorter grace period may arrive: it counts from now.
async fn shorten(shared: &Shared, mailbox: &Mailbox, before: &Pod, observed: &podlogic::Observed) {
    let Some(now) = mailbox.pod() else { return };
    let (old, new) =
        (before.metadata.deletion_grace_period_seconds, now.metadata.deletion_grace_period_seconds);
    let shorter = match (old, new) {
        (Some(old), Some(new)) => new < old,
        (None, Some(_)) => true,
        _ => false,
    };
    let (true, Some(grace_s)) = (shorter, new) else { return };
    let running = observed.containers.iter().filter(|own| podlogic::observed::is_active(own.state));
    for own in running {
        let (runtime, id) = (Arc::clone(shared.runtime()), own.id.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.stop_container(&id, grace_s).await {
                tracing::debug!(container = id, %error, "stopping a container sooner");
            }
        });
    }
}

/// Cleans up after an ended Pod. The task is done when the object is gone from its source. A Pod that only ended keeps its
/// containers (for their logs) until it is deleted.
async fn finish(step: &mut Step<'_>) -> Left {
    let (shared, mailbox, pod) = (step.shared, step.mailbox, Arc::clone(step.pod));
    let uid = pod::uid(&pod);
    if let Err(error) = shared.options.volumes.teardown(uid).await {
        let object = crate::api::pod_reference(&pod);
        shared.recorder.warning(object, error.reason, error.message.clone());
        return Left::Failed;
    }
    let removed = mailbox.inbox.lock().removed;
    if !removed && !pod::is_deleted(&pod) {
        return Left::ForLater;
    }
    if !step.state.is_clean {
        step.state.is_clean = clean(step, &pod).await;
    }
    if !removed {
        // As upstream has it, the object does not wait for what is left of the containers.
        shared.statuses.finish(uid, &pod);
    }
    if !step.state.is_clean {
        return Left::Failed;
    }
    if !removed {
        return Left::ForLater;
    }
    let mirror = mailbox.inbox.lock().mirror.clone();
    if let Some(mirror) = mirror
        && !mirror::delete(shared, &mirror).await
    {
        tokio::spawn(mirror::delete_surely(Arc::clone(shared), mirror));
    }
    shared.statuses.forget(uid);
    Left::Nothing
}

/// Removes the Pod's containers, sandboxes, logs and directories. Answers whether nothing of them is left.
async fn clean(step: &mut Step<'_>, pod: &Pod) -> bool {
    let shared = step.shared;
    let Ok(observed) = observe::observe(shared, &mut step.state.sandbox_ids).await else { return false };
    let mut is_clean = true;
    for own in &observed.containers {
        directories::unlink_log(shared, pod, &own.metadata.name, &own.id).await;
    }
    for id in &step.state.sandbox_ids {
        if let Err(error) = shared.runtime().remove_pod_sandbox(id).await {
            tracing::warn!(sandbox = id, %error, "removing a sandbox");
            is_clean = false;
        }
    }
    is_clean &= directories::remove_pod_directories(shared, pod).await;
    shared.puller.forget(pod::uid(pod));
    is_clean
}
