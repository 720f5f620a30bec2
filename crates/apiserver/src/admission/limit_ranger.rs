//! LimitRanger: a namespace's `LimitRange` objects give containers their default requests and limits, and say how little
//! and how much containers, Pods and claims may ask for (plugin/pkg/admission/limitranger).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use model::quantity::Quantity;
use model::tree::TreeExt;
use model::{GroupResource, Status};
use resources::Resource;
use serde_json::Value;

use crate::admission::{forbidden, is_core};
use crate::seams::{Admission, AdmissionRequest, ObjectReader, Operation};

/// Tells what was set on a Pod.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Quantities up to here are compared by their thousandths.
const MILLI_MAX: i64 = i64::MAX / 1000;

/// The plug-in.
pub struct LimitRanger {
    reader: Arc<dyn ObjectReader>,
}

impl LimitRanger {
    /// Reads limits through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// The limits that concern a request; none for what is on its way out.
    async fn ranges(&self, request: &AdmissionRequest) -> Result<Vec<Arc<Value>>, Status> {
        let leaving =
            |old: &Value| old.at(&["metadata", "deletionTimestamp"]).is_some_and(|at| !at.is_null());
        if request.old.as_ref().is_some_and(leaving) {
            return Ok(Vec::new());
        }
        self.reader.list(&GroupResource::new("", "limitranges"), Some(&request.namespace)).await
    }
}

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        match (operation, subresource) {
            (Operation::Create, None) => is_core(row, "pods") || is_core(row, "persistentvolumeclaims"),
            (Operation::Update, None) => is_core(row, "persistentvolumeclaims"),
            (Operation::Update, Some("resize")) => is_core(row, "pods"),
            _ => false,
        }
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if is_core(&request.row, "pods") {
            for range in self.ranges(request).await? {
                set_defaults(&range, &mut request.object);
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        for range in self.ranges(request).await? {
            let faults = if is_core(&request.row, "pods") {
                pod_faults(&range, &request.object)
            } else {
                claim_faults(&range, &request.object)
            };
            if let Some(text) = aggregate(faults) {
                return Err(forbidden(request, text));
            }
        }
        Ok(())
    }
}

/// Several errors as upstream joins them, each once.
fn aggregate(faults: Vec<String>) -> Option<String> {
    let mut once: Vec<String> = Vec::new();
    for fault in faults {
        if !once.contains(&fault) {
            once.push(fault);
        }
    }
    match once.len() {
        0 => None,
        1 => once.pop(),
        _ => Some(format!("[{}]", once.join(", "))),
    }
}

/// Fills in what containers do not say, and notes it in the annotation.
fn set_defaults(range: &Value, pod: &mut Value) {
    let mut defaults: [BTreeMap<String, Value>; 2] = Default::default();
    for item in range.items(&["spec", "limits"]).iter().filter(|item| item.text(&["type"]) == "Container") {
        for (defaults, name) in defaults.iter_mut().zip(["default", "defaultRequest"]) {
            let given = item.get(name).and_then(Value::as_object).into_iter().flatten();
            defaults.extend(given.map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    let mut notes = Vec::new();
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        let containers =
            pod.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let [limits, requests] = &defaults;
            // Upstream notes requests before limits.
            for (kind, noun, values) in [("requests", "request", requests), ("limits", "limit", limits)] {
                let missing = |name: &&String| container.at(&["resources", kind, name.as_str()]).is_none();
                let names: Vec<String> = values.keys().filter(missing).cloned().collect();
                for name in &names {
                    container.set(&["resources", kind, name], values[name].clone());
                }
                if !names.is_empty() {
                    notes.push(format!(
                        "{} {noun} for {what} {}",
                        names.join(", "),
                        container.text(&["name"])
                    ));
                }
            }
        }
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.set(&["metadata", "annotations", ANNOTATION], text);
    }
}

/// Amounts by resource.
type Amounts = BTreeMap<String, Quantity>;

fn amounts(value: Option<&Value>) -> Amounts {
    let given = value.and_then(Value::as_object).into_iter().flatten();
    given.map(|(name, value)| (name.clone(), Quantity::of(Some(value)))).collect()
}

/// What somebody asks for.
#[derive(Default)]
struct Asked {
    requests: Amounts,
    limits: Amounts,
}

impl Asked {
    fn of(container: &Value) -> Self {
        Self {
            requests: amounts(container.at(&["resources", "requests"])),
            limits: amounts(container.at(&["resources", "limits"])),
        }
    }
}

fn pod_faults(range: &Value, pod: &Value) -> Vec<String> {
    let containers = ["containers", "initContainers"].map(|list| pod.items(&["spec", list]));
    let mut faults = Vec::new();
    for item in range.items(&["spec", "limits"]) {
        match item.text(&["type"]) {
            "Container" => {
                for container in containers.iter().copied().flatten() {
                    check(&mut faults, item, &Asked::of(container));
                }
            }
            "Pod" => {
                let asked = Asked { requests: total(pod, "requests"), limits: total(pod, "limits") };
                check(&mut faults, item, &asked);
            }
            _ => {}
        }
    }
    faults
}

fn claim_faults(range: &Value, claim: &Value) -> Vec<String> {
    const TYPE: &str = "PersistentVolumeClaim";
    let requests = amounts(claim.at(&["spec", "resources", "requests"]));
    let asked = Asked { requests, limits: Amounts::new() };
    let mut faults = Vec::new();
    for item in range.items(&["spec", "limits"]).iter().filter(|item| item.text(&["type"]) == TYPE) {
        for (name, bound) in amounts(item.get("min")) {
            faults.extend(too_little(TYPE, &name, &bound, &asked));
        }
        for (name, bound) in amounts(item.get("max")) {
            faults.extend(too_much_requested(TYPE, &name, &bound, &asked));
        }
    }
    faults
}

fn check(faults: &mut Vec<String>, item: &Value, asked: &Asked) {
    let kind = item.text(&["type"]);
    for (name, bound) in amounts(item.get("min")) {
        faults.extend(too_little(kind, &name, &bound, asked));
    }
    for (name, bound) in amounts(item.get("max")) {
        faults.extend(too_much(kind, &name, &bound, asked));
    }
    for (name, bound) in amounts(item.get("maxLimitRequestRatio")) {
        faults.extend(too_far_apart(kind, &name, &bound, asked));
    }
}

/// Request, limit and bound in one unit: thousandths if none of them overflows.
fn comparable(request: Option<&Quantity>, limit: Option<&Quantity>, bound: &Quantity) -> (i64, i64, i64) {
    let all = [request, limit, Some(bound)];
    let milli = all.iter().flatten().all(|quantity| quantity.value() <= MILLI_MAX);
    let number = |quantity: Option<&Quantity>| {
        quantity.map_or(0, |quantity| if milli { quantity.milli_value() } else { quantity.value() })
    };
    (number(request), number(limit), number(Some(bound)))
}

fn too_little(kind: &str, name: &str, bound: &Quantity, asked: &Asked) -> Option<String> {
    let (request, limit) = (asked.requests.get(name), asked.limits.get(name));
    let (asked_number, limit_number, bound_number) = comparable(request, limit, bound);
    let least = format!("minimum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{least}.  No request is specified")),
        (Some(request), _) if asked_number < bound_number => {
            Some(format!("{least}, but request is {request}"))
        }
        (_, Some(limit)) if limit_number < bound_number => Some(format!("{least}, but limit is {limit}")),
        _ => None,
    }
}

fn too_much(kind: &str, name: &str, bound: &Quantity, asked: &Asked) -> Option<String> {
    let (request, limit) = (asked.requests.get(name), asked.limits.get(name));
    let (asked_number, limit_number, bound_number) = comparable(request, limit, bound);
    let most = format!("maximum {name} usage per {kind} is {bound}");
    match (request, limit) {
        (_, None) => Some(format!("{most}.  No limit is specified")),
        (_, Some(limit)) if limit_number > bound_number => Some(format!("{most}, but limit is {limit}")),
        (Some(request), _) if asked_number > bound_number => {
            Some(format!("{most}, but request is {request}"))
        }
        _ => None,
    }
}

fn too_much_requested(kind: &str, name: &str, bound: &Quantity, asked: &Asked) -> Option<String> {
    let request = asked.requests.get(name);
    let (asked_number, _, bound_number) = comparable(request, None, bound);
    let most = format!("maximum {name} usage per {kind} is {bound}");
    match request {
        None => Some(format!("{most}.  No request is specified")),
        Some(request) if asked_number > bound_number => Some(format!("{most}, but request is {request}")),
        Some(_) => None,
    }
}

fn too_far_apart(kind: &str, name: &str, bound: &Quantity, asked: &Asked) -> Option<String> {
    let (request, limit, _) = comparable(asked.requests.get(name), asked.limits.get(name), bound);
    let most = format!("{name} max limit to request ratio per {kind} is {bound}");
    if request == 0 {
        return Some(format!("{most}, but no request is specified or request is 0"));
    }
    if limit == 0 {
        return Some(format!("{most}, but no limit is specified or limit is 0"));
    }
    let ratio = limit as f64 / request as f64;
    let over = if bound.value() <= MILLI_MAX {
        ratio * 1000.0 > bound.milli_value() as f64
    } else {
        ratio > bound.value() as f64
    };
    over.then(|| format!("{most}, but provided ratio is {ratio:.6}"))
}

/// What a Pod asks for in all: its containers together, or its init containers where one of them asks for more, and
/// what the Pod itself says in their place.
fn total(pod: &Value, kind: &str) -> Amounts {
    let own = |container: &Value| amounts(container.at(&["resources", kind]));
    let mut sum = Amounts::new();
    for container in pod.items(&["spec", "containers"]) {
        add(&mut sum, &own(container));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in pod.items(&["spec", "initContainers"]) {
        let asked = own(container);
        let together = if container.text(&["restartPolicy"]) == "Always" {
            add(&mut sum, &asked);
            add(&mut sidecars, &asked);
            sidecars.clone()
        } else {
            let mut together = asked;
            add(&mut together, &sidecars);
            together
        };
        raise(&mut peak, &together);
    }
    raise(&mut sum, &peak);
    let supported = ["cpu", "memory"];
    let whole = amounts(pod.at(&["spec", "resources", kind]));
    sum.extend(whole.into_iter().filter(|(name, _)| supported.contains(&name.as_str())));
    sum
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        match sum.get_mut(name) {
            Some(own) => own.add(quantity),
            None => drop(sum.insert(name.clone(), quantity.clone())),
        }
    }
}

/// The greater of both for each resource.
fn raise(list: &mut Amounts, other: &Amounts) {
    for (name, quantity) in other {
        if list.get(name).is_none_or(|own| quantity.nanos() > own.nanos()) {
            list.insert(name.clone(), quantity.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(limits: Value) -> Value {
        json!({"spec": {"limits": [limits]}})
    }

    fn pod(requests: Value, limits: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]}})
    }

    #[test]
    fn containers_get_what_they_do_not_say() {
        let range = range(json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "64Mi"}}));
        let mut pod = json!({"spec": {"containers": [{"name": "a", "resources": {}},
            {"name": "b", "resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "2", "memory": "1Mi"}}}],
            "initContainers": [{"name": "i"}]}});
        set_defaults(&range, &mut pod);
        assert_eq!(
            pod["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu, memory request for container a; cpu, memory limit for container a; memory limit \
             for container b; cpu, memory request for init container i; cpu, memory limit for init container i"
        );
        let all =
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "64Mi"}});
        assert_eq!(
            (&pod["spec"]["containers"][0]["resources"], &pod["spec"]["initContainers"][0]["resources"]),
            (&all, &all)
        );
        let some =
            json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "2", "memory": "1Mi"}});
        assert_eq!(pod["spec"]["containers"][1]["resources"], some);
        let before = pod.clone();
        set_defaults(&range, &mut pod);
        assert_eq!(pod, before, "nothing is left to be set");
        let mut plain = json!({"spec": {"containers": [{"name": "a", "resources": {}}]}});
        set_defaults(&json!({"spec": {"limits": [{"type": "Pod"}]}}), &mut plain);
        assert_eq!(plain, json!({"spec": {"containers": [{"name": "a", "resources": {}}]}}));
    }

    #[test]
    fn bounds_are_kept_with_upstreams_words() {
        let table = [
            (json!({"type": "Container", "min": {"cpu": "100m"}}), json!({"cpu": "100m"}), json!({}), None),
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({}),
                json!({}),
                Some("minimum cpu usage per Container is 100m.  No request is specified"),
            ),
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                json!({"cpu": "50m"}),
                json!({}),
                Some("minimum cpu usage per Container is 100m, but request is 50m"),
            ),
            (
                json!({"type": "Container", "min": {"memory": "1Gi"}}),
                json!({"memory": "1Gi"}),
                json!({"memory": "1Mi"}),
                Some("minimum memory usage per Container is 1Gi, but limit is 1Mi"),
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({}),
                json!({}),
                Some("maximum cpu usage per Container is 1.  No limit is specified"),
            ),
            (
                json!({"type": "Pod", "max": {"cpu": "1"}}),
                json!({}),
                json!({"cpu": "1500m"}),
                Some("maximum cpu usage per Pod is 1, but limit is 1500m"),
            ),
            (
                json!({"type": "Container", "max": {"cpu": "1"}}),
                json!({"cpu": "2"}),
                json!({"cpu": "1"}),
                Some("maximum cpu usage per Container is 1, but request is 2"),
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({"cpu": "100m"}),
                json!({"cpu": "250m"}),
                Some("cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000"),
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "1500m"}}),
                json!({"cpu": "1"}),
                json!({"cpu": "1500m"}),
                None,
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                json!({}),
                json!({"cpu": "1"}),
                Some(
                    "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
                ),
            ),
        ];
        for (limits, requests, given, expected) in table {
            let found = aggregate(pod_faults(&range(limits.clone()), &pod(requests, given)));
            assert_eq!(found.as_deref(), expected, "{limits}");
        }
    }

    #[test]
    fn several_faults_are_told_together() {
        let limits = json!({"type": "Container", "min": {"cpu": "1"}, "max": {"memory": "1Mi"}});
        let found = pod_faults(&range(limits), &pod(json!({"cpu": "1m"}), json!({"memory": "2Mi"})));
        assert_eq!(
            aggregate(found).unwrap(),
            "[minimum cpu usage per Container is 1, but request is 1m, maximum memory usage per Container is 1Mi, but limit is \
             2Mi]"
        );
    }

    #[test]
    fn claims_are_held_to_their_requests() {
        let limits =
            json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}});
        for (storage, expected) in [
            ("1Gi", None),
            ("500Mi", Some("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi")),
            ("3Gi", Some("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi")),
        ] {
            let claim = json!({"spec": {"resources": {"requests": {"storage": storage}}}});
            assert_eq!(aggregate(claim_faults(&range(limits.clone()), &claim)).as_deref(), expected);
        }
    }

    #[test]
    fn a_pod_asks_for_its_busiest_moment() {
        let cpu = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let mut pod = json!({"spec": {
            "containers": [{"resources": cpu("1")}, {"resources": cpu("500m")}],
            "initContainers": [{"resources": cpu("3")}, {"restartPolicy": "Always", "resources": cpu("1")}, {"resources": cpu("1")}],
        }});
        assert_eq!(total(&pod, "requests")["cpu"].to_string(), "3");
        pod["spec"]["initContainers"][0]["resources"] = cpu("1");
        assert_eq!(total(&pod, "requests")["cpu"].to_string(), "2500m");
        pod["spec"]["resources"] = json!({"requests": {"cpu": "7", "hugepages-2Mi": "2Mi"}});
        let whole = total(&pod, "requests");
        assert_eq!((whole["cpu"].to_string().as_str(), whole.len()), ("7", 1));
    }
}
