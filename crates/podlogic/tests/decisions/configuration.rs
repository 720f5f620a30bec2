//! What containers are made with: limits, identity, DNS, hosts, environment, admission.

use std::collections::BTreeMap;

use crate::common::pod_of;
use cri::runtime::SeccompProfile;
use k8s_openapi::api::core::v1::Service;
use model::quantity::Quantity;
use podlogic::dns::{NodeDns, pod_dns};
use podlogic::downward::{Facts, field, resource};
use podlogic::env::{self, Fetched, Sources};
use podlogic::limits::{NodeLimits, container_resources, qos_class};
use podlogic::security::{ImageUser, container_context};
use podlogic::{admission, hosts, pod, pull};
use serde_json::{Value, json};

fn with_resources(resources: Value) -> Value {
    json!({"containers": [{"name": "c", "image": "x", "resources": resources}]})
}

/// resources → class, shares, quota, memory, `oom_score_adj` on a node of 4 GiB.
#[test]
fn limits() {
    let node = NodeLimits { memory_bytes: 4 << 30, ..NodeLimits::default() };
    for (resources, class, shares, quota_us, memory, oom) in [
        (json!({}), "BestEffort", 2, 0, 0, 1000),
        (
            json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
            "Guaranteed",
            512,
            50_000,
            1 << 30,
            -997,
        ),
        (json!({"requests": {"memory": "1Gi"}}), "Burstable", 2, 0, 0, 750),
        (json!({"requests": {"cpu": "1"}}), "Burstable", 1024, 0, 0, 999),
        (json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}}), "Burstable", 2048, 200_000, 0, 999),
        (json!({"limits": {"cpu": "1m"}}), "Burstable", 2, 1000, 0, 999),
    ] {
        let pod = pod_of(with_resources(resources.clone()));
        let container = &pod::spec(&pod).containers[0];
        let own = container_resources(&pod, container, &node);
        let seen =
            (qos_class(&pod), own.cpu_shares, own.cpu_quota_us, own.memory_limit_bytes, own.oom_score_adj);
        assert_eq!(seen, (class, shares, quota_us, memory, oom), "{resources}");
    }
}

#[test]
fn security_is_on_unless_it_is_switched_off() {
    let user = ImageUser { uid: Some(7), username: String::new() };
    let context = |security: Value| {
        let pod = pod_of(json!({"securityContext": {"fsGroup": 5, "supplementalGroups": [6]},
            "containers": [{"name": "c", "image": "x", "securityContext": security}]}));
        container_context(&pod, &pod::spec(&pod).containers[0], &user, None, "/s").expect("a context")
    };
    let plain = context(json!({}));
    assert_eq!(plain.seccomp, SeccompProfile::RuntimeDefault);
    assert!(plain.masked_paths.contains(&"/proc/kcore".to_owned()));
    assert_eq!((plain.run_as_user, plain.supplemental_groups), (Some(7), vec![5, 6]));
    let privileged = context(json!({"privileged": true, "runAsUser": 0}));
    assert_eq!((privileged.seccomp, privileged.masked_paths.len()), (SeccompProfile::Unconfined, 0));
    assert_eq!(privileged.run_as_user, Some(0));
    let local = context(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"},
        "allowPrivilegeEscalation": false, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}));
    assert_eq!(local.seccomp, SeccompProfile::Localhost("/s/a.json".into()));
    assert!(local.no_new_privs);
    assert_eq!(
        (local.add_capabilities, local.drop_capabilities),
        (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()])
    );
}

#[test]
fn dns_follows_the_policy() {
    let node = NodeDns {
        cluster_servers: vec!["10.43.0.10".into()],
        cluster_domain: "cluster.local".into(),
        host_file: Some("# x\nnameserver 9.9.9.9\nsearch example.com.\noptions ndots:2 edns0\n".into()),
    };
    let of = |spec: Value, node: &NodeDns| pod_dns(&pod_of(spec), node);
    let cluster = "default.svc.cluster.local svc.cluster.local cluster.local example.com";
    for (spec, servers, searches, options) in [
        (json!({"dnsPolicy": "ClusterFirst", "containers": []}), "10.43.0.10", cluster, "ndots:5"),
        (json!({"dnsPolicy": "Default", "containers": []}), "9.9.9.9", "example.com", "ndots:2 edns0"),
        (
            json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true, "containers": []}),
            "9.9.9.9",
            "example.com",
            "ndots:2 edns0",
        ),
        (
            json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true, "containers": []}),
            "10.43.0.10",
            cluster,
            "ndots:5",
        ),
        (
            json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a"], "options": [{"name": "ndots", "value": "1"}]}, "containers": []}),
            "1.1.1.1",
            "a",
            "ndots:1",
        ),
    ] {
        let (config, warnings) = of(spec.clone(), &node);
        let seen = (config.servers.join(" "), config.searches.join(" "), config.options.join(" "));
        assert_eq!(seen, (servers.into(), searches.into(), options.into()), "{spec}");
        assert!(warnings.is_empty());
    }
    let without = NodeDns { cluster_servers: Vec::new(), ..node };
    let (config, warnings) = of(json!({"dnsPolicy": "ClusterFirst", "containers": []}), &without);
    assert_eq!(config.servers, ["9.9.9.9"]);
    assert_eq!(warnings[0].0, "MissingClusterDNS");
}

#[test]
fn hosts_file() {
    let pod = pod_of(json!({"hostname": "web", "subdomain": "sub", "containers": [],
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]}));
    let text = hosts::managed(&pod, &["10.42.0.5".into()], "cluster.local");
    assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
    assert!(text.ends_with("10.42.0.5\tweb.sub.default.svc.cluster.local\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"), "{text}");
}

#[test]
fn environment_in_order_with_references() {
    let pod = pod_of(json!({"nodeName": "n", "containers": [{"name": "c", "image": "x",
        "envFrom": [{"prefix": "M_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "none", "optional": true}}],
        "env": [{"name": "A", "value": "$(M_k)-$(KUBERNETES_SERVICE_PORT)-$(B)-$$(A)"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "C", "value": "$(B)"},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "gone", "optional": true}}}]}]}));
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.43.0.1", "ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}}))
        .expect("a service");
    let services = env::service_variables([&service].into_iter(), "other", false);
    assert_eq!(services["KUBERNETES_PORT_443_TCP"], "tcp://10.43.0.1:443");
    let mut sources = Sources::default();
    sources.config_maps.insert("m".into(), Fetched::Found([("k".to_owned(), "v".to_owned())].into()));
    sources.secrets.insert("none".into(), Fetched::Missing("secrets \"none\" not found".into()));
    sources.secrets.insert("s".into(), Fetched::Found([("k".to_owned(), "hidden".to_owned())].into()));
    let allocatable = BTreeMap::new();
    let facts = Facts { pod: &pod, pod_ips: &["10.42.0.5".into()], host_ips: &[], allocatable: &allocatable };
    let container = &pod::spec(&pod).containers[0];
    let envs = env::environment(container, &sources, &services, &facts).expect("an environment");
    let of = |name: &str| envs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    assert_eq!(of("M_k"), Some("v"));
    assert_eq!(of("A"), Some("v-443-$(B)-$(A)"));
    assert_eq!(
        (of("B"), of("C"), of("S"), of("O")),
        (Some("10.42.0.5"), Some("10.42.0.5"), Some("hidden"), None)
    );
    assert_eq!(of("KUBERNETES_SERVICE_HOST"), Some("10.43.0.1"));
    sources.secrets.insert("s".into(), Fetched::Found(BTreeMap::new()));
    let error = env::environment(container, &sources, &services, &facts).expect_err("a missing key");
    assert_eq!(error, "couldn't find key k in Secret default/s");
}

#[test]
fn downward_api() {
    let mut pod = pod_of(with_resources(json!({"requests": {"cpu": "250m", "memory": "64Mi"}})));
    pod.metadata.labels =
        Some([("a".to_owned(), "x\"y".to_owned()), ("b".to_owned(), "z".to_owned())].into());
    let allocatable = BTreeMap::from([("cpu".to_owned(), Quantity::from_milli(2000))]);
    let facts = Facts { pod: &pod, pod_ips: &[], host_ips: &["192.0.2.1".into()], allocatable: &allocatable };
    for (path, expected) in [
        ("metadata.name", Ok("p")),
        ("metadata.labels['b']", Ok("z")),
        ("metadata.labels", Ok("a=\"x\\\"y\"\nb=\"z\"")),
        ("status.hostIP", Ok("192.0.2.1")),
        ("spec.replicas", Err("unsupported fieldPath: spec.replicas")),
    ] {
        assert_eq!(field(&facts, path).as_deref(), expected.map_err(str::to_owned).as_deref(), "{path}");
    }
    let container = &pod::spec(&pod).containers[0];
    for (name, divisor, expected) in [
        ("requests.cpu", "", "1"),
        ("requests.cpu", "1m", "250"),
        ("requests.memory", "1Mi", "64"),
        ("limits.cpu", "1", "2"),
    ] {
        let reference = serde_json::from_value(match divisor {
            "" => json!({"resource": name}),
            divisor => json!({"resource": name, "divisor": divisor}),
        })
        .expect("a reference");
        assert_eq!(resource(&facts, container, &reference).as_deref(), Ok(expected), "{name} {divisor}");
    }
}

#[test]
fn image_names_that_are_none() {
    assert_eq!(pull::reference("nginx").as_deref(), Ok("nginx:latest"));
    assert_eq!(
        pull::reference("Nginx").expect_err("capital letters"),
        "Failed to apply default image tag \"Nginx\": couldn't parse image name \"Nginx\": invalid reference format: \
         repository name (library/Nginx) must be lowercase"
    );
}

#[test]
fn admission_names_the_lack() {
    let allocatable = BTreeMap::from([
        ("cpu".to_owned(), Quantity::from_milli(1000)),
        ("pods".to_owned(), Quantity::from_milli(2000)),
    ]);
    let port = json!({"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let small = pod_of(with_resources(json!({"requests": {"cpu": "600m"}})));
    let web = pod_of(port);
    let reason = |pod, others: &[&k8s_openapi::api::core::v1::Pod]| {
        admission::admit(pod, others, &allocatable, None).map_err(|own| (own.reason, own.message))
    };
    assert_eq!(reason(&small, &[&web]), Ok(()));
    assert_eq!(
        reason(&small, &[&small]).expect_err("no cpu"),
        (
            "OutOfcpu".into(),
            "Node didn't have enough resource: cpu, requested: 600, used: 600, capacity: 1000".into()
        )
    );
    assert_eq!(reason(&web, &[&web]).expect_err("the port").0, "NodePorts");
    assert_eq!(reason(&web, &[&small, &small]).expect_err("full").0, "OutOfpods");
}
