//! Which resources there are: the built-in ones, to which rows of custom resources are added as they come and go.

pub mod builtin;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use model::{GroupResource, GroupVersionKind};

use crate::row::Resource;

/// A set of rows with its lookups. Cheap to clone: rows are shared.
#[derive(Clone, Default)]
pub struct Registry {
    /// Rows in upstream's order of groups and versions; custom ones after the built-in ones.
    rows: Vec<Arc<Resource>>,
    by_path: HashMap<String, usize>,
    by_kind: HashMap<GroupVersionKind, usize>,
}

/// A served API group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name; empty for the core group.
    pub name: String,
    /// Versions, the preferred one first.
    pub versions: Vec<String>,
}

/// The built-in resources in the versions that upstream serves by default. Made once.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::of(builtin::rows(false)))
}

impl Registry {
    /// The built-in resources in every version there is, alpha and beta included.
    pub fn every_version() -> Self {
        Self::of(builtin::rows(true))
    }

    /// A registry of these rows.
    pub fn of(rows: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut registry = Self::default();
        for row in rows {
            registry.insert(row);
        }
        registry
    }

    /// Adds a row, or replaces the one of the same group, version and plural name.
    pub fn insert(&mut self, row: Arc<Resource>) {
        let path = path_key(&row.group, &row.version, &row.plural);
        if let Some(at) = self.by_path.get(&path).copied() {
            let old = std::mem::replace(&mut self.rows[at], row.clone());
            self.by_kind.remove(&old.group_version_kind());
            self.by_kind.insert(row.group_version_kind(), at);
            return;
        }
        let at = self.rows.len();
        self.by_path.insert(path, at);
        // Kinds are unique within a group and version; were they not, the first stays.
        self.by_kind.entry(row.group_version_kind()).or_insert(at);
        self.rows.push(row);
    }

    /// Takes away every version of a resource.
    pub fn remove(&mut self, resource: &GroupResource) {
        let kept = std::mem::take(&mut self.rows).into_iter().filter(|row| row.group_resource() != *resource);
        *self = Self::of(kept.collect::<Vec<_>>());
    }

    /// The row of a path: group (empty for core), version and plural name.
    pub fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.by_path.get(&path_key(group, version, plural)).map(|at| &self.rows[*at])
    }

    /// The row of a kind.
    pub fn by_kind(&self, kind: &GroupVersionKind) -> Option<&Arc<Resource>> {
        self.by_kind.get(kind).map(|at| &self.rows[*at])
    }

    /// Rows in upstream's order.
    pub fn rows(&self) -> &[Arc<Resource>] {
        &self.rows
    }

    /// Rows of a group and version, sorted by plural name as in discovery.
    pub fn group_version<'a>(&'a self, group: &'a str, version: &'a str) -> Vec<&'a Arc<Resource>> {
        let own = |row: &&Arc<Resource>| row.group == group && row.version == version;
        let mut rows: Vec<_> = self.rows.iter().filter(own).collect();
        rows.sort_by(|a, b| a.plural.cmp(&b.plural));
        rows
    }

    /// Every served version of a resource.
    pub fn versions(&self, resource: &GroupResource) -> Vec<&Arc<Resource>> {
        self.rows
            .iter()
            .filter(|row| row.group == resource.group && row.plural == resource.resource)
            .collect()
    }

    /// The row of a resource in its preferred version.
    pub fn preferred(&self, resource: &GroupResource) -> Option<&Arc<Resource>> {
        self.versions(resource).into_iter().min_by_key(|row| self.version_rank(&row.group, &row.version))
    }

    fn version_rank(&self, group: &str, version: &str) -> usize {
        let groups = self.groups();
        let found = groups.iter().find(|own| own.name == group);
        found.and_then(|own| own.versions.iter().position(|own| own == version)).unwrap_or(usize::MAX)
    }

    /// Groups in upstream's order, custom ones by name after the built-in ones.
    pub fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut custom: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &self.rows {
            if !is_builtin_group(&row.group) {
                let versions = custom.entry(row.group.clone()).or_default();
                if !versions.contains(&row.version) {
                    versions.push(row.version.clone());
                }
                continue;
            }
            match groups.iter_mut().find(|group| group.name == row.group) {
                Some(group) if group.versions.contains(&row.version) => {}
                Some(group) => group.versions.push(row.version.clone()),
                None => groups.push(Group { name: row.group.clone(), versions: vec![row.version.clone()] }),
            }
        }
        groups.extend(custom.into_iter().map(|(name, mut versions)| {
            versions.sort_by(|a, b| version_order(a, b));
            Group { name, versions }
        }));
        groups
    }

    /// The resource whose stored objects a row shows: its own, but core's for events of `events.k8s.io`.
    pub fn storage_resource(&self, row: &Resource) -> GroupResource {
        match (row.group.as_str(), row.plural.as_str()) {
            ("events.k8s.io", "events") => GroupResource::new("", "events"),
            _ => row.group_resource(),
        }
    }

    /// The row in whose version objects of a row are stored.
    pub fn storage_row(&self, row: &Arc<Resource>) -> Arc<Resource> {
        let resource = self.storage_resource(row);
        let version = if resource.group == row.group { row.storage_version.as_str() } else { "v1" };
        self.by_path(&resource.group, version, &resource.resource).unwrap_or(row).clone()
    }

    /// Finds a resource by any name a user may give: plural, singular, short name, kind; alone, with group, or with
    /// version and group (`deployments.v1.apps`). Core and earlier groups win, as in kubectl.
    pub fn by_any_name(&self, name: &str) -> Option<&Arc<Resource>> {
        let lower = name.to_lowercase();
        let (first, rest) =
            lower.split_once('.').map_or((lower.as_str(), None), |(first, rest)| (first, Some(rest)));
        let named = |row: &&Arc<Resource>| {
            let group = match rest {
                None => true,
                Some(rest) => {
                    let with_version = format!("{}.{}", row.version, row.group);
                    // An unfinished group (`deploy.app`) is good enough for kubectl.
                    with_version.trim_end_matches('.') == rest
                        || (!row.group.is_empty() && row.group.starts_with(rest))
                }
            };
            group
                && (row.plural == first
                    || row.singular == first
                    || row.short_names.iter().any(|short| short == first)
                    || row.kind.to_lowercase() == first)
        };
        let exact = |row: &&Arc<Resource>| row.plural == first || row.singular == first;
        let mut matches = self.rows.iter().filter(named).collect::<Vec<_>>();
        matches.sort_by_key(|row| !exact(row));
        matches.into_iter().next()
    }

    /// Rows of a category (`all`), in upstream's order.
    pub fn category<'a>(&'a self, category: &'a str) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.rows.iter().filter(move |row| row.categories.iter().any(|own| own == category))
    }
}

fn path_key(group: &str, version: &str, plural: &str) -> String {
    format!("{group}/{version}/{plural}")
}

fn is_builtin_group(group: &str) -> bool {
    crate::generated::rows::ROWS.iter().any(|row| row.group == group)
}

/// Kubernetes' order of versions: stable before beta before alpha, higher before lower, the rest by name
/// (k8s.io/apimachinery/pkg/version `CompareKubeAwareVersionStrings`).
pub fn version_order(a: &str, b: &str) -> std::cmp::Ordering {
    match (parse_version(a), parse_version(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// (stability, major, minor) of `v1`, `v2beta1`.
fn parse_version(text: &str) -> Option<(u8, u32, u32)> {
    let rest = text.strip_prefix('v')?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    for (word, stability) in [("alpha", 0), ("beta", 1)] {
        if let Some((major, minor)) = rest.split_once(word) {
            return Some((stability, number(major)?, number(minor)?));
        }
    }
    Some((2, number(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique_and_have_definitions() {
        let registry = Registry::every_version();
        assert_eq!(registry.by_path.len(), registry.rows.len());
        assert_eq!(registry.by_kind.len(), registry.rows.len());
        for row in registry.rows() {
            assert!(crate::schema::definition(&row.definition).is_some(), "{row:?}");
            assert!(!registry.versions(&row.group_resource()).is_empty());
            let storage = registry.storage_row(row);
            assert_eq!(registry.storage_row(&storage).version, storage.version, "{row:?}");
        }
    }

    #[test]
    fn lookups_find_what_upstream_serves() {
        let registry = registry();
        let pods = registry.by_path("", "v1", "pods").unwrap();
        assert_eq!((pods.kind.as_str(), pods.namespaced()), ("Pod", true));
        assert!(pods.subresource("exec").is_some_and(|exec| exec.verbs == ["create", "get"]));
        let autoscalers = GroupResource::new("autoscaling", "horizontalpodautoscalers");
        assert_eq!(registry.preferred(&autoscalers).unwrap().version, "v2");
        assert_eq!(registry.versions(&autoscalers).len(), 2);
        assert!(registry.by_path("storage.k8s.io", "v1beta1", "volumeattributesclasses").is_none());
        for (name, want) in [
            ("po", "pods"),
            ("Deployment", "deployments"),
            ("deploy.apps", "deployments"),
            ("deployments.v1.apps", "deployments"),
            ("hpa", "horizontalpodautoscalers"),
            ("ev", "events"),
            ("crds", "customresourcedefinitions"),
        ] {
            assert_eq!(registry.by_any_name(name).map(|row| row.plural.as_str()), Some(want), "{name}");
        }
        assert!(registry.by_any_name("ev").unwrap().group.is_empty());
        assert!(registry.by_any_name("nothing").is_none());
    }

    #[test]
    fn versions_sort_as_upstream_does() {
        let mut versions = vec!["foo1", "v1alpha1", "v1", "v10", "v2beta1", "v2", "v1beta2", "foo10"];
        versions.sort_by(|a, b| version_order(a, b));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo1", "foo10"]);
    }
}
