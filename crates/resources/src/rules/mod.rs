//! What a kind adds to the generic pipeline: defaults, what create and update may touch, validation, warnings and
//! selectable fields. Everything here is pure: a tree goes in, a changed tree or a list of errors comes out.

pub mod access;
pub mod admission;
pub mod at;
pub mod checks;
pub mod core;
pub mod diff;
pub mod fill;
pub mod image_tag;
pub mod internal;
pub mod kind;
pub mod metadata;
pub mod networking;
pub mod pod;
pub mod storage;
pub mod table;
pub mod warnings;
pub mod workloads;

use serde_json::Value;

use crate::field::Errors;

pub use table::rules_for;

/// How an object is about to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Grace in seconds; `None` for kinds that go at once.
    pub grace_s: Option<i64>,
}

/// The rules of a kind. Objects arrive in the served version, schema-checked and normalised. `subresource` is the
/// one written to (`status`, `resize`, `ephemeralcontainers` …), or `None` for the object itself.
pub trait Rules: Send + Sync {
    /// Fills in upstream's defaults (`SetDefaults_*`). Called on create, on update and after admission's mutations;
    /// doing it twice changes nothing.
    fn default(&self, _object: &mut Value) {}

    /// Before validation of a create: drops what clients may not set (status), sets what upstream's strategy sets
    /// (phase, QoS class). `metadata` is the pipeline's business.
    fn prepare_for_create(&self, object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
    }

    /// Before validation of an update: keeps what this path may not change (status on the main path, everything but
    /// status and metadata's allowed parts on `status`). Generation is the pipeline's: it rises when anything but
    /// metadata and status changed.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, subresource: Option<&str>) {
        generic_update(object, old, subresource);
    }

    /// Errors of a new object; `metadata` is checked by the pipeline with [`Rules::name_errors`].
    fn validate(&self, _object: &Value) -> Errors {
        Errors::new()
    }

    /// Errors of a change.
    fn validate_update(&self, object: &Value, _old: &Value, _subresource: Option<&str>) -> Errors {
        self.validate(object)
    }

    /// What is wrong with a name (upstream's `NameIsDNSSubdomain` and friends); `prefix`: it is a `generateName`.
    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        model::names::dns_subdomain_name(name, prefix)
    }

    /// Texts for `Warning:` headers on create (no `old`) and update.
    fn warnings(&self, _object: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }

    /// Selectable fields besides `metadata.name` and `metadata.namespace`: (path, value).
    fn selectable_fields(&self, _object: &Value) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Names of the fields of [`Rules::selectable_fields`], known without an object.
    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Grace of a deletion, given what the caller asked for (`None`: nothing). `None` back: the kind has no graceful
    /// deletion. Pods: asked, else `spec.terminationGracePeriodSeconds`, 0 if not bound to a node or already ended.
    fn deletion_grace_s(&self, _object: &Value, _asked_s: Option<i64>) -> Option<i64> {
        None
    }

    /// Whether an update may create the object (upstream's `AllowCreateOnUpdate`).
    fn allows_create_on_update(&self) -> bool {
        false
    }

    /// Whether an update must name the resourceVersion it is based on (upstream's `!AllowUnconditionalUpdate`).
    fn requires_resource_version(&self) -> bool {
        false
    }
}

/// The usual isolation of spec and status.
pub fn generic_update(object: &mut Value, old: &Value, subresource: Option<&str>) {
    let (Some(new), Some(old)) = (object.as_object_mut(), old.as_object()) else { return };
    if subresource == Some("status") {
        let status = new.remove("status");
        let metadata = new.remove("metadata");
        *new = old.clone();
        new.insert("metadata".into(), metadata.unwrap_or_default());
        match status {
            Some(status) => new.insert("status".into(), status),
            None => new.remove("status"),
        };
    } else {
        match old.get("status") {
            Some(status) => new.insert("status".into(), status.clone()),
            None => new.remove("status"),
        };
    }
}

/// Rules of kinds that add nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Plain;

impl Rules for Plain {}
