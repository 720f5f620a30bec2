//! Names of resources as the server tells them: discovery in its aggregated form, or piece by piece from older servers.

use std::sync::Arc;

use futures::future::join_all;
use http::Method;
use model::tree::TreeExt;
use serde_json::Value;

use crate::api::Api;
use crate::failure::{Failure, message};

/// A served resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// API group; empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural name.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Whether the version is the group's preferred one.
    pub preferred: bool,
}

impl Mapping {
    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        model::gvk::api_version(&self.group, &self.version)
    }

    /// `pods`, `deployments.apps`.
    pub fn resource(&self) -> String {
        with_group(&self.plural, &self.group)
    }

    /// `pod`, `deployment.apps`: what stands in front of `/name`.
    pub fn kind_name(&self) -> String {
        with_group(&self.kind.to_lowercase(), &self.group)
    }

    /// The collection's path; `None` spans namespaces.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let namespace = namespace.filter(|_| self.namespaced);
        client::Path::collection(&self.group, &self.version, &self.plural, namespace).as_str().to_owned()
    }

    /// An object's path.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), client::options::encode_component(name))
    }

    /// Whether objects can be had by a verb.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }

    /// The schema of a built-in kind.
    pub fn definition(&self) -> Option<&'static resources::schema::Definition> {
        let kind = model::GroupVersionKind::new(&*self.group, &*self.version, &*self.kind);
        let row = resources::registry().by_kind(&kind)?;
        resources::schema::definition(&row.definition)
    }
}

fn with_group(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Every served resource, core first, in the server's order.
#[derive(Debug, Clone, Default)]
pub struct Mapper {
    /// Resources.
    pub all: Vec<Arc<Mapping>>,
}

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

impl Mapper {
    /// Asks the server.
    pub async fn discover(api: &Api<'_>) -> Result<Self, Failure> {
        let ask = |path: &'static str| api.call(Method::GET, path, AGGREGATED, None);
        let (core, groups) = futures::try_join!(ask("/api"), ask("/apis"))?;
        let mut all = Vec::new();
        for answer in [core, groups] {
            if answer.kind() == "APIGroupDiscoveryList" {
                aggregated(&answer, &mut all);
            } else {
                one_by_one(api, &answer, &mut all).await?;
            }
        }
        Ok(Self { all: all.into_iter().map(Arc::new).collect() })
    }

    fn preferred(&self) -> impl Iterator<Item = &Arc<Mapping>> {
        self.all.iter().filter(|mapping| mapping.preferred)
    }

    /// The resource that a user means: plural, singular, short name or kind, with version and group if wanted.
    pub fn find(&self, name: &str) -> Result<Arc<Mapping>, Failure> {
        let lower = name.to_lowercase();
        let (first, rest) =
            lower.split_once('.').map_or((lower.as_str(), None), |(first, rest)| (first, Some(rest)));
        let exact = |mapping: &&Arc<Mapping>| mapping.plural == first || mapping.singular == first;
        let short = |mapping: &&Arc<Mapping>| mapping.short_names.iter().any(|short| short == first);
        let kind = |mapping: &&Arc<Mapping>| mapping.kind.to_lowercase() == first;
        let found = match rest {
            None => self
                .preferred()
                .find(exact)
                .or_else(|| self.preferred().find(short))
                .or_else(|| self.preferred().find(kind)),
            Some(rest) => {
                let (version, group) = rest.split_once('.').unwrap_or((rest, ""));
                let named = |mapping: &&Arc<Mapping>| exact(mapping) || short(mapping) || kind(mapping);
                let versioned =
                    |mapping: &&Arc<Mapping>| mapping.version == version && mapping.group == group;
                let grouped =
                    |mapping: &&Arc<Mapping>| !mapping.group.is_empty() && mapping.group.starts_with(rest);
                self.all
                    .iter()
                    .find(|mapping| named(mapping) && versioned(mapping))
                    .or_else(|| self.preferred().find(|mapping| named(mapping) && mapping.group == rest))
                    .or_else(|| self.preferred().find(|mapping| named(mapping) && grouped(mapping)))
            }
        };
        // Only the resource is named, without version and group, as upstream's mapper gives it back.
        let typed = name.split('.').next().unwrap_or(name);
        found.cloned().ok_or_else(|| message(format!("the server doesn't have a resource type {typed:?}")))
    }

    /// The resource of an object's `apiVersion` and `kind`.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Mapping>> {
        let named = |mapping: &&Arc<Mapping>| mapping.kind == kind && mapping.api_version() == api_version;
        self.all.iter().find(named).cloned()
    }

    /// Resources of a category (`all`), in the server's order; empty if there is none.
    pub fn category(&self, name: &str) -> Vec<Arc<Mapping>> {
        let own = |mapping: &&Arc<Mapping>| mapping.categories.iter().any(|category| category == name);
        self.preferred().filter(own).cloned().collect()
    }
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    value.items(&[key]).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn aggregated(list: &Value, all: &mut Vec<Mapping>) {
    for group in list.items(&["items"]) {
        let mut seen: Vec<String> = Vec::new();
        for version in group.items(&["versions"]) {
            let first = all.len();
            for resource in version.items(&["resources"]) {
                let plural = resource.text(&["resource"]).to_owned();
                let kind = &resource["responseKind"];
                // A resource is preferred in the first version that serves it.
                let preferred = !seen.contains(&plural);
                all.push(Mapping {
                    group: group.name().to_owned(),
                    version: version.text(&["version"]).to_owned(),
                    kind: kind.text(&["kind"]).to_owned(),
                    singular: resource.text(&["singularResource"]).to_owned(),
                    short_names: strings(resource, "shortNames"),
                    categories: strings(resource, "categories"),
                    namespaced: resource.text(&["scope"]) == "Namespaced",
                    verbs: strings(resource, "verbs"),
                    preferred,
                    plural,
                });
            }
            seen.extend(all[first..].iter().map(|mapping| mapping.plural.clone()));
        }
    }
}

async fn one_by_one(api: &Api<'_>, answer: &Value, all: &mut Vec<Mapping>) -> Result<(), Failure> {
    let mut versions: Vec<String> = answer
        .items(&["versions"])
        .iter()
        .filter_map(Value::as_str)
        .map(|version| format!("/api/{version}"))
        .collect();
    for group in answer.items(&["groups"]) {
        let own = group
            .items(&["versions"])
            .iter()
            .map(|version| format!("/apis/{}", version.text(&["groupVersion"])));
        versions.extend(own);
    }
    let lists = join_all(versions.iter().map(|path| api.get(path))).await;
    for list in lists {
        legacy(&list?, all);
    }
    Ok(())
}

fn legacy(list: &Value, all: &mut Vec<Mapping>) {
    let group_version = list.text(&["groupVersion"]);
    let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
    for resource in list.items(&["resources"]) {
        let plural = resource.text(&["name"]);
        if plural.contains('/') {
            continue;
        }
        let known = all.iter().any(|mapping| mapping.group == group && mapping.plural == plural);
        let kind = resource.text(&["kind"]).to_owned();
        let singular = Some(resource.text(&["singularName"]).to_owned()).filter(|name| !name.is_empty());
        all.push(Mapping {
            group: group.to_owned(),
            version: version.to_owned(),
            singular: singular.unwrap_or_else(|| kind.to_lowercase()),
            kind,
            plural: plural.to_owned(),
            short_names: strings(resource, "shortNames"),
            categories: strings(resource, "categories"),
            namespaced: resource["namespaced"] == true,
            verbs: strings(resource, "verbs"),
            preferred: !known,
        });
    }
}
