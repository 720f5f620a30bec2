//! What upstream serves by default, as `kubectl api-versions` and `kubectl api-resources` show it.

use std::collections::BTreeSet;

use resources::{discovery, registry};

const VERSIONS: &[&str] = &[
    "admissionregistration.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "apiregistration.k8s.io/v1",
    "apps/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates.k8s.io/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "events.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1",
    "networking.k8s.io/v1",
    "node.k8s.io/v1",
    "policy/v1",
    "rbac.authorization.k8s.io/v1",
    "resource.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1",
    "v1",
];

#[test]
fn versions_are_upstreams() {
    let served: BTreeSet<String> = registry().rows().iter().map(|row| row.api_version()).collect();
    assert_eq!(served.iter().map(String::as_str).collect::<Vec<_>>(), VERSIONS);
}

const CLUSTER: &str = include_str!("data/cluster-resources.txt");

#[test]
fn cluster_resources_are_upstreams() {
    let mut served = BTreeSet::new();
    for row in registry().rows().iter().filter(|row| !row.namespaced()) {
        served.insert(row.group_resource().to_string());
    }
    let want: BTreeSet<String> = CLUSTER.lines().map(str::to_owned).collect();
    assert_eq!(served, want);
}

#[test]
fn both_forms_agree() {
    let registry = registry();
    for core in [true, false] {
        let aggregated = discovery::aggregated(registry, core, discovery::Aggregated::V2);
        for group in aggregated["items"].as_array().unwrap() {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().unwrap() {
                let list =
                    discovery::resource_list(registry, name, version["version"].as_str().unwrap()).unwrap();
                let listed: Vec<&str> = list["resources"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|entry| entry["name"].as_str().unwrap())
                    .collect();
                let mut wanted = Vec::new();
                for resource in version["resources"].as_array().unwrap() {
                    let plural = resource["resource"].as_str().unwrap();
                    wanted.push(plural.to_owned());
                    for subresource in resource["subresources"].as_array().into_iter().flatten() {
                        wanted.push(format!("{plural}/{}", subresource["subresource"].as_str().unwrap()));
                    }
                }
                assert_eq!(listed, wanted);
            }
        }
    }
}
