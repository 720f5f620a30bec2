//! Random work of users and random faults, one a step.

use agent::testing::runtime::Fate;
use http::Method;
use model::tree::TreeExt;
use serde_json::{Value, json};
use stdx::entropy::Entropy;

use crate::audit::{is_deleted, node_of};
use crate::cluster::{COMPONENTS, Cluster, RIVAL};
use crate::faults::Chances;

/// Namespaces, the one that stays more often.
const NAMESPACES: [&str; 4] = ["default", "default", "a", "b"];
/// Those of them that users make and delete.
const TRANSIENT: [&str; 2] = ["a", "b"];
/// Names that are used again and again.
const NAMES: u64 = 16;
const NODES_MAX: usize = 5;
/// Holds an object until it is taken away.
const FINALIZER: &str = "test.example/hold";

fn pick<'a, T>(random: &Entropy, of: &'a [T]) -> &'a T {
    &of[usize::try_from(random.below(of.len() as u64)).unwrap_or(0)]
}

fn one_in(random: &Entropy, count: u64) -> bool {
    random.below(count) == 0
}

/// The first objects.
pub async fn prepare(cluster: &Cluster) {
    for (name, value) in [("high", 1000), ("low", -10)] {
        let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
            "metadata": {"name": name}, "value": value});
        cluster.ask(Method::POST, "/apis/scheduling.k8s.io/v1/priorityclasses", Some(&class)).await;
    }
    for name in TRANSIENT {
        create_namespace(cluster, name).await;
    }
    weather(cluster, &cluster.entropy);
}

type Weighted = (u64, &'static str);

/// What a step may be, with its weight.
const STEPS: &[Weighted] = &[
    (30, "create pod"),
    (12, "delete pod"),
    (8, "patch pod"),
    (6, "release"),
    (4, "evict pod"),
    (4, "bind again"),
    (10, "create owner"),
    (6, "delete owner"),
    (5, "create namespace"),
    (2, "delete namespace"),
    (8, "end container"),
    (5, "fates"),
    (3, "weather"),
    (3, "cut node"),
    (5, "heal node"),
    (3, "restart agent"),
    (2, "power failure"),
    (1, "join node"),
    (2, "cordon"),
    (5, "restart component"),
    (2, "restart server"),
    (2, "compact"),
    (10, "wait"),
];

/// Performs one step; gives the milliseconds to wait afterwards.
pub async fn step(cluster: &mut Cluster) -> u64 {
    let random = cluster.entropy.clone();
    let total: u64 = STEPS.iter().map(|(weight, _)| weight).sum();
    let mut at = random.below(total);
    let mut name = "wait";
    for (weight, own) in STEPS {
        if at < *weight {
            name = own;
            break;
        }
        at -= weight;
    }
    cluster.net.trace.add(&format!("STEP {name}"));
    match name {
        "create pod" | "delete pod" | "patch pod" | "release" | "evict pod" | "bind again" => {
            pods(cluster, &random, name).await;
        }
        "create owner" | "delete owner" | "create namespace" | "delete namespace" => {
            owners(cluster, &random, name).await;
        }
        "end container" | "fates" => containers(cluster, &random, name),
        "wait" => return 1000 * random.below(100),
        _ => faults(cluster, &random, name).await,
    }
    match random.below(4) {
        0 => 0,
        1 => random.below(20),
        2 => random.below(1000),
        _ => random.below(8000),
    }
}

fn pod_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

async fn pods(cluster: &Cluster, random: &Entropy, step: &str) {
    let namespace = *pick(random, &NAMESPACES);
    if step == "create pod" {
        for _ in 0..=random.below(3) {
            let pod = pod(cluster, random, namespace).await;
            cluster.ask(Method::POST, &format!("/api/v1/namespaces/{namespace}/pods"), Some(&pod)).await;
        }
        return;
    }
    let there = cluster.list("/api/v1/pods").await;
    if there.is_empty() {
        return;
    }
    let pod = pick(random, &there);
    let path = pod_path(pod.namespace(), pod.name());
    match step {
        "delete pod" => {
            let options = match random.below(4) {
                0 => json!({"gracePeriodSeconds": 0}),
                1 => json!({"gracePeriodSeconds": random.below(20)}),
                2 => json!({"propagationPolicy": "Foreground"}),
                _ => json!({}),
            };
            cluster.ask(Method::DELETE, &path, Some(&options)).await;
        }
        "patch pod" => {
            let mut pod = pod.clone();
            pod.set(&["metadata", "labels", "turn"], random.below(1000).to_string());
            // Another image: the container is ended, and one in its place is started.
            if one_in(random, 2) {
                pod["spec"]["containers"][0]["image"] = json!(format!("image{}", random.below(3)));
            }
            cluster.ask(Method::PUT, &path, Some(&pod)).await;
        }
        "evict pod" => {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod.name(), "namespace": pod.namespace()}});
            cluster.ask(Method::POST, &format!("{path}/eviction"), Some(&eviction)).await;
        }
        "bind again" => bind_again(cluster, random, &path, pod).await,
        _ => release(cluster, &path, pod).await,
    }
}

/// A binding that comes too late, from somebody whose copy of the Pod is old: to another node than the Pod has, or for a Pod
/// that is being deleted or that was another when it was looked at.
async fn bind_again(cluster: &Cluster, random: &Entropy, path: &str, pod: &Value) {
    let old = one_in(random, 3);
    if !old && node_of(pod).is_empty() && !is_deleted(pod) {
        return;
    }
    let uid = if old { random.uuid() } else { pod.uid().to_owned() };
    let others: Vec<&str> =
        cluster.nodes.iter().map(|own| own.name.as_str()).filter(|own| *own != node_of(pod)).collect();
    let binding = json!({"apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": pick(random, &others)}});
    if cluster.ask(Method::POST, &format!("{path}/binding"), Some(&binding)).await.is_some() {
        cluster.audit.violation(format!(
            "{binding} was accepted for {} on {}",
            pod["metadata"],
            node_of(pod)
        ));
    }
}

/// Takes the test's finalizer away.
async fn release(cluster: &Cluster, path: &str, object: &Value) {
    let mut object = object.clone();
    let kept: Vec<Value> =
        object.items(&["metadata", "finalizers"]).iter().filter(|own| *own != FINALIZER).cloned().collect();
    if kept.len() < object.items(&["metadata", "finalizers"]).len() {
        object.set(&["metadata", "finalizers"], Value::Array(kept));
        cluster.ask(Method::PUT, path, Some(&object)).await;
    }
}

async fn pod(cluster: &Cluster, random: &Entropy, namespace: &str) -> Value {
    let cpu = pick(random, &["50m", "100m", "300m", "600m", "1"]);
    let app = *pick(random, &["red", "green"]);
    let container = json!({"name": "main", "image": "image", "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": cpu, "memory": pick(random, &["16Mi", "100Mi", "300Mi"])}}});
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{}", random.below(NAMES)), "namespace": namespace, "labels": {"app": app}},
        "spec": {
            "containers": [container],
            "restartPolicy": pick(random, &["Always", "Always", "OnFailure", "Never"]),
            "terminationGracePeriodSeconds": pick(random, &[0, 1, 5, 30]),
        },
    });
    if one_in(random, 4) {
        let first = json!({"name": "first", "image": "image", "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": {"cpu": pick(random, &["10m", "100m", "500m"])}}});
        let side = json!({"name": "side", "image": "image", "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
            "resources": {"requests": {"cpu": pick(random, &["10m", "200m"]), "memory": "50Mi"}}});
        let all = [json!([first]), json!([side]), json!([side, first]), json!([first, side])];
        pod.set(&["spec", "initContainers"], pick(random, &all).clone());
    }
    if one_in(random, 4) {
        pod.set(&["spec", "priorityClassName"], *pick(random, &["high", "low"]));
    }
    if one_in(random, 5) {
        let term = json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "kubernetes.io/hostname"}]);
        let key = *pick(random, &["podAffinity", "podAntiAffinity"]);
        pod["spec"]["affinity"] = json!({key: {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    }
    if one_in(random, 6) {
        pod.set(&["spec", "nodeSelector"], json!({"zone": pick(random, &["z0", "z1", "z9"])}));
    }
    if one_in(random, 6) {
        pod["spec"]["tolerations"] = json!([
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5},
        ]);
    }
    if one_in(random, 6) {
        pod["metadata"]["finalizers"] = json!([FINALIZER]);
    }
    if one_in(random, 2) {
        let owners = owners_in(cluster, namespace).await;
        let mut references = Vec::new();
        for _ in 0..=random.below(2) {
            if owners.is_empty() {
                break;
            }
            let owner = pick(random, &owners);
            let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name(), "uid": owner.uid(),
                "blockOwnerDeletion": one_in(random, 2)});
            if !references.iter().any(|own: &Value| own["uid"] == reference["uid"]) {
                references.push(reference);
            }
        }
        pod["metadata"]["ownerReferences"] = Value::Array(references);
    }
    pod
}

/// What may own Pods in a namespace.
async fn owners_in(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let mut maps = cluster.list(&format!("/api/v1/namespaces/{namespace}/configmaps")).await;
    maps.retain(|own| own.name().starts_with("owner"));
    maps
}

async fn owners(cluster: &mut Cluster, random: &Entropy, step: &str) {
    let namespace = *pick(random, &NAMESPACES);
    match step {
        "create owner" => {
            let owner = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("owner{}", random.below(4)), "namespace": namespace}});
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            cluster.ask(Method::POST, &path, Some(&owner)).await;
        }
        "delete owner" => {
            let there = owners_in(cluster, namespace).await;
            if there.is_empty() {
                return;
            }
            let path = format!("/api/v1/namespaces/{namespace}/configmaps/{}", pick(random, &there).name());
            let policy = *pick(random, &["Background", "Foreground", "Orphan"]);
            // A collector that has to make itself a picture first.
            if one_in(random, 2) {
                cluster.restart("garbage");
            }
            cluster.ask(Method::DELETE, &path, Some(&json!({"propagationPolicy": policy}))).await;
        }
        "create namespace" => {
            create_namespace(cluster, pick::<&str>(random, &TRANSIENT)).await;
        }
        _ => {
            let name = *pick(random, &TRANSIENT);
            cluster.ask(Method::DELETE, &format!("/api/v1/namespaces/{name}"), None).await;
        }
    }
}

fn containers(cluster: &Cluster, random: &Entropy, step: &str) {
    let node = pick(random, &cluster.nodes);
    let name = *pick(random, &["main", "first", "side"]);
    if step == "end container" {
        let code = *pick(random, &[0, 0, 1, 137]);
        return node.runtime.exit(name, code);
    }
    let fate = match random.below(5) {
        0 => Fate::Exits(0),
        1 => Fate::Exits(1),
        2 => Fate::StartFails("no".into()),
        3 => Fate::Stubborn,
        _ => return node.runtime.fail_sandbox("no sandbox today"),
    };
    node.runtime.script(name, [fate]);
}

async fn create_namespace(cluster: &Cluster, name: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    cluster.ask(Method::POST, "/api/v1/namespaces", Some(&namespace)).await;
}

fn weather(cluster: &Cluster, random: &Entropy) {
    cluster.net.faults.set(Chances {
        refused: *pick(random, &[0, 5, 50]),
        unanswered: *pick(random, &[0, 5, 30]),
        watch_ends: *pick(random, &[0, 5, 50]),
        runtime_fails: *pick(random, &[0, 0, 10, 100]),
        write_fails: *pick(random, &[0, 0, 5, 20]),
        delay_ms: *pick(random, &[0, 5, 100]),
    });
}

async fn faults(cluster: &mut Cluster, random: &Entropy, step: &str) {
    let index = usize::try_from(random.below(cluster.nodes.len() as u64)).unwrap_or(0);
    let node = cluster.nodes[index].name.clone();
    match step {
        "weather" => weather(cluster, random),
        "cut node" => cluster.net.cut(&node, true),
        "heal node" => {
            cluster.net.cut(&node, false);
            if !cluster.nodes[index].is_up() {
                cluster.start_node(index).await;
            }
        }
        "restart agent" if one_in(random, 2) => cluster.nodes[index].stop(),
        "restart agent" => cluster.start_node(index).await,
        "power failure" => cluster.nodes[index].lose_power(),
        "join node" if cluster.nodes.len() < NODES_MAX => {
            let number = u8::try_from(cluster.nodes.len() + 1).unwrap_or(u8::MAX);
            cluster.join(number).await;
        }
        "cordon" => {
            let path = format!("/api/v1/nodes/{node}");
            let Some(mut object) = cluster.ask(Method::GET, &path, None).await else { return };
            let now = object["spec"]["unschedulable"] == true;
            object.set(&["spec", "unschedulable"], !now);
            cluster.ask(Method::PUT, &path, Some(&object)).await;
        }
        "restart component" => {
            let name = *pick(random, &COMPONENTS);
            let rival = cluster.net.faults.rivals() && name == "scheduler" && one_in(random, 2);
            cluster.restart(if rival { RIVAL } else { name });
        }
        "restart server" => cluster.restart_server().await,
        "compact" => cluster.compact().await,
        _ => {}
    }
}

/// Deletes all that users made, and takes away what holds it.
pub async fn delete_everything(cluster: &Cluster) {
    for namespace in NAMESPACES {
        let below = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}");
        cluster.ask(Method::DELETE, &below("pods"), None).await;
        cluster.ask(Method::DELETE, &below("configmaps"), None).await;
    }
    for name in TRANSIENT {
        cluster.ask(Method::DELETE, &format!("/api/v1/namespaces/{name}"), None).await;
    }
}

/// What is left of it; releases what is held.
pub async fn left(cluster: &Cluster) -> Vec<String> {
    let mut left = Vec::new();
    for pod in cluster.list("/api/v1/pods").await {
        release(cluster, &pod_path(pod.namespace(), pod.name()), &pod).await;
        let (meta, status) = (&pod["metadata"], &pod["status"]["phase"]);
        left.push(format!(
            "pod {}/{} on {} {status} {meta}",
            pod.namespace(),
            pod.name(),
            pod["spec"]["nodeName"]
        ));
    }
    for map in cluster.list("/api/v1/configmaps").await {
        if map.name().starts_with("owner") {
            left.push(format!("configmap {}/{} {}", map.namespace(), map.name(), map["metadata"]));
        }
    }
    for namespace in cluster.list("/api/v1/namespaces").await {
        if TRANSIENT.contains(&namespace.name()) {
            left.push(format!("namespace {} {}", namespace.name(), namespace["status"]));
        }
    }
    left
}
