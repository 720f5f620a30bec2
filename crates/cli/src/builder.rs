//! Which objects a command line means: types, names, selectors, files; and fetching them.

use std::sync::Arc;

use client::options::{encode_component, query};
use http::Method;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::api::{Api, JSON};
use crate::command::Invocation;
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::manifest::{self, Document, Files, Look, diagnose};
use crate::mapping::{Mapper, Mapping};

/// What is said where neither arguments nor files name anything.
pub const NOTHING_NAMED: &str = "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'";

/// An object, or with no name a collection.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its resource.
    pub mapping: Arc<Mapping>,
    /// Its namespace; empty for cluster resources.
    pub namespace: String,
    /// Its name; `None`: all that the selectors choose.
    pub name: Option<String>,
    /// As a file has it.
    pub object: Option<Value>,
    /// The file.
    pub source: String,
    /// Where in the file it stands.
    pub origin: Option<Arc<manifest::Origin>>,
}

impl Target {
    /// `pod/x`, `deployment.apps/x`.
    pub fn display(&self) -> String {
        format!("{}/{}", self.mapping.kind_name(), self.name.as_deref().unwrap_or_default())
    }

    /// Its path.
    pub fn path(&self) -> String {
        match &self.name {
            Some(name) => self.mapping.path(&self.namespace, name),
            None => self
                .mapping
                .collection(Some(&self.namespace).filter(|own| !own.is_empty()).map(String::as_str)),
        }
    }
}

/// What narrows the choice.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Namespace.
    pub namespace: String,
    /// It came from a flag: files must agree.
    pub explicit: bool,
    /// `-A`.
    pub all_namespaces: bool,
    /// `-l`.
    pub selector: String,
    /// `--field-selector`.
    pub field_selector: String,
    /// Types without names mean all objects.
    pub all: bool,
    /// All objects were asked for by name of the flag, so that none may be named.
    pub everything: bool,
    /// Objects per answer.
    pub chunk: u64,
}

impl Choice {
    /// Reads the flags that the command has.
    pub fn of(invocation: &Invocation<'_>) -> Result<Self, Failure> {
        let values = &invocation.values;
        let (namespace, explicit) = invocation.namespace()?;
        let all_namespaces = values.on("all-namespaces");
        Ok(Self {
            namespace,
            explicit: explicit && !all_namespaces,
            all_namespaces,
            selector: values.text("selector").to_owned(),
            field_selector: values.text("field-selector").to_owned(),
            all: values.on("all"),
            everything: false,
            chunk: u64::try_from(values.integer("chunk-size")).unwrap_or(0),
        })
    }

    fn selects(&self) -> bool {
        !self.selector.is_empty() || !self.field_selector.is_empty()
    }

    /// The namespace of a target of this resource; empty if it spans them or has none.
    fn namespace_of(&self, mapping: &Mapping) -> String {
        if mapping.namespaced && !self.all_namespaces { self.namespace.clone() } else { String::new() }
    }
}

/// The documents of files as targets.
pub fn from_documents(
    context: &Context,
    mapper: &Mapper,
    choice: &Choice,
    documents: Vec<Result<Document, Failure>>,
) -> Vec<Result<Target, Failure>> {
    let target = |document| from_document(context, mapper, choice, document);
    documents.into_iter().map(|document| document.and_then(target)).collect()
}

fn from_document(
    context: &Context,
    mapper: &Mapper,
    choice: &Choice,
    document: Document,
) -> Result<Target, Failure> {
    let Document { mut object, source, origin } = document;
    let (api_version, kind) = (object.api_version().to_owned(), object.kind().to_owned());
    let Some(mapping) = mapper.of_kind(&api_version, &kind) else {
        let failure = message(format!(
            "resource mapping not found for name: {:?} namespace: {:?} from {source:?}: no matches for kind {kind:?} in version {api_version:?}\nensure CRDs are installed first",
            object.name(),
            object.namespace(),
        ));
        let hint = || diagnose::shape::kind(&origin, mapper, &object);
        return Err(if context.is_kubectl() { failure } else { failure.taught(hint()) });
    };
    let own = object.namespace().to_owned();
    if mapping.namespaced {
        if own.is_empty() {
            object.set(&["metadata", "namespace"], choice.namespace.clone());
        } else if choice.explicit && own != choice.namespace {
            return Err(message(format!(
                "the namespace from the provided object {own:?} does not match the namespace {:?}. You must pass '--namespace={own}' to perform this operation.",
                choice.namespace
            )));
        }
    }
    let namespace = if mapping.namespaced { object.namespace().to_owned() } else { String::new() };
    let name = Some(object.name().to_owned()).filter(|name| !name.is_empty());
    Ok(Target { mapping, namespace, name, object: Some(object), source, origin: Some(origin) })
}

/// Whether an object's labels fit `-l`.
fn is_selected(choice: &Choice, target: &Target) -> bool {
    if choice.selector.is_empty() {
        return true;
    }
    let labels = target.object.as_ref().and_then(|object| object.at(&["metadata", "labels"]));
    let selector = model::selector::LabelSelector::parse(&choice.selector);
    selector.is_ok_and(|selector| selector.matches(labels))
}

/// Targets of files, those that `-l` does not choose left out.
pub fn chosen_from_files(
    invocation: &Invocation<'_>,
    mapper: &Mapper,
    choice: &Choice,
    files: &Files,
) -> Result<Vec<Result<Target, Failure>>, Failure> {
    let mut targets = from_files(invocation, mapper, choice, files)?;
    targets.retain(|target| target.as_ref().map_or(true, |target| is_selected(choice, target)));
    Ok(targets)
}

/// Targets of files.
pub fn from_files(
    invocation: &Invocation<'_>,
    mapper: &Mapper,
    choice: &Choice,
    files: &Files,
) -> Result<Vec<Result<Target, Failure>>, Failure> {
    let mut targets = Vec::new();
    // Only commands that send objects validate them.
    let look = match invocation.values.text("validate") {
        "" | "false" | "ignore" => Look::Decoded,
        _ => Look::Validated,
    };
    for source in manifest::read(invocation.context, files)? {
        let documents = manifest::documents(invocation.context, &source, look);
        targets.extend(from_documents(invocation.context, mapper, choice, documents));
    }
    Ok(targets)
}

/// Targets of `TYPE[,TYPE] [NAME …]` or `TYPE/NAME …`.
pub fn from_arguments(
    mapper: &Mapper,
    choice: &Choice,
    arguments: &[String],
) -> Result<Vec<Target>, Failure> {
    let slashed = arguments.iter().filter(|argument| argument.contains('/')).count();
    if slashed > 0 {
        return from_pairs(mapper, choice, arguments, slashed);
    }
    let Some((types, names)) = arguments.split_first() else { return Ok(Vec::new()) };
    let mappings = mappings(mapper, types)?;
    if names.is_empty() {
        if !choice.all && !choice.selects() {
            return Err(message("resource(s) were provided, but no name was specified"));
        }
        let target = |mapping: Arc<Mapping>| Target {
            namespace: choice.namespace_of(&mapping),
            mapping,
            name: None,
            object: None,
            source: String::new(),
            origin: None,
        };
        return Ok(mappings.into_iter().map(target).collect());
    }
    if choice.selects() || choice.everything {
        return Err(message("name cannot be provided when a selector is specified"));
    }
    let [mapping] = mappings.as_slice() else {
        if names.iter().any(|name| !name.is_empty()) && mappings.len() > 1 {
            return Ok(crossed(choice, &mappings, names));
        }
        return Err(message("you must specify only one resource"));
    };
    by_name(choice, mapping, names)
}

fn crossed(choice: &Choice, mappings: &[Arc<Mapping>], names: &[String]) -> Vec<Target> {
    mappings.iter().flat_map(|mapping| by_name(choice, mapping, names).unwrap_or_default()).collect()
}

fn by_name(choice: &Choice, mapping: &Arc<Mapping>, names: &[String]) -> Result<Vec<Target>, Failure> {
    if choice.all_namespaces && mapping.namespaced {
        return Err(message("a resource cannot be retrieved by name across all namespaces"));
    }
    let mut targets = Vec::new();
    for name in names {
        targets.push(Target {
            mapping: mapping.clone(),
            namespace: choice.namespace_of(mapping),
            name: Some(name.clone()),
            object: None,
            source: String::new(),
            origin: None,
        });
    }
    Ok(targets)
}

fn from_pairs(
    mapper: &Mapper,
    choice: &Choice,
    arguments: &[String],
    slashed: usize,
) -> Result<Vec<Target>, Failure> {
    if slashed != arguments.len() {
        return Err(message(
            "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get resource resource/<resource_name>'",
        ));
    }
    if choice.selects() || choice.everything {
        return Err(message("name cannot be provided when a selector is specified"));
    }
    let mut targets = Vec::new();
    for argument in arguments {
        let parts: Vec<&str> = argument.split('/').collect();
        let [kind, name] = parts.as_slice() else {
            return Err(message("arguments in resource/name form may not have more than one slash"));
        };
        if kind.is_empty() || name.is_empty() || kind.contains(',') {
            return Err(message("arguments in resource/name form must have a single resource and name"));
        }
        let mapping = mapper.find(kind)?;
        targets.extend(by_name(choice, &mapping, &[(*name).to_owned()])?);
    }
    Ok(targets)
}

/// Resources of a list of types, categories unfolded.
pub fn mappings(mapper: &Mapper, types: &str) -> Result<Vec<Arc<Mapping>>, Failure> {
    let mut found: Vec<Arc<Mapping>> = Vec::new();
    for name in types.split(',') {
        let category = mapper.category(name);
        let own = if category.is_empty() { vec![mapper.find(name)?] } else { category };
        for mapping in own {
            if !found.contains(&mapping) {
                found.push(mapping);
            }
        }
    }
    Ok(found)
}

/// Fetches one target: an object, a list, or a table of either.
pub async fn fetch(
    api: &Api<'_>,
    choice: &Choice,
    target: &Target,
    accept: &str,
    include_object: bool,
) -> Result<Value, Failure> {
    let include = (include_object && accept != JSON).then(|| "Object".to_owned());
    if target.name.is_some() {
        let path = with_query(&target.path(), &query(&[("includeObject", include)]));
        return api.call(Method::GET, &path, accept, None).await;
    }
    let mut whole: Option<Value> = None;
    let mut token: Option<String> = None;
    loop {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let parameters = query(&[
            ("includeObject", include.clone()),
            ("labelSelector", text(&choice.selector)),
            ("fieldSelector", text(&choice.field_selector)),
            ("limit", (choice.chunk > 0).then(|| choice.chunk.to_string())),
            ("continue", token.clone()),
        ]);
        let page = api.call(Method::GET, &with_query(&target.path(), &parameters), accept, None).await;
        let page = page.map_err(|failure| unselectable(choice, target, failure))?;
        token = text(page.text(&["metadata", "continue"]));
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => append(whole, page),
        }
        if token.is_none() {
            return Ok(whole.unwrap_or_default());
        }
    }
}

/// A list that the server refuses is told with its selectors.
fn unselectable(choice: &Choice, target: &Target, failure: Failure) -> Failure {
    use model::Reason::{BadRequest, NotFound};
    match failure {
        Failure::Server(mut status) if choice.selects() && (status.is(BadRequest) || status.is(NotFound)) => {
            let Mapping { group, version, plural, .. } = &*target.mapping;
            status.message = format!(
                "Unable to find \"{group}/{version}, Resource={plural}\" that match label selector {:?}, field selector {:?}: {}",
                choice.selector, choice.field_selector, status.message
            );
            Failure::Server(status)
        }
        other => other,
    }
}

fn append(whole: &mut Value, mut page: Value) {
    for key in ["items", "rows"] {
        if let Some(more) = page.get_mut(key).and_then(Value::as_array_mut)
            && let Some(list) = whole.get_mut(key).and_then(Value::as_array_mut)
        {
            list.append(more);
        }
    }
    whole["metadata"]["resourceVersion"] = page["metadata"]["resourceVersion"].take();
}

/// A path with a query, where there is one.
pub fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The objects of an answer: a list's items, each with its kind, or the object itself.
pub fn items(answer: &Value) -> Vec<Value> {
    let Some(list) = answer.get("items").and_then(Value::as_array) else { return vec![answer.clone()] };
    let kind = answer.kind().strip_suffix("List").unwrap_or_default();
    let api_version = answer.api_version();
    let whole = |item: &Value| {
        let mut item = item.clone();
        if item.kind().is_empty() && !kind.is_empty() {
            item["kind"] = json!(kind);
            item["apiVersion"] = json!(api_version);
        }
        item
    };
    list.iter().map(whole).collect()
}

/// Targets of arguments and files, objects fetched; every failure is kept.
pub async fn objects(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    mapper: &Mapper,
    choice: &Choice,
) -> Result<Vec<Result<Target, Failure>>, Failure> {
    let files = Files::of(&invocation.values).unwrap_or_default();
    let mut found = Vec::new();
    let targets: Vec<Result<Target, Failure>> = if files.is_empty() {
        from_arguments(mapper, choice, invocation.arguments())?.into_iter().map(Ok).collect()
    } else {
        from_files(invocation, mapper, choice, &files)?
    };
    for target in targets {
        let target = match target {
            Ok(target) => target,
            Err(failure) => {
                found.push(Err(failure));
                continue;
            }
        };
        match fetch(api, choice, &target, JSON, false).await {
            Ok(answer) => found.extend(items(&answer).into_iter().map(|object| {
                Ok(Target {
                    namespace: object.namespace().to_owned(),
                    name: Some(object.name().to_owned()),
                    object: Some(object),
                    ..target.clone()
                })
            })),
            Err(failure) => found.push(Err(failure)),
        }
    }
    Ok(found)
}

/// `?labelSelector=…` and the like, as text.
pub fn selector_query(selector: &str) -> String {
    if selector.is_empty() { String::new() } else { format!("labelSelector={}", encode_component(selector)) }
}

/// Several outcomes as one.
pub fn gather(mut failures: Vec<Failure>) -> Result<(), Failure> {
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        _ => Err(Failure::Many(failures)),
    }
}
