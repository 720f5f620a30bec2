//! What has to be so when nothing has gone wrong for a while: what fits has a place, and what has a place runs. Reckoned
//! without any part of the scheduler.

use std::collections::BTreeSet;
use std::sync::Arc;

use cri::runtime::ContainerState;
use model::tree::TreeExt;
use podlogic::labels;
use serde_json::Value;

use crate::audit::{Amount, amount, is_deleted, is_final, node_of, requests};
use crate::cluster::Cluster;

/// Checks a cluster that was left alone for longer than any back-off.
///
/// # Errors
/// What is not as it has to be.
pub async fn check(cluster: &Cluster) -> Result<(), String> {
    let pods: Vec<Arc<Value>> = cluster.audit.pods().into_iter().filter(|pod| !is_final(pod)).collect();
    let nodes = cluster.list("/api/v1/nodes").await;
    check_running(cluster, &pods)?;
    for pod in pods.iter().filter(|pod| !is_deleted(pod) && node_of(pod).is_empty()) {
        let looked_at = pod.items(&["status", "conditions"]).iter().any(|own| own["type"] == "PodScheduled");
        if !looked_at {
            return Err(format!("pod {} was never looked at by the scheduler", pod.name()));
        }
        let has_wishes =
            pod.at(&["spec", "affinity"]).is_some() || pod.at(&["spec", "nodeSelector"]).is_some();
        if has_wishes {
            continue;
        }
        if let Some(node) = nodes.iter().find(|node| has_place(node, pod, &pods)) {
            let (name, status) = (pod.name(), &pod["status"]);
            return Err(format!("pod {name} would fit on {} and is not bound: {status}", node.name()));
        }
    }
    Ok(())
}

/// Each Pod with a node has something that runs there, and nothing runs that is no Pod's.
fn check_running(cluster: &Cluster, pods: &[Arc<Value>]) -> Result<(), String> {
    for node in &cluster.nodes {
        let containers = node.runtime.containers();
        let running = containers.iter().filter(|own| own.state == ContainerState::Running);
        let running: BTreeSet<&str> =
            running.filter_map(|own| own.labels.get(labels::POD_UID)).map(String::as_str).collect();
        let own = || pods.iter().filter(|pod| node_of(pod) == node.name);
        if let Some(pod) = own().find(|pod| !is_deleted(pod) && !running.contains(pod.uid())) {
            let (name, status) = (pod.name(), &pod["status"]);
            return Err(format!("pod {name} is on {} and nothing of it runs: {status}", node.name));
        }
        if let Some(uid) = running.iter().find(|uid| !own().any(|pod| pod.uid() == **uid)) {
            return Err(format!("containers of {uid} run on {}, where no such pod is", node.name));
        }
    }
    Ok(())
}

/// Whether nothing speaks against a Pod on a node. A node with a Pod that does not want others, or that is kept free for
/// somebody, does not count.
fn has_place(node: &Value, pod: &Value, pods: &[Arc<Value>]) -> bool {
    let ready = node.items(&["status", "conditions"]).iter();
    let ready = ready.clone().any(|own| own["type"] == "Ready" && own["status"] == "True");
    if !ready || node["spec"]["unschedulable"] == true || !node.items(&["spec", "taints"]).is_empty() {
        return false;
    }
    let nominated = |own: &Value| own.text(&["status", "nominatedNodeName"]) == node.name();
    if pods.iter().any(|own| own.uid() != pod.uid() && nominated(own)) {
        return false;
    }
    let mut own = pods.iter().filter(|own| node_of(own) == node.name());
    if own.clone().any(|own| own.at(&["spec", "affinity", "podAntiAffinity"]).is_some()) {
        return false;
    }
    let used: Amount = own.by_ref().fold(requests(pod), |sum, own| sum.plus(requests(own)));
    used.fits(amount(node.at(&["status", "allocatable"])))
}
