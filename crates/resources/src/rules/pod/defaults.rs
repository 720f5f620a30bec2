//! Defaults of Pods and of Pod templates (`SetDefaults_Pod`, `SetDefaults_PodSpec` and what hangs below), with the
//! effects of upstream's conversion to its internal type: the old service account field, addresses of the status.

use model::quantity::Quantity;
use serde_json::{Map, Value, json};

use crate::rules::checks::{is_huge_page, may_overcommit};
use crate::rules::pod::each_container;
use crate::rules::{fill, image_tag};

/// Annotations that carried init containers once; they are dropped.
const DROPPED_ANNOTATIONS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

/// Defaults of a Pod.
pub fn pod(object: &mut Value) {
    drop_annotations(object);
    if let Some(spec) = fill::object(object, "spec") {
        requests_from_limits(spec);
        pod_level_resources(spec);
        fill::pointer(spec, "enableServiceLinks", true);
        if spec["hostNetwork"] == true {
            host_ports(spec);
        }
        spec_defaults(spec);
        if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
            spec["terminationGracePeriodSeconds"] = json!(1);
        }
    }
    if let Some(status) = fill::some(object, "status") {
        status_defaults(status);
    }
}

/// Defaults of a Pod template (`spec.template` of a workload, `template` of a PodTemplate).
pub fn template(template: &mut Value) {
    drop_annotations(template);
    if let Some(spec) = fill::object(template, "spec") {
        if spec["hostNetwork"] == true {
            host_ports(spec);
        }
        spec_defaults(spec);
    }
}

fn drop_annotations(object: &mut Value) {
    let Some(metadata) = fill::some(object, "metadata") else { return };
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        DROPPED_ANNOTATIONS.iter().for_each(|key| {
            annotations.remove(*key);
        });
    }
    fill::drop_empty(metadata, "annotations");
}

/// Where only limits are given, they are the requests too. Pods only: templates keep what they say.
fn requests_from_limits(spec: &mut Value) {
    for key in ["containers", "initContainers"] {
        for container in fill::items(spec, key) {
            if let Some(resources) = fill::some(container, "resources") {
                fill::copy_missing(resources, "limits", "requests");
            }
        }
    }
}

/// With host networking every container port is a host port.
fn host_ports(spec: &mut Value) {
    for key in ["containers", "initContainers"] {
        for container in fill::items(spec, key) {
            for port in fill::items(container, "ports") {
                let number = port["containerPort"].as_i64().unwrap_or_default();
                if number != 0 {
                    fill::number(port, "hostPort", number);
                }
            }
        }
    }
}

fn spec_defaults(spec: &mut Value) {
    fill::plain(spec, "dnsPolicy", "ClusterFirst");
    fill::plain(spec, "restartPolicy", "Always");
    fill::pointer(spec, "securityContext", json!({}));
    fill::pointer(spec, "terminationGracePeriodSeconds", 30);
    fill::plain(spec, "schedulerName", "default-scheduler");
    if spec["serviceAccountName"].as_str().unwrap_or_default().is_empty() {
        let old = spec["serviceAccount"].as_str().unwrap_or_default().to_owned();
        if !old.is_empty() {
            spec["serviceAccountName"] = json!(old);
        }
    } else {
        spec["serviceAccount"] = spec["serviceAccountName"].clone();
    }
    clean_null(spec, "serviceAccount");
    clean_null(spec, "serviceAccountName");
    fill::items(spec, "volumes").for_each(volume);
    each_container(spec, container);
    fill::round_resources(spec, &["overhead"]);
    fill::round_requirements(spec);
}

/// Indexing a tree for writing may have left a null.
fn clean_null(parent: &mut Value, key: &str) {
    if parent.get(key).is_some_and(Value::is_null) {
        fill::drop(parent, key);
    }
}

fn container(container: &mut Value) {
    let latest = || image_tag::is_latest(container.get("image").and_then(Value::as_str).unwrap_or_default());
    if container.get("imagePullPolicy").and_then(Value::as_str).unwrap_or_default().is_empty() {
        let policy = if latest() { "Always" } else { "IfNotPresent" };
        fill::plain(container, "imagePullPolicy", policy);
    }
    fill::plain(container, "terminationMessagePath", "/dev/termination-log");
    fill::plain(container, "terminationMessagePolicy", "File");
    fill::pointer(container, "resources", json!({}));
    fill::items(container, "ports").for_each(|port| fill::plain(port, "protocol", "TCP"));
    for variable in fill::items(container, "env") {
        let Some(source) = fill::some(variable, "valueFrom") else { continue };
        field_reference(source);
        if let Some(divisor) = fill::some(source, "resourceFieldRef") {
            fill::pointer(divisor, "divisor", "0");
        }
        if let Some(file) = fill::some(source, "fileKeyRef") {
            fill::pointer(file, "optional", false);
        }
    }
    fill::round_requirements(container);
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        fill::some(container, key).into_iter().for_each(probe);
    }
    if let Some(lifecycle) = fill::some(container, "lifecycle") {
        for key in ["postStart", "preStop"] {
            fill::some(lifecycle, key).into_iter().for_each(http_get);
        }
    }
}

fn field_reference(source: &mut Value) {
    if let Some(reference) = fill::some(source, "fieldRef") {
        fill::plain(reference, "apiVersion", "v1");
    }
}

/// Defaults of a probe.
fn probe(probe: &mut Value) {
    for (key, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        fill::number(probe, key, value);
    }
    http_get(probe);
    if let Some(grpc) = fill::some(probe, "grpc") {
        fill::pointer(grpc, "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if let Some(action) = fill::some(handler, "httpGet") {
        fill::plain(action, "path", "/");
        fill::plain(action, "scheme", "HTTP");
    }
}

/// Texts of volume sources that upstream fills in: (source, field, value, whether it is a pointer).
const SOURCE_TEXTS: [(&str, &str, &str, bool); 10] = [
    ("hostPath", "type", "", true),
    ("iscsi", "iscsiInterface", "default", false),
    ("rbd", "pool", "rbd", false),
    ("rbd", "user", "admin", false),
    ("rbd", "keyring", "/etc/ceph/keyring", false),
    ("azureDisk", "cachingMode", "ReadWrite", true),
    ("azureDisk", "fsType", "ext4", true),
    ("azureDisk", "kind", "Shared", true),
    ("scaleIO", "storageMode", "ThinProvisioned", false),
    ("scaleIO", "fsType", "xfs", false),
];

fn volume(volume: &mut Value) {
    let bare =
        volume.as_object().is_some_and(|map| map.iter().all(|(key, value)| key == "name" || value.is_null()));
    if bare {
        fill::pointer(volume, "emptyDir", json!({}));
    }
    source_texts(volume);
    for key in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = fill::some(volume, key) {
            fill::pointer(source, "defaultMode", 0o644);
        }
    }
    if let Some(disk) = fill::some(volume, "azureDisk") {
        fill::pointer(disk, "readOnly", false);
    }
    if let Some(image) = fill::some(volume, "image") {
        let latest = image_tag::is_latest(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        fill::plain(image, "pullPolicy", if latest { "Always" } else { "IfNotPresent" });
    }
    fill::some(volume, "downwardAPI").into_iter().for_each(downward_items);
    if let Some(projected) = fill::some(volume, "projected") {
        for source in fill::items(projected, "sources") {
            fill::some(source, "downwardAPI").into_iter().for_each(downward_items);
            if let Some(token) = fill::some(source, "serviceAccountToken") {
                fill::pointer(token, "expirationSeconds", 3600);
            }
        }
    }
    if let Some(claim) =
        fill::some(volume, "ephemeral").and_then(|source| fill::some(source, "volumeClaimTemplate"))
        && let Some(spec) = fill::object(claim, "spec")
    {
        claim_spec(spec);
    }
}

/// Defaults of the sources that Pods and persistent volumes share.
pub fn source_texts(holder: &mut Value) {
    for (source, field, value, is_pointer) in SOURCE_TEXTS {
        let Some(source) = fill::some(holder, source) else { continue };
        if is_pointer {
            fill::pointer(source, field, value);
        } else {
            fill::plain(source, field, value);
        }
    }
}

/// Defaults of a claim's spec.
pub fn claim_spec(spec: &mut Value) {
    fill::pointer(spec, "volumeMode", "Filesystem");
    fill::round_requirements(spec);
}

fn downward_items(source: &mut Value) {
    for item in fill::items(source, "items") {
        field_reference(item);
        if let Some(reference) = fill::some(item, "resourceFieldRef") {
            fill::pointer(reference, "divisor", "0");
        }
    }
}

fn status_defaults(status: &mut Value) {
    for key in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for container in fill::items(status, key) {
            fill::round_resources(container, &["allocatedResources"]);
            fill::round_requirements(container);
        }
    }
    let ip = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = status.pointer("/podIPs/0/ip").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !ip.is_empty() && ip != first {
        status["podIPs"] = json!([{"ip": ip}]);
    } else if ip.is_empty() && !first.is_empty() {
        status["podIP"] = json!(first);
    }
}

/// Fills in resources of the whole Pod: huge page limits from the containers', requests from the containers' or from
/// the limits.
fn pod_level_resources(spec: &mut Value) {
    let Some(resources) = spec.get("resources").filter(|resources| !resources.is_null()) else { return };
    let list = |key: &str| resources.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let (mut limits, mut requests) = (list("limits"), list("requests"));
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    for (name, amount) in aggregate(spec, "limits") {
        if is_huge_page(&name) && !requests.contains_key(&name) {
            limits.entry(name).or_insert_with(|| amount.to_string().into());
        }
    }
    if !limits.is_empty() {
        for (name, amount) in aggregate(spec, "requests") {
            if supported_for_pods(&name) && may_overcommit(&name) {
                requests.entry(name).or_insert_with(|| amount.to_string().into());
            }
        }
        for (name, amount) in &limits {
            if supported_for_pods(name) {
                requests.entry(name.clone()).or_insert_with(|| amount.clone());
            }
        }
    }
    for (key, list) in [("limits", limits), ("requests", requests)] {
        if !list.is_empty() {
            spec["resources"][key] = Value::Object(list);
        }
    }
}

/// Whether a resource may be given for the whole Pod.
pub fn supported_for_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge_page(name)
}

/// What the containers of a Pod need together (`AggregateContainerRequests`, `AggregateContainerLimits`): the sum of
/// the app containers and sidecars, or what an init container needs with the sidecars before it, if that is more.
/// `key`: `requests` or `limits`.
pub fn aggregate(spec: &Value, key: &str) -> std::collections::BTreeMap<String, Quantity> {
    type Amounts = std::collections::BTreeMap<String, Quantity>;
    fn add(sum: &mut Amounts, more: &Amounts) {
        for (name, amount) in more {
            sum.entry(name.clone()).and_modify(|sum| sum.add(amount)).or_insert_with(|| amount.clone());
        }
    }
    fn raise(most: &mut Amounts, more: &Amounts) {
        for (name, amount) in more {
            let entry = most.entry(name.clone()).or_insert_with(|| amount.clone());
            if *amount > *entry {
                *entry = amount.clone();
            }
        }
    }
    let amounts = |container: &Value| -> Amounts {
        let list: Option<&Map<String, Value>> =
            container.pointer(&format!("/resources/{key}")).and_then(Value::as_object);
        list.into_iter().flatten().map(|(name, value)| (name.clone(), Quantity::of(Some(value)))).collect()
    };
    let list = |key: &str| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    let (mut total, mut sidecars, mut starting) = (Amounts::new(), Amounts::new(), Amounts::new());
    list("containers").for_each(|container| add(&mut total, &amounts(container)));
    for container in list("initContainers") {
        let own = amounts(container);
        if container["restartPolicy"] == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut together = own;
            add(&mut together, &sidecars);
            raise(&mut starting, &together);
        }
    }
    raise(&mut total, &starting);
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doing_it_twice_changes_nothing() {
        let mut object = json!({"metadata": {"annotations": {"pod.beta.kubernetes.io/init-containers": "x"}}, "spec": {
            "hostNetwork": true, "serviceAccount": "s", "terminationGracePeriodSeconds": -5,
            "resources": {"limits": {"cpu": "2"}},
            "containers": [{"name": "c", "image": "a", "ports": [{"containerPort": 80}],
                "env": [{"name": "e", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "0.0001"}}, "livenessProbe": {"grpc": {"port": 1}}}],
            "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/"}}],
        }});
        pod(&mut object);
        let once = object.clone();
        pod(&mut object);
        assert_eq!(object, once);
        let spec = &once["spec"];
        assert_eq!(once["metadata"], json!({}));
        assert_eq!(spec["serviceAccountName"], "s");
        assert_eq!(spec["terminationGracePeriodSeconds"], 1);
        assert_eq!(spec["containers"][0]["ports"][0]["hostPort"], 80);
        assert_eq!(spec["containers"][0]["resources"]["requests"]["cpu"], "1m");
        assert_eq!(spec["containers"][0]["livenessProbe"]["grpc"]["service"], "");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["hostPath"]["type"], "");
        assert_eq!(spec["resources"]["requests"]["cpu"], "1m");
    }

    #[test]
    fn sidecars_count_with_what_starts_after_them() {
        let spec = json!({
            "containers": [{"resources": {"requests": {"cpu": "1"}}}],
            "initContainers": [
                {"restartPolicy": "Always", "resources": {"requests": {"cpu": "2"}}},
                {"resources": {"requests": {"cpu": "3"}}},
            ]
        });
        assert_eq!(aggregate(&spec, "requests")["cpu"].to_string(), "5");
    }
}
