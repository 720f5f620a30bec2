//! Paths and operations of a resource, with the parameters clients look for.

use model::GroupVersionKind;
use serde_json::{Map, Value, json};

use super::schemas::gvk;
use super::{Style, Used, definition_name};
use crate::row::{Resource, Subresource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// (name, type) of query parameters.
type Parameters = &'static [(&'static str, &'static str)];

const PRETTY: Parameters = &[("pretty", "string")];
const LIST: Parameters = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: Parameters = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const PATCH: Parameters =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: Parameters = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const DELETE_COLLECTION: Parameters = &[
    ("continue", "string"),
    ("dryRun", "string"),
    ("fieldSelector", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
];

/// What one verb looks like.
struct Operation {
    verb: &'static str,
    method: &'static str,
    action: &'static str,
    parameters: Parameters,
    body: Body,
    codes: &'static [u16],
}

#[derive(Clone, Copy, PartialEq)]
enum Body {
    None,
    Own,
    Patch,
    DeleteOptions,
}

const COLLECTION: &[Operation] = &[
    Operation {
        verb: "list",
        method: "get",
        action: "list",
        parameters: LIST,
        body: Body::None,
        codes: &[200],
    },
    Operation {
        verb: "create",
        method: "post",
        action: "post",
        parameters: WRITE,
        body: Body::Own,
        codes: &[200, 201, 202],
    },
    Operation {
        verb: "deletecollection",
        method: "delete",
        action: "deletecollection",
        parameters: DELETE_COLLECTION,
        body: Body::DeleteOptions,
        codes: &[200],
    },
];

const ITEM: &[Operation] = &[
    Operation { verb: "get", method: "get", action: "get", parameters: &[], body: Body::None, codes: &[200] },
    Operation {
        verb: "update",
        method: "put",
        action: "put",
        parameters: WRITE,
        body: Body::Own,
        codes: &[200, 201],
    },
    Operation {
        verb: "patch",
        method: "patch",
        action: "patch",
        parameters: PATCH,
        body: Body::Patch,
        codes: &[200, 201],
    },
    Operation {
        verb: "delete",
        method: "delete",
        action: "delete",
        parameters: DELETE,
        body: Body::DeleteOptions,
        codes: &[200, 202],
    },
];

const CREATE_BELOW: Operation = Operation {
    verb: "create",
    method: "post",
    action: "post",
    parameters: WRITE,
    body: Body::Own,
    codes: &[200, 201, 202],
};

/// Adds the paths of a resource.
pub fn add(paths: &mut Map<String, Value>, row: &Resource, style: Style, used: &mut Used) {
    let prefix = match row.group.as_str() {
        "" => format!("/api/{}", row.version),
        group => format!("/apis/{group}/{}", row.version),
    };
    let base = if row.namespaced() {
        format!("{prefix}/namespaces/{{namespace}}/{}", row.plural)
    } else {
        format!("{prefix}/{}", row.plural)
    };
    let kind = row.group_version_kind();
    let maker = |scope| Maker { row, style, scope, kind: kind.clone(), subresource: "" };
    if row.namespaced() && row.allows("list") {
        let item = maker("ForAllNamespaces").item(&COLLECTION[..1], &[], used);
        insert(paths, format!("{prefix}/{}", row.plural), item);
    }
    let namespace: &[&str] = if row.namespaced() { &["namespace"] } else { &[] };
    let named: Vec<&str> = ["name"].into_iter().chain(namespace.iter().copied()).collect();
    insert(paths, base.clone(), maker("").item(COLLECTION, namespace, used));
    insert(paths, format!("{base}/{{name}}"), maker("").item(ITEM, &named, used));
    for subresource in &row.subresources {
        let item = subresource_item(row, subresource, style, &named, used);
        insert(paths, format!("{base}/{{name}}/{}", subresource.name), item);
    }
}

fn insert(paths: &mut Map<String, Value>, path: String, item: Option<Value>) {
    if let Some(item) = item {
        paths.insert(path, item);
    }
}

fn subresource_item(
    row: &Resource,
    subresource: &Subresource,
    style: Style,
    path_parameters: &[&str],
    used: &mut Used,
) -> Option<Value> {
    let kind = subresource.kind.clone().unwrap_or_else(|| row.group_version_kind());
    let connect = kind.kind.ends_with("Options");
    let maker = Maker { row, style, scope: "", kind, subresource: &subresource.name };
    let allowed = |operation: &&Operation| subresource.verbs.iter().any(|verb| verb == operation.verb);
    let mut item = Map::new();
    for operation in ITEM.iter().chain([&CREATE_BELOW]).filter(allowed) {
        item.insert(operation.method.into(), maker.operation(operation, connect, used));
    }
    maker.finish(item, path_parameters)
}

/// Makes the operations of one path.
struct Maker<'a> {
    row: &'a Resource,
    style: Style,
    scope: &'static str,
    kind: GroupVersionKind,
    subresource: &'a str,
}

impl Maker<'_> {
    fn item(&self, operations: &[Operation], path_parameters: &[&str], used: &mut Used) -> Option<Value> {
        let mut item = Map::new();
        for operation in operations.iter().filter(|operation| self.row.allows(operation.verb)) {
            item.insert(operation.method.into(), self.operation(operation, false, used));
        }
        self.finish(item, path_parameters)
    }

    fn finish(&self, mut item: Map<String, Value>, path_parameters: &[&str]) -> Option<Value> {
        if item.is_empty() {
            return None;
        }
        let mut parameters: Vec<Value> =
            path_parameters.iter().map(|name| self.parameter("path", name, "string")).collect();
        parameters.extend(PRETTY.iter().map(|(name, kind)| self.parameter("query", name, kind)));
        item.insert("parameters".into(), parameters.into());
        Some(Value::Object(item))
    }

    fn parameter(&self, place: &str, name: &str, kind: &str) -> Value {
        let mut parameter = json!({"name": name, "in": place});
        if place == "path" {
            parameter["required"] = true.into();
        }
        match self.style {
            Style::V2 => {
                parameter["type"] = kind.into();
                parameter["uniqueItems"] = true.into();
            }
            Style::V3 => parameter["schema"] = json!({"type": kind, "uniqueItems": true}),
        }
        parameter
    }

    fn operation(&self, operation: &Operation, connect: bool, used: &mut Used) -> Value {
        let mut parameters: Vec<Value> = Vec::new();
        let body = if connect { Body::None } else { operation.body };
        let own = self.definition(used);
        let body_schema = match body {
            Body::None => None,
            Body::Own => Some(own.clone()),
            Body::Patch => Some(used.reference(self.style, &format!("{META}Patch"))),
            Body::DeleteOptions => Some(used.reference(self.style, &format!("{META}DeleteOptions"))),
        };
        let required = matches!(body, Body::Own | Body::Patch);
        let mut out = Map::new();
        if let (Some(schema), Style::V2) = (&body_schema, self.style) {
            let mut parameter = json!({"in": "body", "name": "body", "schema": schema});
            if required {
                parameter["required"] = true.into();
            }
            parameters.push(parameter);
        }
        if !connect {
            parameters
                .extend(operation.parameters.iter().map(|(name, kind)| self.parameter("query", name, kind)));
        }
        let answer = match operation.verb {
            "list" => self.list(used),
            "deletecollection" => used.reference(self.style, &format!("{META}Status")),
            _ if connect => json!({"type": "string"}),
            "delete" if !self.returns_itself() => used.reference(self.style, &format!("{META}Status")),
            _ => own,
        };
        out.insert("operationId".into(), self.operation_id(operation.verb, connect).into());
        out.insert("tags".into(), json!([self.tag()]));
        if !parameters.is_empty() {
            out.insert("parameters".into(), parameters.into());
        }
        let action = if connect { "connect" } else { operation.action };
        out.insert("x-kubernetes-action".into(), action.into());
        out.insert(
            "x-kubernetes-group-version-kind".into(),
            gvk(&self.kind.group, &self.kind.version, &self.kind.kind),
        );
        self.contents(&mut out, operation, body, body_schema, answer);
        Value::Object(out)
    }

    /// Media types, body (v3) and responses.
    fn contents(
        &self,
        out: &mut Map<String, Value>,
        operation: &Operation,
        body: Body,
        schema: Option<Value>,
        answer: Value,
    ) {
        let produces = match operation.verb {
            "list" => vec![
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ],
            _ => vec!["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"],
        };
        let patches = [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ];
        let consumes = if body == Body::Patch { patches.to_vec() } else { vec!["*/*"] };
        let mut responses = Map::new();
        for code in operation.codes {
            let words = match code {
                200 => "OK",
                201 => "Created",
                _ => "Accepted",
            };
            let response = match self.style {
                Style::V2 => json!({"description": words, "schema": answer}),
                Style::V3 => json!({"description": words, "content": content(&produces, &answer)}),
            };
            responses.insert(code.to_string(), response);
        }
        responses.insert("401".into(), json!({"description": "Unauthorized"}));
        out.insert("responses".into(), responses.into());
        match self.style {
            Style::V2 => {
                out.insert("consumes".into(), json!(consumes));
                out.insert("produces".into(), json!(produces));
                out.insert("schemes".into(), json!(["https"]));
            }
            Style::V3 => {
                if let Some(schema) = schema {
                    let mut request = json!({"content": content(&consumes, &schema)});
                    if matches!(body, Body::Own | Body::Patch) {
                        request["required"] = true.into();
                    }
                    out.insert("requestBody".into(), request);
                }
            }
        }
    }

    /// Kinds whose deletion answers with the object.
    fn returns_itself(&self) -> bool {
        const KINDS: &[&str] = &[
            "pods",
            "services",
            "serviceaccounts",
            "persistentvolumes",
            "persistentvolumeclaims",
            "podtemplates",
            "resourcequotas",
        ];
        self.row.group.is_empty() && KINDS.contains(&self.row.plural.as_str())
    }

    fn definition(&self, used: &mut Used) -> Value {
        if self.kind == self.row.group_version_kind() {
            return used.reference(self.style, &definition_name(self.row));
        }
        match crate::schema::decode::definition_of(&self.kind) {
            Some(definition) => used.reference(self.style, definition.name),
            None => json!({"type": "object"}),
        }
    }

    fn list(&self, used: &mut Used) -> Value {
        used.reference(self.style, &format!("{}List", definition_name(self.row)))
    }

    /// `core_v1`, `apps_v1`, `rbacAuthorization_v1`.
    fn tag(&self) -> String {
        let mut tag = group_words(&self.row.group);
        if let Some(first) = tag.get(..1) {
            tag = format!("{}{}", first.to_lowercase(), &tag[1..]);
        }
        format!("{tag}_{}", self.row.version)
    }

    /// `listCoreV1NamespacedPod`, `replaceAppsV1NamespacedDeploymentScale`.
    fn operation_id(&self, verb: &str, connect: bool) -> String {
        let verb = match verb {
            "get" if connect => "connectGet",
            "create" if connect => "connectPost",
            "update" if connect => "connectPut",
            "patch" if connect => "connectPatch",
            "delete" if connect => "connectDelete",
            "get" => "read",
            "update" => "replace",
            other => other,
        };
        let (verb, collection) = match verb {
            "deletecollection" => ("delete", "Collection"),
            other => (other, ""),
        };
        let group = group_words(&self.row.group);
        let version = capital(&self.row.version);
        let namespaced = if self.row.namespaced() && self.scope.is_empty() { "Namespaced" } else { "" };
        let below = capital(self.subresource);
        format!("{verb}{group}{version}{collection}{namespaced}{}{below}{}", self.row.kind, self.scope)
    }
}

fn content(types: &[&str], schema: &Value) -> Value {
    types.iter().map(|kind| ((*kind).to_owned(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
}

/// `apps` → `Apps`, `rbac.authorization.k8s.io` → `RbacAuthorization`, core → `Core`.
fn group_words(group: &str) -> String {
    match group {
        "" => "Core".into(),
        group => group.trim_end_matches(".k8s.io").split('.').map(capital).collect(),
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|letter| letter.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
