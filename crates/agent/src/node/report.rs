//! Registers the node and keeps its status current: written when it changed, and every few minutes.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, Patch, WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use model::{Reason, Status};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::machine::{self, Machine};
use crate::node::object::{self, NodeFacts};
use crate::shared::Shared;

/// How often the machine is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// Pause before a failed registration is tried again, at first.
const RETRY_INITIAL: Duration = Duration::from_millis(50);
/// Longest pause between attempts to register.
const RETRY_MAXIMUM: Duration = Duration::from_secs(7);

/// Makes the facts and hands them to `use_facts`.
async fn with_facts<T>(shared: &Shared, machine: &Machine, use_facts: impl FnOnce(&NodeFacts<'_>) -> T) -> T {
    let options = &shared.options;
    let root = &options.directories.root;
    let images = options.images.list_images().await;
    let problem = match &images {
        Ok(_) => String::new(),
        Err(error) => format!("[container runtime is down, {error}]"),
    };
    let capacity = machine.capacity(&options.config, root);
    use_facts(&NodeFacts {
        name: &options.node_name,
        ips: &shared.host_ips,
        labels: &options.node_labels,
        machine,
        capacity: &capacity,
        allocatable: &shared.allocatable,
        images: images.as_deref().unwrap_or_default(),
        pressure: machine::pressure(root, &options.config.thresholds),
        problem: &problem,
        runtime: &format!("{}://{}", shared.runtime_name, shared.runtime_version),
        version: &options.version,
        port: options.kubelet_port,
        now: shared.now(),
    })
}

/// Registers, then reports for as long as it runs.
pub async fn run(shared: Arc<Shared>) {
    let Some(client) = shared.options.client.clone() else { return };
    let machine = Machine::read();
    let mut pause = RETRY_INITIAL;
    let node = loop {
        match register(&shared, &client, &machine).await {
            Ok(node) => break node,
            Err(status) => tracing::warn!(error = status.message, "registering the node"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAXIMUM);
    };
    *shared.node.write() = Some(Arc::new(node));
    shared.node_known.send_replace(true);
    // Mirrors of static Pods belong to the Node, so they had to wait for it.
    shared.pods.lock().values().for_each(|mailbox| mailbox.wake.notify_one());
    tokio::join!(report(&shared, &client, &machine), follow(&shared, &client));
}

async fn register(shared: &Shared, client: &Client, machine: &Machine) -> Result<Node, Status> {
    let name = &shared.options.node_name;
    let wanted = with_facts(shared, machine, object::node).await;
    if shared.options.config.register_node {
        match client.create(None, &wanted).await {
            Ok(node) => return Ok(node),
            Err(status) if status.is(Reason::AlreadyExists) => {}
            Err(status) => return Err(status),
        }
    }
    let present: Node = client.get(None, name).await?;
    let have = present.metadata.labels.clone().unwrap_or_default();
    let missing: serde_json::Map<String, Value> = wanted
        .metadata
        .labels
        .iter()
        .flatten()
        .filter(|(key, value)| have.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    if !missing.is_empty() {
        let patch = Patch::Merge(json!({"metadata": {"labels": missing}}));
        client.patch::<Node>(None, name, None, &patch).await?;
    }
    let before = present.status.and_then(|status| status.conditions).unwrap_or_default();
    let status = with_facts(shared, machine, |facts| object::status(facts, &before)).await;
    write(client, name, &status).await
}

/// Replaces what the node knows; conditions are merged by type.
async fn write(client: &Client, name: &str, status: &NodeStatus) -> Result<Node, Status> {
    let mut body = serde_json::to_value(status).map_err(Status::internal)?;
    if let Some(Value::Array(addresses)) = body.get_mut("addresses") {
        addresses.push(json!({"$patch": "replace"}));
    }
    client.patch(None, name, Some("status"), &Patch::Strategic(json!({"status": body}))).await
}

/// The status without the times that change all the time.
fn lasting(status: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    for condition in status.conditions.iter_mut().flatten() {
        condition.last_heartbeat_time = None;
    }
    status
}

async fn report(shared: &Arc<Shared>, client: &Client, machine: &Machine) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.tick().await;
    let frequency = shared.options.config.node_status_report_frequency;
    let mut written = Instant::now();
    let mut known: Option<NodeStatus> = None;
    loop {
        tokio::select! {
            biased;
            _ = look.tick() => {}
            () = shared.node_changed.notified() => {}
        }
        let node = shared.node.read().clone();
        let before = node.and_then(|node| node.status.clone()).and_then(|status| status.conditions);
        let before = before.unwrap_or_default();
        let status = with_facts(shared, machine, |facts| object::status(facts, &before)).await;
        let changed = known.as_ref().is_none_or(|known| lasting(known) != lasting(&status));
        if !changed && written.elapsed() < frequency {
            continue;
        }
        match write(client, &shared.options.node_name, &status).await {
            Ok(_) => {
                known = Some(status);
                written = Instant::now();
            }
            Err(status) if status.is(Reason::NotFound) && shared.options.config.register_node => {
                if let Err(status) = register(shared, client, machine).await {
                    tracing::warn!(error = status.message, "registering the node again");
                }
            }
            Err(status) => tracing::warn!(error = status.message, "writing the node's status"),
        }
    }
}

/// Keeps the Node object current.
async fn follow(shared: &Arc<Shared>, client: &Client) {
    let options = WatchOptions {
        field_selector: Some(format!("metadata.name={}", shared.options.node_name)),
        initial_events: true,
        bookmarks: true,
        ..WatchOptions::default()
    };
    loop {
        if let Ok(mut stream) = client.watch::<Node>(None, &options).await {
            while let Some(event) = stream.next().await {
                match event {
                    Ok(WatchEvent::Added(node) | WatchEvent::Modified(node)) => {
                        *shared.node.write() = Some(Arc::new(node));
                    }
                    Ok(WatchEvent::Deleted(_)) => shared.node_changed.notify_one(),
                    Ok(WatchEvent::Bookmark { .. }) => {}
                    Err(_) => break,
                }
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
