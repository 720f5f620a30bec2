//! Namespaces, configuration, identities, quotas and classes.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{Row, plain, row};
use super::{AGE, NAME, Printer, flag, number, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "Namespace",
        columns: &[NAME, text("Status"), AGE],
        cells: |namespace| row![namespace.name(), namespace.text(&["status", "phase"]), namespace.age()],
    },
    Printer {
        group: "",
        kind: "ConfigMap",
        columns: &[NAME, text("Data"), AGE],
        cells: |map| row![map.name(), map.count(&["data"]) + map.count(&["binaryData"]), map.age()],
    },
    Printer {
        group: "",
        kind: "Secret",
        columns: &[NAME, text("Type"), text("Data"), AGE],
        cells: |secret| row![secret.name(), secret.text(&["type"]), secret.count(&["data"]), secret.age()],
    },
    Printer {
        group: "",
        kind: "ServiceAccount",
        columns: &[NAME, AGE],
        cells: |account| row![account.name(), account.age()],
    },
    Printer {
        group: "",
        kind: "ResourceQuota",
        columns: &[NAME, text("Request"), text("Limit"), AGE],
        cells: quota,
    },
    Printer {
        group: "",
        kind: "ComponentStatus",
        columns: &[NAME, text("Status"), text("Message"), text("Error")],
        cells: component_status,
    },
    Printer { group: "rbac.authorization.k8s.io", kind: "RoleBinding", columns: BINDING, cells: binding },
    Printer {
        group: "rbac.authorization.k8s.io",
        kind: "ClusterRoleBinding",
        columns: BINDING,
        cells: binding,
    },
    Printer {
        group: "coordination.k8s.io",
        kind: "Lease",
        columns: &[NAME, text("Holder"), AGE],
        cells: |lease| row![lease.name(), lease.text(&["spec", "holderIdentity"]), lease.age()],
    },
    Printer {
        group: "coordination.k8s.io",
        kind: "LeaseCandidate",
        columns: &[NAME, text("LeaseName"), text("BinaryVersion"), text("EmulationVersion"), AGE],
        cells: |candidate| {
            let spec = |field: &'static str| candidate.text(&["spec", field]);
            row![
                candidate.name(),
                spec("leaseName"),
                spec("binaryVersion"),
                spec("emulationVersion"),
                candidate.age()
            ]
        },
    },
    Printer {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        columns: &[NAME, number("Value"), flag("Global-Default"), AGE, text("PreemptionPolicy")],
        cells: |class| {
            row![
                class.name(),
                class.number(&["value"]),
                class.flag(&["globalDefault"], false),
                class.age(),
                class.text(&["preemptionPolicy"])
            ]
        },
    },
    Printer {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        columns: &[NAME, text("Handler"), AGE],
        cells: |class| row![class.name(), class.text(&["handler"]), class.age()],
    },
    Printer {
        group: "scheduling.k8s.io",
        kind: "Workload",
        columns: &[NAME, AGE],
        cells: |workload| row![workload.name(), workload.age()],
    },
    Printer {
        group: "scheduling.k8s.io",
        kind: "PodGroup",
        columns: &[NAME, text("Policy"), text("Workload"), text("Status"), AGE],
        cells: pod_group,
    },
];

const BINDING: &[super::Column] =
    &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

fn binding(binding: &Row<'_>) -> Vec<Value> {
    let subjects = |kind: &str| {
        let own = binding.items(&["subjects"]).iter().filter(|subject| subject.text(&["kind"]) == kind);
        let names = own.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", subject.text(&["namespace"]), subject.text(&["name"])),
            _ => subject.text(&["name"]).to_owned(),
        });
        names.collect::<Vec<_>>().join(", ")
    };
    let role = format!("{}/{}", binding.text(&["roleRef", "kind"]), binding.text(&["roleRef", "name"]));
    row![binding.name(), role, binding.age(), subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

fn quota(quota: &Row<'_>) -> Vec<Value> {
    let hard = quota.object.at(&["status", "hard"]).and_then(Value::as_object);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in hard.into_iter().flatten() {
        let used = quota.object.at(&["status", "used", name]).map_or("0".into(), |used| plain(Some(used)));
        let text = format!("{name}: {used}/{}", plain(Some(hard)));
        if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
    }
    row![quota.name(), requests.join(", "), limits.join(", "), quota.age()]
}

fn component_status(component: &Row<'_>) -> Vec<Value> {
    let healthy =
        component.items(&["conditions"]).iter().find(|condition| condition.text(&["type"]) == "Healthy");
    let status = match healthy.map(|condition| condition.text(&["status"])) {
        None => "Unknown",
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
    };
    let text = |field: &str| healthy.map_or("", |condition| condition.text(&[field]));
    row![component.name(), status, text("message"), text("error")]
}

fn pod_group(group: &Row<'_>) -> Vec<Value> {
    let policy = if group.has(&["spec", "schedulingPolicy", "gang"]) { "Gang" } else { "Basic" };
    let status = match (group.condition("DisruptionTarget"), group.condition("PodGroupScheduled")) {
        (Some(disrupted), _) => disrupted.text(&["reason"]),
        (None, Some(scheduled)) if scheduled.text(&["status"]) == "True" => "Scheduled",
        (None, Some(_)) => "Unschedulable",
        (None, None) => "Pending",
    };
    let workload = match group.has(&["spec", "podGroupTemplateRef"]) {
        true => group.text(&["spec", "podGroupTemplateRef", "workload", "workloadName"]),
        false => "<none>",
    };
    row![group.name(), policy, workload, status, group.age()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quotas_and_bindings() {
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        let object = json!({"metadata": {"name": "q"}, "status": {"hard": {"pods": "4", "limits.cpu": "2", "requests.cpu": "1"},
            "used": {"pods": "1"}}});
        let cells = quota(&Row { object: &object, now });
        assert_eq!(
            Value::from(cells),
            json!(["q", "pods: 1/4, requests.cpu: 0/1", "limits.cpu: 0/2", "<unknown>"])
        );
        let object = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "User", "name": "v"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]});
        let cells = binding(&Row { object: &object, now });
        assert_eq!(Value::from(cells), json!(["b", "ClusterRole/admin", "<unknown>", "u, v", "", "n/s"]));
    }
}
