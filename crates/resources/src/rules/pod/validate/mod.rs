//! Validation of Pods and of Pod templates, in upstream's order and words (`ValidatePodCreate`, `ValidatePodSpec`).

pub mod annotations;
mod containers;
mod environment;
mod handlers;
mod mounts;
mod network;
mod operating_system;
mod projections;
pub mod resources;
mod scheduling;
mod security;
mod volumes;

use std::collections::BTreeSet;

use model::names;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::At;
use crate::rules::checks;

pub(in crate::rules::pod) use network::addresses;
pub use projections::signer_name;
pub use scheduling::{node_selector, node_selector_term, tolerations};
pub use volumes::storage as volume_sources;

/// Annotation of Pods that mirror a file on a node.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// Whose spec is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'o> {
    /// The Pod's name; none in templates.
    pub pod_name: Option<&'o str>,
    /// A Pod rather than a template.
    pub is_pod: bool,
    /// The Pod mirrors a file on a node.
    pub mirror: bool,
}

impl<'o> Subject<'o> {
    /// The subject of a Pod.
    pub fn of_pod(object: &'o Value) -> Self {
        let mirror = object.at(&["metadata", "annotations", MIRROR]).is_some();
        Self { pod_name: Some(object.name()), is_pod: true, mirror }
    }
}

/// What validation of a part has to know of the whole spec.
pub(super) struct Context<'o> {
    /// Valid volumes: name and the volume.
    pub volumes: Vec<(&'o str, &'o Value)>,
    /// Names in `resourceClaims`.
    pub claims: BTreeSet<&'o str>,
    pub grace_s: Option<i64>,
    pub restart_policy: &'o str,
    pub host_users: bool,
    pub os: Option<&'o str>,
}

impl Context<'_> {
    pub fn volume(&self, name: &str) -> Option<&Value> {
        self.volumes.iter().find(|(own, _)| *own == name).map(|(_, volume)| *volume)
    }
}

/// Errors of a new Pod (its metadata is the pipeline's business).
pub fn create(object: &Value) -> Errors {
    let mut errors = metadata_and_spec(object);
    let pod = At::root(object);
    let spec = pod.child("spec");
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("cannot be set on create"));
    }
    if !spec.str("nodeName").is_empty() && !spec.child("schedulingGates").is_empty() {
        let node = spec.child("nodeName");
        errors.push(node.forbidden("cannot be set until all schedulingGates have been cleared"));
    }
    annotations::match_fields(&mut errors, pod.child("metadata").child("annotations").value, &spec);
    errors
}

/// What is checked of a Pod on every write (`validatePodMetadataAndSpec` without the metadata).
pub(super) fn metadata_and_spec(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let pod = At::root(object);
    let spec = pod.child("spec");
    annotations::check(&mut errors, &pod.child("metadata").child("annotations"), &spec);
    validate_spec(&mut errors, &spec, &Subject::of_pod(object));
    if spec.str("serviceAccountName").is_empty() {
        for volume in spec.items("volumes") {
            for source in volume.child("projected").items("sources") {
                if let Some(token) = source.some("serviceAccountToken") {
                    errors.push(token.forbidden("must not be specified when serviceAccountName is not set"));
                }
            }
        }
    }
    for key in ["containers", "initContainers"] {
        spec.items(key).iter().for_each(|container| trimmed_image(&mut errors, container));
    }
    errors
}

/// Images have no blanks around them; templates may.
fn trimmed_image(errors: &mut Errors, container: &At) {
    let image = container.child("image");
    if image.text().trim() != image.text() {
        errors.push(image.invalid("must not have leading or trailing whitespace"));
    }
}

/// Errors of a Pod's or a template's spec.
pub fn validate_spec(errors: &mut Errors, spec: &At, subject: &Subject) {
    if spec.int("terminationGracePeriodSeconds").is_none() {
        errors.push(spec.child("terminationGracePeriodSeconds").required(""));
    }
    let claims = spec.value.items(&["resourceClaims"]).iter().map(|claim| claim.text(&["name"]));
    let context = Context {
        volumes: volumes::all(errors, &spec.child("volumes"), subject),
        claims: claims.filter(|name| !name.is_empty()).collect(),
        grace_s: spec.int("terminationGracePeriodSeconds"),
        restart_policy: spec.str("restartPolicy"),
        host_users: spec.value.at(&["hostUsers"]).and_then(Value::as_bool).unwrap_or(true),
        os: spec.value.at(&["os", "name"]).and_then(Value::as_str),
    };
    resources::pod_claims(errors, spec, subject);
    containers::apps(errors, spec, &context);
    containers::init(errors, spec, &context);
    containers::ephemeral(errors, spec, &context);
    resources::of_pod(errors, spec, &context);
    network::host_ports(errors, spec, subject);
    spec.child("restartPolicy").required_one_of(errors, &["Always", "OnFailure", "Never"]);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    spec.child("dnsPolicy").required_one_of(errors, &policies);
    checks::labels(errors, &spec.child("nodeSelector"));
    security::of_pod(errors, spec);
    scheduling::affinity(errors, &spec.child("affinity"));
    network::dns_config(errors, spec);
    for gate in spec.items("readinessGates") {
        checks::qualified_name(errors, &gate.child("conditionType"));
    }
    scheduling::gates(errors, &spec.child("schedulingGates"));
    scheduling::spread(errors, &spec.child("topologySpreadConstraints"));
    operating_system::host_process(errors, spec);
    security::host_users(errors, spec, &context);
    network::hostname_override(errors, spec);
    names_and_numbers(errors, spec);
    operating_system::check(errors, spec);
    scheduling::group(errors, spec);
    environment::file_volumes(errors, spec);
}

/// The single fields at the end of `ValidatePodSpec`.
fn names_and_numbers(errors: &mut Errors, spec: &At) {
    type Rule = fn(&str) -> Vec<String>;
    let named = |errors: &mut Errors, key: &str, rule: Rule| {
        let field = spec.child(key);
        if !field.text().is_empty() {
            field.complain(errors, rule(field.text()));
        }
    };
    named(errors, "serviceAccountName", names::dns_subdomain);
    named(errors, "nodeName", names::dns_subdomain);
    if let Some(deadline) = spec.some("activeDeadlineSeconds") {
        let complaints = names::in_range(deadline.number().unwrap_or_default(), 1, i64::from(i32::MAX));
        deadline.complain(errors, complaints);
    }
    named(errors, "hostname", names::dns_label);
    named(errors, "subdomain", names::dns_label);
    tolerations(errors, &spec.child("tolerations"));
    network::host_aliases(errors, spec);
    named(errors, "priorityClassName", names::dns_subdomain);
    if let Some(class) = spec.some("runtimeClassName") {
        checks::dns_subdomain(errors, &class);
    }
    if let Some(policy) = spec.some("preemptionPolicy") {
        policy.required_one_of(errors, &["PreemptLowerPriority", "Never"]);
    }
    if let Some(overhead) = spec.some("overhead") {
        resources::overhead(errors, &overhead);
    }
}

/// An error about a path that is not a child of the spec.
pub(super) fn forbidden_at(path: &str, detail: &str) -> FieldError {
    FieldError::forbidden(&Path::new(path), detail)
}
