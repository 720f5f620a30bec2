//! Collections: selected, paged, and pinned to a revision.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use model::{Cause, Status};
use resources::schema::protobuf;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::get;
use super::select::{Selection, parse_revision};
use crate::objects::{ResourceCache, Stored, object_key, store_failed};
use crate::pipeline::answer::{Answer, partial, write};
use crate::pipeline::context::Context;
use crate::pipeline::negotiate::{Accepted, Format, Shape};
use crate::routes::Served;
use crate::table;

/// A page of a collection.
pub struct Listed {
    /// Objects in key order.
    pub entries: Vec<Arc<Stored>>,
    /// What they show.
    pub revision: u64,
    /// Where the next page begins; empty at the end.
    pub continue_token: String,
    /// How many follow, where known.
    pub remaining: Option<u64>,
}

/// A continue token, in upstream's form.
#[derive(Debug, Serialize, Deserialize)]
struct Token {
    #[serde(rename = "v")]
    version: String,
    #[serde(rename = "rv")]
    revision: i64,
    #[serde(rename = "start")]
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";

/// Lists.
///
/// # Errors
/// 400 for contradicting parameters, 410 for revisions that are gone.
pub async fn list(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let cache = context.cache().await?;
    let selection = Selection::of(context, served)?;
    Ok(Answer::List(Box::new(page(context, served, &cache, &selection).await?)))
}

/// Where a list starts and what it shows.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// The present.
    Now,
    /// The present, but not before a revision.
    NotOlderThan(u64),
    /// Exactly a revision.
    Exact(u64),
    /// After a key, at a revision (negative: the present).
    Continue(String, i64),
}

/// Reads one page.
///
/// # Errors
/// As [`list`].
pub async fn page(
    context: &Context,
    served: &Served,
    cache: &Arc<ResourceCache>,
    selection: &Selection,
) -> Result<Listed, Status> {
    if context.query.get("sendInitialEvents").is_some() {
        return Err(invalid_options(
            "sendInitialEvents",
            "Forbidden: sendInitialEvents is forbidden for list",
        ));
    }
    let limit = usize::try_from(context.query.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let prefix = served.prefix_in(context.namespace());
    let (start_after, at) = match start(context)? {
        Start::Now => (None, None),
        Start::NotOlderThan(revision) => {
            get::wait_for(cache, revision).await?;
            (None, None)
        }
        Start::Exact(revision) => (None, Some(revision)),
        Start::Continue(key, revision) => (Some(format!("{prefix}{key}")), u64::try_from(revision).ok()),
    };
    if let (Some(name), None) = (&selection.name, &start_after)
        && at.is_none()
        && (!served.row.namespaced() || !context.namespace().is_empty())
    {
        return Ok(single(context, served, cache, selection, name));
    }
    let after = start_after.as_deref();
    let unfiltered = selection.is_everything();
    let taken = if unfiltered { limit } else { 0 };
    let mut read = match at {
        None => cache.range(&prefix, after, taken),
        Some(at) => cache
            .range_at(&prefix, after, taken, at)
            .await
            .map_err(|error| too_old(&error, after.is_some()))?,
    };
    if let Some(bad) = read.undecodable.first() {
        return Err(Status::internal(format!(
            "stored object {} cannot be decoded: {}",
            bad.key, bad.message
        )));
    }
    let mut remaining = (read.more && unfiltered).then_some(read.remaining);
    if !unfiltered {
        let selected = read.entries.iter().filter(|entry| selection.matches(served, entry));
        let wanted = if limit == 0 { usize::MAX } else { limit.saturating_add(1) };
        let mut selected: Vec<_> = selected.take(wanted).cloned().collect();
        read.more = limit > 0 && selected.len() > limit;
        selected.truncate(if limit == 0 { usize::MAX } else { limit });
        read.entries = selected;
        remaining = None;
    }
    let continue_token = match read.entries.last() {
        Some(last) if read.more => token(&last.key[prefix.len()..], read.revision),
        _ => String::new(),
    };
    Ok(Listed { entries: read.entries, revision: read.revision, continue_token, remaining })
}

/// A list that can hold one object only.
fn single(
    context: &Context,
    served: &Served,
    cache: &ResourceCache,
    selection: &Selection,
    name: &str,
) -> Listed {
    let revision = cache.current_revision();
    let entry = cache.get(&object_key(&served.prefix, context.namespace(), name));
    let entries = entry.into_iter().filter(|entry| selection.matches(served, entry)).collect();
    Listed { entries, revision, continue_token: String::new(), remaining: None }
}

fn start(context: &Context) -> Result<Start, Status> {
    let query = &context.query;
    let (version, matching) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    let token = query.text("continue");
    if !matching.is_empty() {
        if !token.is_empty() {
            return Err(invalid_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if version.is_empty() {
            return Err(invalid_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            let text =
                format!("Unsupported value: {matching:?}: supported values: \"Exact\", \"NotOlderThan\"");
            return Err(invalid_options("resourceVersionMatch", &text));
        }
        if matching == "Exact" && version == "0" {
            return Err(invalid_options(
                "resourceVersionMatch",
                "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if !token.is_empty() {
        if !version.is_empty() && version != "0" {
            let text = "specifying resource version is not allowed when using continue";
            return Err(Status::bad_request(text));
        }
        return read_token(token);
    }
    match (version, matching) {
        ("" | "0", _) => Ok(Start::Now),
        (version, "Exact") => parse_revision(version).map(Start::Exact),
        // Without a match, a page of a limited list is exact too; the rest is "at least".
        (version, "") if query.number("limit")?.unwrap_or(0) > 0 => parse_revision(version).map(Start::Exact),
        (version, _) => parse_revision(version).map(Start::NotOlderThan),
    }
}

fn invalid_options(field: &str, message: &str) -> Status {
    let reason =
        if message.starts_with("Forbidden") { "FieldValueForbidden" } else { "FieldValueNotSupported" };
    let cause = Cause { reason: reason.into(), message: message.into(), field: field.into() };
    Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause])
}

fn read_token(text: &str) -> Result<Start, Status> {
    let broken = |why: String| Status::bad_request(format!("continue key is not valid: {why}"));
    let bytes =
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| broken(error.to_string()))?;
    let token: Token = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    if token.version != TOKEN_VERSION {
        return Err(broken(format!("server does not recognize this encoded version {:?}", token.version)));
    }
    if token.revision == 0 {
        return Err(broken("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".into()));
    }
    // Upstream's tokens name the key after the last one.
    let start = token.start.trim_end_matches('\0').to_owned();
    if start.split('/').any(|part| part == "..") {
        return Err(broken(format!("{:?}", token.start)));
    }
    Ok(Start::Continue(start, token.revision))
}

fn token(last: &str, revision: u64) -> String {
    let revision = i64::try_from(revision).unwrap_or(i64::MAX);
    let token = Token { version: TOKEN_VERSION.into(), revision, start: format!("{last}\0") };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
}

fn too_old(error: &store::Error, continued: bool) -> Status {
    match error {
        store::Error::Compacted { .. } if continued => Status::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new \
             list without the continue parameter.",
        ),
        store::Error::Future { requested, current } => {
            let text = format!("Timeout: Too large resource version: {requested}, current: {current}");
            Status::new(504, model::Reason::Timeout, text)
        }
        other => store_failed(other),
    }
}

impl Listed {
    /// The list in the form the client takes.
    ///
    /// # Errors
    /// 406.
    pub fn bytes(&self, context: &Context, accepted: Accepted) -> Result<Bytes, Status> {
        let served = context.served()?;
        if accepted == Accepted::default() && served.is_storage_version() {
            return Ok(self.joined(served));
        }
        if accepted.format == Format::Protobuf {
            return Ok(self.messages(served, accepted.shape));
        }
        let trees = || self.entries.iter().map(|entry| get::tree(served, &entry.object));
        let tree = match accepted.shape {
            Shape::Table => {
                let trees: Vec<Value> = trees().collect();
                table::of(context, &trees, Value::Object(self.metadata()), true)?
            }
            Shape::Partial => {
                let items: Vec<Value> = trees().map(|tree| partial(&tree)).collect();
                json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                    "metadata": self.metadata(), "items": items})
            }
            Shape::Plain => self.tree(served, trees()),
        };
        Ok(write(accepted.format, &tree))
    }

    /// The list in protobuf, one object's tree at a time.
    fn messages(&self, served: &Served, shape: Shape) -> Bytes {
        let metadata = Value::Object(self.metadata());
        let (api_version, kind, definition) = match (shape, served.definition) {
            (Shape::Plain, Some(definition)) => {
                (served.api_version.as_str(), format!("{}List", served.kind.kind), definition)
            }
            _ => ("meta.k8s.io/v1", "PartialObjectMetadataList".to_owned(), protobuf::partial()),
        };
        let mut list = protobuf::Collection::new(api_version, &kind, &metadata);
        for entry in &self.entries {
            list.push(definition, &get::tree(served, &entry.object));
        }
        list.finish().into()
    }

    /// The list as a tree.
    fn tree(&self, served: &Served, trees: impl Iterator<Item = Value>) -> Value {
        let bare = |mut tree: Value| {
            if let Some(fields) = tree.as_object_mut().filter(|_| served.definition.is_some()) {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            tree
        };
        let items: Vec<Value> = trees.map(bare).collect();
        json!({"kind": format!("{}List", served.kind.kind), "apiVersion": served.api_version,
            "metadata": self.metadata(), "items": items})
    }

    fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        if !self.continue_token.is_empty() {
            metadata.insert("continue".into(), self.continue_token.clone().into());
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        metadata
    }

    /// Plain JSON: the objects' own bytes, one after the other.
    fn joined(&self, served: &Served) -> Bytes {
        let size: usize = self.entries.iter().map(|entry| entry.object.wire.len() + 1).sum();
        let mut bytes = Vec::with_capacity(size + served.list_head.len() + self.continue_token.len() + 96);
        bytes.extend_from_slice(served.list_head.as_bytes());
        bytes.extend_from_slice(b"\"resourceVersion\":\"");
        bytes.extend_from_slice(self.revision.to_string().as_bytes());
        bytes.push(b'"');
        if !self.continue_token.is_empty() {
            bytes.extend_from_slice(b",\"continue\":\"");
            bytes.extend_from_slice(self.continue_token.as_bytes());
            bytes.push(b'"');
        }
        if let Some(remaining) = self.remaining {
            bytes.extend_from_slice(b",\"remainingItemCount\":");
            bytes.extend_from_slice(remaining.to_string().as_bytes());
        }
        bytes.extend_from_slice(b"},\"items\":[");
        // Built-in types leave kind and version out of list items, custom resources do not.
        let bare = served.definition.is_some();
        for (index, entry) in self.entries.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            if bare {
                bytes.push(b'{');
                bytes.extend_from_slice(entry.object.item());
            } else {
                bytes.extend_from_slice(&entry.object.wire);
            }
        }
        bytes.extend_from_slice(b"]}");
        bytes.into()
    }
}
