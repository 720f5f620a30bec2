//! Placement as data: a cluster, a Pod, where it may go or what it is told.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use scheduler::{Decision, Options, PodKey, Scheduler};
use serde_json::{Value, json};
use stdx::entropy::Entropy;

const NOTHING_HELPS: &str = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}

/// A node of 4 cores and 8 GiB in a zone, changed by a patch.
fn node(name: &str, zone: &str, patch: Value) -> Node {
    let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone});
    let allocatable = json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "10Gi"});
    let mut node =
        json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}});
    merge(&mut node, &patch);
    serde_json::from_value(node).unwrap()
}

/// A Pod asking for some CPU, changed by a patch.
fn pod(name: &str, cpu: &str, patch: Value) -> Pod {
    let containers = json!([{"name": "c", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}]);
    let spec = json!({"schedulerName": "default-scheduler", "containers": containers});
    let mut pod = json!({"metadata": {"namespace": "default", "name": name, "uid": name}, "spec": spec});
    merge(&mut pod, &patch);
    serde_json::from_value(pod).unwrap()
}

fn on(name: &str, node: &str, patch: Value) -> Pod {
    let mut all = json!({"spec": {"nodeName": node}, "status": {"phase": "Running"}});
    merge(&mut all, &patch);
    pod(name, "100m", all)
}

struct Cluster(Scheduler);

impl Cluster {
    fn new(nodes: &[Node], pods: &[Pod]) -> Self {
        let options = Options { name: "default-scheduler".into(), entropy: Entropy::seeded(1) };
        let mut scheduler = Scheduler::new(options);
        nodes.iter().for_each(|node| scheduler.upsert_node(node));
        pods.iter().for_each(|pod| scheduler.upsert_pod(pod));
        Self(scheduler)
    }

    fn decide(&mut self, pod: &Pod) -> Decision {
        self.0.upsert_pod(pod);
        let key = self.0.next(at(0)).expect("the pod is next");
        assert_eq!(key, PodKey::of(pod));
        self.0.place(&key, at(0))
    }

    fn bind(&mut self, pod: &Pod) -> String {
        match self.decide(pod) {
            Decision::Bind { node } => {
                self.0.assume(&PodKey::of(pod), &node);
                node.to_string()
            }
            other => panic!("not placed: {other:?}"),
        }
    }

    fn message(&mut self, pod: &Pod) -> String {
        match self.decide(pod) {
            Decision::Unschedulable { message, preemption: None } => message,
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Every node a Pod may be bound to, over many ties.
fn choices(nodes: &[Node], pods: &[Pod], wanted: &Pod) -> BTreeSet<String> {
    let places = (0..40).filter_map(|seed| {
        let mut cluster = Cluster::new(nodes, pods);
        for _ in 0..seed {
            cluster.decide(&pod("turn", "1m", json!({})));
            cluster.0.remove_pod(&PodKey::new("default", "turn"));
        }
        match cluster.decide(wanted) {
            Decision::Bind { node } => Some(node.to_string()),
            _ => None,
        }
    });
    places.collect()
}

#[track_caller]
fn check(nodes: &[Node], pods: &[Pod], wanted: &Pod, places: &[&str]) {
    let expected: BTreeSet<String> = places.iter().map(|place| (*place).to_owned()).collect();
    assert_eq!(choices(nodes, pods, wanted), expected);
}

/// The nodes that pass the filters, however they score.
#[track_caller]
fn check_allowed(pods: &[Pod], wanted: &Pod, places: &[&str]) {
    let allowed = |name: &&str| {
        let mut wanted = wanted.clone();
        let selector = [("kubernetes.io/hostname".to_owned(), (*name).to_owned())];
        wanted.spec.as_mut().unwrap().node_selector = Some(selector.into());
        matches!(Cluster::new(&three(), pods).decide(&wanted), Decision::Bind { .. })
    };
    let found: Vec<&str> = ["a", "b", "c"].into_iter().filter(allowed).collect();
    assert_eq!(found, places);
}

fn three() -> Vec<Node> {
    ["a", "b", "c"].map(|name| node(name, if name == "c" { "z2" } else { "z1" }, json!({}))).into()
}

#[test]
fn messages_are_upstreams() {
    let hundred = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100", "memory": "100Gi"}}}]}});
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let port =
        json!({"spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let gpu =
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "1"}}}]}});
    let near = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}]}}}});
    let by_name = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}]}}}}});
    let spread = json!({"metadata": {"labels": {"app": "s"}}, "spec": {"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "s"}}}]}});
    let used = on("used", "a", port.clone());
    let cases: [(Value, &[Pod], Value, &str); 10] = [
        (json!({}), &[], hundred, "1 Insufficient cpu, 1 Insufficient memory."),
        (json!({"spec": {"unschedulable": true}}), &[], json!({}), "1 node(s) were unschedulable."),
        (taint, &[], json!({}), "1 node(s) had untolerated taint(s)."),
        (
            json!({}),
            &[],
            json!({"spec": {"nodeSelector": {"x": "y"}}}),
            "1 node(s) didn't match Pod's node affinity/selector.",
        ),
        (json!({}), &[], gpu, "1 Insufficient example.com/gpu."),
        (json!({}), &[], near, "1 node(s) didn't match pod affinity rules."),
        (json!({}), &[], by_name, "1 node(s) didn't satisfy plugin(s) [NodeAffinity]."),
        (
            json!({}),
            &[],
            spread,
            "1 node(s) didn't match pod topology spread constraints (missing required label).",
        ),
        (json!({"status": {"allocatable": {"cpu": "100m"}}}), &[], json!({}), "1 Insufficient cpu."),
        (
            json!({"status": {"allocatable": {"ephemeral-storage": "1", "memory": "1"}}}),
            &[],
            json!({"spec": {"overhead": {"ephemeral-storage": "2", "memory": "2"}}}),
            "1 Insufficient ephemeral-storage, 1 Insufficient memory.",
        ),
    ];
    for (patch, pods, wanted, reasons) in cases {
        let message = Cluster::new(&[node("a", "z", patch)], pods).message(&pod("p", "200m", wanted));
        assert_eq!(message, format!("0/1 nodes are available: {reasons} {NOTHING_HELPS}"));
    }
    let message = Cluster::new(&[node("a", "z", json!({}))], &[used]).message(&pod("p", "1", port));
    let none = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    let reasons = "1 node(s) didn't have free ports for the requested pod ports.";
    assert_eq!(message, format!("0/1 nodes are available: {reasons} {none}"));
    let full = node("a", "z", json!({"status": {"allocatable": {"pods": "0"}}}));
    let never = pod("p", "1", json!({"spec": {"preemptionPolicy": "Never"}}));
    let message = Cluster::new(&[full], &[]).message(&never);
    let never = "no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.";
    assert_eq!(message, format!("0/1 nodes are available: 1 Too many pods. {never}"));
    assert_eq!(
        Cluster::new(&[], &[]).message(&pod("p", "1", json!({}))),
        "no nodes available to schedule pods"
    );
}

#[test]
fn reasons_are_counted() {
    let mut nodes = three();
    nodes.push(node("d", "z2", json!({"spec": {"unschedulable": true}})));
    let message = Cluster::new(&nodes, &[]).message(&pod("p", "5", json!({})));
    let counted = "0/4 nodes are available: 1 node(s) were unschedulable, 3 Insufficient cpu.";
    let hopeless = "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.";
    assert_eq!(message, format!("{counted} no new claims to deallocate, {hopeless}"));
}

#[test]
fn filters_choose_nodes() {
    let plain = pod("p", "1", json!({}));
    check(&three(), &[], &plain, &["a", "b", "c"]);
    let selected = pod("p", "1", json!({"spec": {"nodeSelector": {"topology.kubernetes.io/zone": "z1"}}}));
    check(&three(), &[], &selected, &["a", "b"]);
    let expression = |key: &str, operator: &str, values: Value| {
        let term = json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}});
        pod("p", "1", json!({"spec": {"affinity": {"nodeAffinity": required}}}))
    };
    check(&three(), &[], &expression("kubernetes.io/hostname", "In", json!(["b", "c"])), &["b", "c"]);
    check(&three(), &[], &expression("kubernetes.io/hostname", "NotIn", json!(["b"])), &["a", "c"]);
    check(&three(), &[], &expression("absent", "DoesNotExist", json!([])), &["a", "b", "c"]);
    let mut sized = three();
    sized[1] = node("b", "z1", json!({"metadata": {"labels": {"size": "7"}}}));
    check(&sized, &[], &expression("size", "Gt", json!(["5"])), &["b"]);
    check(&sized, &[], &expression("size", "Gt", json!(["7"])), &[]);
    let mut tainted = three();
    tainted[0] =
        node("a", "z1", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}}));
    check(&tainted, &[], &plain, &["b", "c"]);
    let tolerate = |toleration: Value| pod("p", "1", json!({"spec": {"tolerations": [toleration]}}));
    check(&tainted, &[], &tolerate(json!({"key": "k", "value": "v"})), &["a", "b", "c"]);
    check(
        &tainted,
        &[],
        &tolerate(json!({"key": "k", "operator": "Exists", "effect": "NoExecute"})),
        &["a", "b", "c"],
    );
    check(&tainted, &[], &tolerate(json!({"key": "k", "value": "w"})), &["b", "c"]);
    check(&tainted, &[], &tolerate(json!({"operator": "Exists", "effect": "NoSchedule"})), &["b", "c"]);
}

#[test]
fn ports_conflict_by_address_and_protocol() {
    let port = |address: &str, protocol: &str| {
        let port = json!({"containerPort": 80, "hostPort": 80, "hostIP": address, "protocol": protocol});
        json!({"spec": {"containers": [{"name": "c", "ports": [port]}]}})
    };
    let one = [node("a", "z", json!({}))];
    let cases = [
        (("", "TCP"), ("", "TCP"), false),
        (("", "TCP"), ("", "UDP"), true),
        (("10.0.0.1", "TCP"), ("10.0.0.2", "TCP"), true),
        (("10.0.0.1", "TCP"), ("", "TCP"), false),
    ];
    for (used, wanted, fits) in cases {
        let placed = on("used", "a", port(used.0, used.1));
        let places = choices(&one, &[placed], &pod("p", "1", port(wanted.0, wanted.1)));
        assert_eq!(!places.is_empty(), fits, "{used:?} {wanted:?}");
    }
}

fn required(kind: &str, topology_key: &str, extra: Value) -> Value {
    let mut term = json!({"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": topology_key});
    merge(&mut term, &extra);
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}})
}

#[test]
fn pods_attract_and_repel() {
    const ZONE: &str = "topology.kubernetes.io/zone";
    const HOST: &str = "kubernetes.io/hostname";
    let app = json!({"metadata": {"labels": {"app": "x"}}});
    let placed = [on("x", "a", app.clone())];
    let near = |key: &str, extra: Value| pod("p", "1", required("podAffinity", key, extra));
    let far = |key: &str, extra: Value| pod("p", "1", required("podAntiAffinity", key, extra));
    check_allowed(&placed, &near(HOST, json!({})), &["a"]);
    check_allowed(&placed, &near(ZONE, json!({})), &["a", "b"]);
    check_allowed(&placed, &far(HOST, json!({})), &["b", "c"]);
    check_allowed(&placed, &far(ZONE, json!({})), &["c"]);
    check_allowed(&placed, &far(ZONE, json!({"namespaces": ["other"]})), &["a", "b", "c"]);
    check_allowed(&placed, &far(ZONE, json!({"namespaceSelector": {}})), &["c"]);
    // The first of a group may go anywhere.
    let mut first = required("podAffinity", ZONE, json!({}));
    merge(&mut first, &app);
    check_allowed(&[], &pod("p", "1", first), &["a", "b", "c"]);
    // The anti-affinity of those that are there counts as well.
    let hermit = on("hermit", "a", required("podAntiAffinity", ZONE, json!({})));
    check_allowed(&[hermit], &pod("p", "1", app), &["c"]);
}

#[test]
fn namespaces_are_selected_by_label() {
    let mut cluster = Cluster::new(&three(), &[]);
    let selector = json!({"namespaceSelector": {"matchLabels": {"team": "t"}}});
    let mut elsewhere = on("x", "a", json!({"metadata": {"labels": {"app": "x"}}}));
    elsewhere.metadata.namespace = Some("other".into());
    cluster.0.upsert_pod(&elsewhere);
    let wanted = pod("p", "1", required("podAffinity", "kubernetes.io/hostname", selector));
    assert!(matches!(cluster.decide(&wanted), Decision::Unschedulable { .. }));
    let namespace = json!({"metadata": {"name": "other", "labels": {"team": "t"}}});
    let namespace: Namespace = serde_json::from_value(namespace).unwrap();
    cluster.0.upsert_namespace(&namespace);
    let key = cluster.0.next(at(1)).expect("the namespace's labels wake it");
    assert_eq!(cluster.0.place(&key, at(1)), Decision::Bind { node: "a".into() });
}

#[test]
fn spread_constraints_balance() {
    let spread = |when: &str, key: &str| {
        json!({"metadata": {"labels": {"app": "s"}}, "spec": {"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "s"}}}]}})
    };
    for (when, key) in
        [("DoNotSchedule", "kubernetes.io/hostname"), ("ScheduleAnyway", "kubernetes.io/hostname")]
    {
        let mut cluster = Cluster::new(&three(), &[]);
        let mut places: Vec<String> =
            (0..6).map(|index| cluster.bind(&pod(&format!("s{index}"), "10m", spread(when, key)))).collect();
        places.sort();
        assert_eq!(places, ["a", "a", "b", "b", "c", "c"], "{when}");
    }
    let zone = "topology.kubernetes.io/zone";
    let placed = [on("s1", "c", spread("DoNotSchedule", zone))];
    check(&three(), &placed, &pod("p", "1", spread("DoNotSchedule", zone)), &["a", "b"]);
    let only_there = json!({"spec": {"nodeSelector": {zone: "z2"}}});
    let mut bound = spread("DoNotSchedule", zone);
    merge(&mut bound, &only_there);
    check(&three(), &placed, &pod("p", "1", bound), &["c"]);
}

#[test]
fn scores_prefer() {
    let plain = pod("p", "1", json!({}));
    let busy = on(
        "busy",
        "a",
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}}),
    );
    check(&three(), std::slice::from_ref(&busy), &plain, &["b", "c"]);
    let mut shunned = three();
    shunned[2] = node("c", "z2", json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}));
    check(&shunned, &[busy], &plain, &["b"]);
    let weight = json!([{"weight": 5, "preference": {"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["c"]}]}}]);
    let preferred = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": weight}}}});
    check(&three(), &[], &pod("p", "1", preferred), &["c"]);
    let image = json!({"status": {"images": [{"names": ["busybox:latest"], "sizeBytes": 900_000_000}]}});
    let mut pulled = three();
    pulled[1] = node("b", "z1", image);
    check(&pulled, &[], &plain, &["b"]);
    let term = json!({"weight": 10, "podAffinityTerm": {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": "kubernetes.io/hostname"}});
    let prefer = |kind: &str| {
        pod(
            "p",
            "1",
            json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}}),
        )
    };
    let small = json!({"metadata": {"labels": {"app": "x"}}});
    check(&three(), &[on("x", "b", small.clone())], &prefer("podAffinity"), &["b"]);
    check(&three(), &[on("x", "b", small)], &prefer("podAntiAffinity"), &["a", "c"]);
}

#[test]
fn siblings_are_spread_by_default() {
    let mut cluster = Cluster::new(&three(), &[]);
    let selector = json!({"matchLabels": {"app": "web"}});
    let selector = serde_json::from_value(selector).unwrap();
    cluster.0.set_workload("ReplicaSet", &PodKey::new("default", "web"), Some(&selector));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": true}]);
    let patch = json!({"metadata": {"labels": {"app": "web"}, "ownerReferences": owner}});
    let mut places: Vec<String> =
        (0..6).map(|index| cluster.bind(&pod(&format!("w{index}"), "0", patch.clone()))).collect();
    places.sort();
    assert_eq!(places, ["a", "a", "b", "b", "c", "c"]);
}

#[test]
fn lower_priorities_make_room() {
    let sized = |name: &str, node: &str, cpu: &str, priority: i32| {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        on(name, node, json!({"spec": {"priority": priority, "containers": containers}}))
    };
    let pods = [
        sized("low", "a", "2", 1),
        sized("lower", "a", "2", 0),
        sized("equal", "b", "4", 10),
        sized("mid", "c", "4", 5),
    ];
    let mut cluster = Cluster::new(&three(), &pods);
    let urgent = pod("urgent", "2", json!({"spec": {"priority": 10}}));
    let Decision::Unschedulable { message, preemption: Some(preemption) } = cluster.decide(&urgent) else {
        panic!("room can be made")
    };
    assert_eq!(message, "0/3 nodes are available: 3 Insufficient cpu.");
    assert_eq!((&*preemption.node, preemption.victims), ("a", vec![PodKey::new("default", "lower")]));
    // The nomination keeps others out until the victim is gone.
    let nominated =
        pod("urgent", "2", json!({"spec": {"priority": 10}, "status": {"nominatedNodeName": "a"}}));
    cluster.0.upsert_pod(&nominated);
    cluster.0.remove_pod(&PodKey::new("default", "lower"));
    let late = pod("late", "1", json!({"spec": {"priority": 5}}));
    cluster.0.upsert_pod(&late);
    assert_eq!(cluster.0.next(at(0)), Some(PodKey::new("default", "late")), "the other one backs off");
    let decision = cluster.0.place(&PodKey::new("default", "late"), at(0));
    assert!(matches!(decision, Decision::Unschedulable { .. }), "{decision:?}");
    assert_eq!(cluster.0.next(at(1)), Some(PodKey::new("default", "urgent")));
    assert_eq!(
        cluster.0.place(&PodKey::new("default", "urgent"), at(1)),
        Decision::Bind { node: "a".into() }
    );
}

#[test]
fn events_wake_those_they_help() {
    let one = [node("a", "z", json!({"status": {"allocatable": {"cpu": "1"}}}))];
    let mut cluster = Cluster::new(&one, &[on("x", "a", json!({})), on("y", "a", json!({}))]);
    let key = PodKey::new("default", "p");
    let wanted = pod("p", "1", json!({}));
    assert!(matches!(cluster.decide(&wanted), Decision::Unschedulable { .. }));
    // Its own status does not.
    cluster.0.upsert_pod(&pod(
        "p",
        "1",
        json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False"}]}}),
    ));
    cluster.0.upsert_node(&one[0]);
    cluster.0.remove_pod(&PodKey::new("default", "x"));
    assert_eq!(cluster.0.next(at(100)), None, "too little room is left");
    cluster.0.remove_pod(&PodKey::new("default", "y"));
    assert_eq!(cluster.0.lengths().unschedulable, 0);
    assert_eq!(cluster.0.next(at(1)), Some(key.clone()));
    assert!(matches!(cluster.0.place(&key, at(1)), Decision::Bind { .. }));
    cluster.0.assume(&key, "a");
    let other = pod("other", "1", json!({}));
    assert!(matches!(cluster.decide(&other), Decision::Unschedulable { .. }), "the assumed pod counts");
    cluster.0.forget(&key, at(1));
    assert_eq!(cluster.0.next(at(1)), None, "it backs off");
    assert_eq!(cluster.0.wakeup(), Some(at(3)), "for two seconds the second time");
    assert_eq!(cluster.0.next(at(3)), Some(key.clone()));
    cluster.0.upsert_pod(&on("p", "a", json!({})));
    assert_eq!(cluster.0.place(&key, at(3)), Decision::Nothing, "another bound it");
}

#[test]
fn gates_and_other_schedulers() {
    let mut cluster = Cluster::new(&three(), &[]);
    let gated = pod("g", "1", json!({"spec": {"schedulingGates": [{"name": "one"}, {"name": "two"}]}}));
    let message = "waiting for scheduling gates: [one two]".to_owned();
    assert_eq!(cluster.decide(&gated), Decision::Gated { message });
    cluster.0.upsert_pod(&gated);
    assert_eq!((cluster.0.next(at(1000)), cluster.0.lengths().gated), (None, 1));
    cluster.bind(&pod("g", "1", json!({})));
    assert_eq!(cluster.0.lengths().gated, 0);
    cluster.0.upsert_pod(&pod("o", "1", json!({"spec": {"schedulerName": "other"}})));
    cluster.0.upsert_pod(&pod("d", "1", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
    assert_eq!(cluster.0.next(at(0)), None);
}
