//! The built-in resources: rows of the derived table made into [`Resource`]s.

use std::sync::Arc;

use model::GroupVersionKind;

use crate::generated::rows::ROWS;
use crate::row::{Resource, Scope, Subresource};

/// A built-in resource as the derived table holds it.
#[derive(Debug)]
pub struct Builtin {
    /// API group.
    pub group: &'static str,
    /// Served version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural name.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Short names.
    pub short_names: &'static [&'static str],
    /// Categories.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs in discovery's order.
    pub verbs: &'static [&'static str],
    /// (name, (group, version, kind), verbs).
    pub subresources: &'static [BuiltinSubresource],
    /// Definition.
    pub definition: &'static str,
}

type BuiltinSubresource = (&'static str, (&'static str, &'static str, &'static str), &'static [&'static str]);

/// Version that a resource served in several is stored in, where that is not its first in the table.
const STORAGE_VERSIONS: &[(&str, &str, &str)] = &[
    ("autoscaling", "horizontalpodautoscalers", "v2"),
    ("coordination.k8s.io", "leasecandidates", "v1beta1"),
    ("resource.k8s.io", "devicetaintrules", "v1beta2"),
];

/// Whether upstream serves a version without being told to: alpha and beta versions are off by default.
pub fn on_by_default(version: &str) -> bool {
    !version.contains("alpha") && !version.contains("beta")
}

/// Rows of the built-in resources, in upstream's order; `all`: also the versions that are off by default.
pub fn rows(all: bool) -> impl Iterator<Item = Arc<Resource>> {
    ROWS.iter().filter(move |row| all || on_by_default(row.version)).map(|row| Arc::new(resource(row)))
}

fn resource(row: &Builtin) -> Resource {
    let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let subresources = row.subresources.iter().map(|(name, (group, version, kind), verbs)| {
        let own = (*group, *version, *kind) == (row.group, row.version, row.kind);
        Subresource {
            name: (*name).to_owned(),
            kind: (!own).then(|| GroupVersionKind::new(*group, *version, *kind)),
            verbs: list(verbs),
        }
    });
    Resource {
        group: row.group.into(),
        version: row.version.into(),
        kind: row.kind.into(),
        plural: row.plural.into(),
        singular: row.singular.into(),
        short_names: list(row.short_names),
        categories: list(row.categories),
        scope: if row.namespaced { Scope::Namespaced } else { Scope::Cluster },
        verbs: list(row.verbs),
        subresources: subresources.collect(),
        storage_version: storage_version(row).into(),
        definition: row.definition.into(),
        rules: crate::rules::table::rules_for(row.group, row.kind),
    }
}

fn storage_version(row: &Builtin) -> &'static str {
    let named =
        STORAGE_VERSIONS.iter().find(|(group, plural, _)| *group == row.group && *plural == row.plural);
    let first = || ROWS.iter().find(|other| other.group == row.group && other.plural == row.plural);
    named
        .map(|(_, _, version)| *version)
        .or_else(|| first().map(|first| first.version))
        .unwrap_or(row.version)
}
