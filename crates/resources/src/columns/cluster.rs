//! Admission, certificates, flow control and the extension of the API.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{self, Row, plain, row};
use super::{AGE, NAME, Printer, age, number, text};

const ADMISSION: &str = "admissionregistration.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: ADMISSION, kind: "MutatingWebhookConfiguration", columns: WEBHOOKS, cells: webhooks },
    Printer { group: ADMISSION, kind: "ValidatingWebhookConfiguration", columns: WEBHOOKS, cells: webhooks },
    Printer {
        group: ADMISSION,
        kind: "ValidatingAdmissionPolicy",
        columns: &[NAME, number("Validations"), text("ParamKind"), AGE],
        cells: |policy| {
            row![policy.name(), policy.count(&["spec", "validations"]), param_kind(policy), policy.age()]
        },
    },
    Printer {
        group: ADMISSION,
        kind: "MutatingAdmissionPolicy",
        columns: &[NAME, number("Mutations"), text("ParamKind"), AGE],
        cells: |policy| {
            row![policy.name(), policy.count(&["spec", "mutations"]), param_kind(policy), policy.age()]
        },
    },
    Printer {
        group: ADMISSION,
        kind: "ValidatingAdmissionPolicyBinding",
        columns: BINDING,
        cells: policy_binding,
    },
    Printer {
        group: ADMISSION,
        kind: "MutatingAdmissionPolicyBinding",
        columns: BINDING,
        cells: policy_binding,
    },
    Printer {
        group: CERTIFICATES,
        kind: "CertificateSigningRequest",
        columns: &[
            NAME,
            AGE,
            text("SignerName"),
            text("Requestor"),
            text("RequestedDuration"),
            text("Condition"),
        ],
        cells: signing_request,
    },
    Printer {
        group: CERTIFICATES,
        kind: "ClusterTrustBundle",
        columns: &[NAME, text("SignerName")],
        cells: |bundle| row![bundle.name(), bundle.text_or(&["spec", "signerName"], "<none>")],
    },
    Printer {
        group: CERTIFICATES,
        kind: "PodCertificateRequest",
        columns: &[
            NAME,
            text("PodName"),
            text("ServiceAccountName"),
            text("NodeName"),
            text("SignerName"),
            text("State"),
            text("UnverifiedUserAnnotations"),
        ],
        cells: pod_certificate_request,
    },
    Printer {
        group: FLOW_CONTROL,
        kind: "FlowSchema",
        columns: &[
            NAME,
            text("PriorityLevel"),
            text("MatchingPrecedence"),
            text("DistinguisherMethod"),
            AGE,
            text("MissingPL"),
        ],
        cells: flow_schema,
    },
    Printer {
        group: FLOW_CONTROL,
        kind: "PriorityLevelConfiguration",
        columns: &[
            NAME,
            text("Type"),
            text("NominalConcurrencyShares"),
            text("Queues"),
            text("HandSize"),
            text("QueueLengthLimit"),
            AGE,
        ],
        cells: priority_level,
    },
    Printer {
        group: "apiregistration.k8s.io",
        kind: "APIService",
        columns: &[NAME, text("Service"), text("Available"), AGE],
        cells: api_service,
    },
    Printer {
        group: "internal.apiserver.k8s.io",
        kind: "StorageVersion",
        columns: &[NAME, text("CommonEncodingVersion"), text("StorageVersions"), AGE],
        cells: storage_version,
    },
    Printer {
        group: "storagemigration.k8s.io",
        kind: "StorageVersionMigration",
        columns: &[text("Name"), text("Resource"), text("Status")],
        cells: migration,
    },
];

const WEBHOOKS: &[super::Column] = &[NAME, number("Webhooks"), AGE];
const BINDING: &[super::Column] = &[NAME, text("PolicyName"), text("ParamRef"), AGE];

fn webhooks(configuration: &Row<'_>) -> Vec<Value> {
    row![configuration.name(), configuration.count(&["webhooks"]), configuration.age()]
}

fn param_kind(policy: &Row<'_>) -> String {
    match policy.object.at(&["spec", "paramKind"]) {
        Some(kind) => format!("{}/{}", kind.api_version(), kind.kind()),
        None => "<unset>".into(),
    }
}

fn policy_binding(binding: &Row<'_>) -> Vec<Value> {
    let param = match binding.object.at(&["spec", "paramRef"]) {
        Some(param) if !param.text(&["name"]).is_empty() => {
            let namespace =
                Some(param.text(&["namespace"])).filter(|namespace| !namespace.is_empty()).unwrap_or("*");
            format!("{namespace}/{}", param.text(&["name"]))
        }
        Some(param) if param.at(&["selector"]).is_some() => cells::selector(param.at(&["selector"])),
        _ => "<unset>".into(),
    };
    row![binding.name(), binding.text(&["spec", "policyName"]), param, binding.age()]
}

fn signing_request(request: &Row<'_>) -> Vec<Value> {
    let has = |kind: &str| request.condition(kind).is_some();
    let mut condition = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        condition.push_str(",Failed");
    }
    if !request.text(&["status", "certificate"]).is_empty() {
        condition.push_str(",Issued");
    }
    let duration = request.object.integer(&["spec", "expirationSeconds"]).map_or("<none>".into(), age::human);
    row![
        request.name(),
        request.age(),
        request.text_or(&["spec", "signerName"], "<none>"),
        request.text(&["spec", "username"]),
        duration,
        condition,
    ]
}

fn pod_certificate_request(request: &Row<'_>) -> Vec<Value> {
    let known = |condition: &&Value| matches!(condition.text(&["type"]), "Issued" | "Denied" | "Failed");
    let state = request.items(&["status", "conditions"]).iter().rfind(known);
    let spec = |field: &'static str| request.text(&["spec", field]);
    row![
        request.name(),
        spec("podName"),
        spec("serviceAccountName"),
        spec("nodeName"),
        spec("signerName"),
        state.map_or("Pending", |condition| condition.text(&["type"])),
        cells::labels(request.object.at(&["spec", "unverifiedUserAnnotations"])),
    ]
}

fn flow_schema(schema: &Row<'_>) -> Vec<Value> {
    row![
        schema.name(),
        schema.text(&["spec", "priorityLevelConfiguration", "name"]),
        schema.number(&["spec", "matchingPrecedence"]),
        schema.text_or(&["spec", "distinguisherMethod", "type"], "<none>"),
        schema.age(),
        schema.condition("Dangling").map_or("?", |dangling| dangling.text(&["status"])),
    ]
}

fn priority_level(level: &Row<'_>) -> Vec<Value> {
    let limited = level.has(&["spec", "limited"]);
    let queuing = level.has(&["spec", "limited", "limitResponse", "queuing"]);
    let number = |known: bool, path: &[&str]| -> Value {
        if known { level.number(path).into() } else { "<none>".into() }
    };
    let queue = |field: &str| number(queuing, &["spec", "limited", "limitResponse", "queuing", field]);
    row![
        level.name(),
        level.text(&["spec", "type"]),
        number(limited, &["spec", "limited", "nominalConcurrencyShares"]),
        queue("queues"),
        queue("handSize"),
        queue("queueLengthLimit"),
        level.age(),
    ]
}

fn api_service(service: &Row<'_>) -> Vec<Value> {
    let target = service.object.at(&["spec", "service"]);
    let target = target.map(|target| format!("{}/{}", target.text(&["namespace"]), target.text(&["name"])));
    let available = service.condition("Available").map_or("Unknown".into(), |condition| {
        let (status, reason) = (condition.text(&["status"]), condition.text(&["reason"]));
        if status == "True" || reason.is_empty() { status.to_owned() } else { format!("{status} ({reason})") }
    });
    row![service.name(), target.unwrap_or_else(|| "Local".into()), available, service.age()]
}

fn storage_version(version: &Row<'_>) -> Vec<Value> {
    let common = version.object.at(&["status", "commonEncodingVersion"]);
    let servers: Vec<String> = version
        .items(&["status", "storageVersions"])
        .iter()
        .map(|server| format!("{}={}", server.text(&["apiServerID"]), server.text(&["encodingVersion"])))
        .collect();
    row![
        version.name(),
        common.map_or("<unset>".into(), |common| plain(Some(common))),
        cells::some_of(&servers, 3),
        version.age(),
    ]
}

fn migration(migration: &Row<'_>) -> Vec<Value> {
    let known = |condition: &&Value| {
        condition.text(&["status"]) == "True"
            && matches!(condition.text(&["type"]), "Running" | "Failed" | "Succeeded")
    };
    let state = migration.items(&["status", "conditions"]).iter().rfind(known);
    let resource = model::GroupResource::new(
        migration.text(&["spec", "resource", "group"]),
        migration.text(&["spec", "resource", "resource"]),
    );
    row![
        migration.name(),
        resource.to_string(),
        state.map_or("Unknown", |condition| condition.text(&["type"]))
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_and_services() {
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        let object = json!({"metadata": {"name": "r"}, "spec": {"username": "u", "expirationSeconds": 3600},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "aGk="}});
        let cells = signing_request(&Row { object: &object, now });
        assert_eq!(Value::from(cells), json!(["r", "<unknown>", "<none>", "u", "60m", "Approved,Issued"]));
        let object = json!({"metadata": {"name": "v1.x"}, "spec": {"service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "False", "reason": "MissingEndpoints"}]}});
        let cells = api_service(&Row { object: &object, now });
        assert_eq!(Value::from(cells), json!(["v1.x", "n/s", "False (MissingEndpoints)", "<unknown>"]));
    }
}
