//! The table of built-in resources: named groups from the discovery document, the core group from the paths of the
//! OpenAPI document (discovery of the core group is a document of its own) with its short names given here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Context;
use serde_json::Value;

use super::{strings, texts};

/// Short names of the core group.
const CORE_SHORT_NAMES: &[(&str, &str)] = &[
    ("componentstatuses", "cs"),
    ("configmaps", "cm"),
    ("endpoints", "ep"),
    ("events", "ev"),
    ("limitranges", "limits"),
    ("namespaces", "ns"),
    ("nodes", "no"),
    ("persistentvolumeclaims", "pvc"),
    ("persistentvolumes", "pv"),
    ("pods", "po"),
    ("replicationcontrollers", "rc"),
    ("resourcequotas", "quota"),
    ("serviceaccounts", "sa"),
    ("services", "svc"),
];

/// Core resources in category `all`.
const CORE_ALL: &[&str] = &["pods", "replicationcontrollers", "services"];

/// Core subresources that speak of a kind of another group.
const FOREIGN: &[(&str, (&str, &str, &str))] = &[
    ("pods/eviction", ("policy", "v1", "Eviction")),
    ("serviceaccounts/token", ("authentication.k8s.io", "v1", "TokenRequest")),
    ("replicationcontrollers/scale", ("autoscaling", "v1", "Scale")),
];

#[derive(Default)]
struct Row {
    group: String,
    version: String,
    kind: String,
    plural: String,
    singular: String,
    short: Vec<String>,
    categories: Vec<String>,
    namespaced: bool,
    verbs: Vec<String>,
    subresources: BTreeMap<String, (String, String, String, Vec<String>)>,
}

/// Writes the table.
pub fn render(swagger: &Value, discovery: &Value) -> anyhow::Result<String> {
    let mut rows = core(swagger)?;
    named(discovery, &mut rows);
    let definitions = kinds(swagger);
    let mut out = String::from(
        "//! Every built-in resource in every served version, in upstream's order of groups and versions.\n\n\
         use crate::registry::builtin::Builtin;\n\n/// Every built-in resource.\npub static ROWS: &[Builtin] = &[\n",
    );
    for row in &rows {
        let key = (row.group.clone(), row.version.clone(), row.kind.clone());
        let definition = definitions.get(&key).with_context(|| format!("no definition of {key:?}"))?;
        let subresources: Vec<String> = row
            .subresources
            .iter()
            .map(|(name, (group, version, kind, verbs))| {
                format!(
                    "({name:?},({group:?},{version:?},{kind:?}),{})",
                    strings(verbs.iter().map(String::as_str))
                )
            })
            .collect();
        let list = |list: &[String]| strings(list.iter().map(String::as_str));
        writeln!(
            out,
            "Builtin{{group:{:?},version:{:?},kind:{:?},plural:{:?},singular:{:?},short_names:{},categories:{},\
             namespaced:{},verbs:{},subresources:&[{}],definition:{definition:?}}},",
            row.group,
            row.version,
            row.kind,
            row.plural,
            row.singular,
            list(&row.short),
            list(&row.categories),
            row.namespaced,
            list(&row.verbs),
            subresources.join(","),
        )?;
    }
    out.push_str("];\n");
    Ok(out)
}

fn named(discovery: &Value, rows: &mut Vec<Row>) {
    for group in discovery["items"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            for resource in version["resources"].as_array().into_iter().flatten() {
                rows.push(named_row(group, version, resource));
            }
        }
    }
}

fn named_row(group: &Value, version: &Value, resource: &Value) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| texts(value).map(str::to_owned).collect::<Vec<_>>();
    let (group, version) = (text(&group["metadata"]["name"]), text(&version["version"]));
    let kind = text(&resource["responseKind"]["kind"]);
    let subresources = resource["subresources"].as_array().into_iter().flatten().map(|sub| {
        let answer = &sub["responseKind"];
        let own = answer["version"] == "";
        let (sub_group, sub_version) = if own {
            (group.clone(), version.clone())
        } else {
            (text(&answer["group"]), text(&answer["version"]))
        };
        (text(&sub["subresource"]), (sub_group, sub_version, text(&answer["kind"]), list(&sub["verbs"])))
    });
    Row {
        plural: text(&resource["resource"]),
        singular: text(&resource["singularResource"]),
        short: list(&resource["shortNames"]),
        categories: list(&resource["categories"]),
        namespaced: resource["scope"] == "Namespaced",
        verbs: list(&resource["verbs"]),
        subresources: subresources.collect(),
        group,
        version,
        kind,
    }
}

/// What a path of the core group serves.
#[derive(Default)]
struct Served {
    kind: String,
    namespaced: bool,
    verbs: BTreeSet<String>,
    subresources: BTreeMap<String, (String, BTreeSet<String>)>,
}

fn core(swagger: &Value) -> anyhow::Result<Vec<Row>> {
    let mut served: BTreeMap<String, Served> = BTreeMap::new();
    for (path, operations) in swagger["paths"].as_object().context("swagger has no paths")? {
        let Some(rest) =
            path.strip_prefix("/api/v1/").filter(|rest| !rest.is_empty() && !rest.starts_with("watch"))
        else {
            continue;
        };
        let in_namespace = rest.strip_prefix("namespaces/{namespace}/");
        let parts: Vec<&str> = in_namespace.unwrap_or(rest).split('/').collect();
        let row = served.entry(parts[0].to_owned()).or_default();
        row.namespaced |= in_namespace.is_some();
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let Some(action) = operation["x-kubernetes-action"].as_str() else { continue };
            let kind = operation["x-kubernetes-group-version-kind"]["kind"].as_str().unwrap_or_default();
            for verb in verbs(action, method) {
                if let Some(subresource) = parts.get(2) {
                    let entry = row.subresources.entry((*subresource).to_owned()).or_default();
                    entry.0 = kind.to_owned();
                    entry.1.insert((*verb).to_owned());
                } else {
                    row.kind = kind.to_owned();
                    row.verbs.insert((*verb).to_owned());
                    if *verb == "list" && parts[0] != "componentstatuses" {
                        row.verbs.insert("watch".to_owned());
                    }
                }
            }
        }
    }
    Ok(served.into_iter().map(|(plural, served)| core_row(plural, served)).collect())
}

fn core_row(plural: String, served: Served) -> Row {
    let short =
        CORE_SHORT_NAMES.iter().filter(|(name, _)| *name == plural).map(|(_, short)| (*short).to_owned());
    let all = CORE_ALL.contains(&plural.as_str()).then(|| "all".to_owned());
    let subresources = served.subresources.into_iter().map(|(name, (kind, verbs))| {
        let path = format!("{plural}/{name}");
        let (group, version, kind) = match FOREIGN.iter().find(|(foreign, _)| *foreign == path) {
            Some((_, (group, version, kind))) => (*group, *version, (*kind).to_owned()),
            None => ("", "v1", kind),
        };
        (name, (group.to_owned(), version.to_owned(), kind, verbs.into_iter().collect()))
    });
    Row {
        version: "v1".into(),
        singular: served.kind.to_lowercase(),
        short: short.collect(),
        categories: all.into_iter().collect(),
        namespaced: served.namespaced,
        verbs: served.verbs.into_iter().collect(),
        subresources: subresources.collect(),
        kind: served.kind,
        plural,
        ..Row::default()
    }
}

/// Discovery's verbs of an operation.
fn verbs(action: &str, method: &str) -> &'static [&'static str] {
    match (action, method) {
        ("post", _) | ("connect", "post") => &["create"],
        ("put", _) | ("connect", "put") => &["update"],
        ("get", _) | ("connect", "get") => &["get"],
        ("patch", _) | ("connect", "patch") => &["patch"],
        ("delete", _) | ("connect", "delete") => &["delete"],
        ("list", _) => &["list"],
        ("deletecollection", _) => &["deletecollection"],
        _ => &[],
    }
}

/// Definitions by group, version and kind (those that stand for one kind alone).
fn kinds(swagger: &Value) -> BTreeMap<(String, String, String), String> {
    let mut kinds = BTreeMap::new();
    for (name, definition) in swagger["definitions"].as_object().into_iter().flatten() {
        if let [kind] =
            definition["x-kubernetes-group-version-kind"].as_array().map_or(&[][..], Vec::as_slice)
        {
            let part = |name: &str| kind[name].as_str().unwrap_or_default().to_owned();
            kinds.insert((part("group"), part("version"), part("kind")), name.clone());
        }
    }
    kinds
}
