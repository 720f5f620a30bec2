//! Discovery and OpenAPI: which groups, versions and resources there are, in the legacy and the aggregated form, and
//! what they look like. Documents are made on demand; small ones are kept until the table changes.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use model::Status;
use parking_lot::Mutex;
use resources::Registry;
use resources::discovery::{self as documents, Aggregated};
use resources::openapi;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::pipeline::answer::{self, Answer, raw, write};
use crate::pipeline::context::Context;
use crate::pipeline::negotiate::{self, Accepted, Format, Offer, not_acceptable};

/// Documents up to this size are kept.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Names of the v2 document's message that clients ask by.
const OPENAPI_V2: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
/// The name it is sent under.
const OPENAPI_V2_SENT: &str = OPENAPI_V2[1];
/// OpenAPI documents from here on are compressed.
const GZIP_BYTES_MIN: usize = 1400;

/// A document that was made: its hash and its bytes.
type Document = (String, Bytes);

/// Documents of a table, by path.
#[derive(Default)]
pub struct Documents {
    made: Mutex<(usize, HashMap<String, Document>)>,
}

impl Documents {
    /// The document of a path, made if it is not kept.
    fn get(
        &self,
        registry: &Arc<Registry>,
        path: &str,
        make: impl FnOnce() -> Option<Value>,
    ) -> Option<Document> {
        let table = Arc::as_ptr(registry) as usize;
        {
            let mut made = self.made.lock();
            if made.0 != table {
                *made = (table, HashMap::new());
            }
            if let Some(document) = made.1.get(path) {
                return Some(document.clone());
            }
        }
        let bytes = write(Format::Json, &make()?);
        let document = (hash(&bytes), bytes);
        if document.1.len() <= KEPT_BYTES_MAX {
            let mut made = self.made.lock();
            if made.0 == table {
                made.1.insert(path.to_owned(), document.clone());
            }
        }
        Some(document)
    }
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Answers `/`, `/api…`, `/apis…`, `/openapi…`.
///
/// # Errors
/// 404 for groups and versions that are not served, 406.
pub fn dispatch(context: &Arc<Context>, parts: &[&str]) -> Result<Answer, Status> {
    let routes = context.server.objects().routes();
    let registry = &routes.registry;
    if let (["api"] | ["apis"], Some(version)) = (parts, aggregated_version(context)) {
        return aggregated(context, registry, parts == ["api"], version);
    }
    if let ["openapi", rest @ ..] = parts {
        return open_api(context, registry, rest);
    }
    let make = || match parts {
        ["api"] => Some(documents::api_versions(&context.server.options.advertise)),
        ["apis"] => Some(documents::group_list(registry)),
        ["apis", group] => documents::group(registry, group),
        ["api", version] => documents::resource_list(registry, "", version),
        ["apis", group, version] => documents::resource_list(registry, group, version),
        [] | [""] => Some(index(registry)),
        _ => None,
    };
    if context.accepted()? == Accepted::default() {
        let document = context.server.documents.get(registry, &parts.join("/"), make);
        let (_, bytes) = document.ok_or_else(Status::no_such_resource)?;
        return Ok(Answer::Response(raw(200, "application/json", bytes)));
    }
    make().map(|value| Answer::Other(200, value)).ok_or_else(Status::no_such_resource)
}

/// The aggregated form a client asks for before any other.
fn aggregated_version(context: &Context) -> Option<Aggregated> {
    for range in context.header("accept").split(',') {
        let has = |text: &str| range.split(';').any(|part| part.trim() == text);
        if !range.trim_start().starts_with("application/json") || !has("g=apidiscovery.k8s.io") {
            if range.trim() == "application/json" || range.trim() == "*/*" {
                return None;
            }
            continue;
        }
        match (has("v=v2"), has("v=v2beta1")) {
            (true, _) => return Some(Aggregated::V2),
            (_, true) => return Some(Aggregated::V2Beta1),
            _ => {}
        }
    }
    None
}

fn aggregated(
    context: &Context,
    registry: &Arc<Registry>,
    core: bool,
    version: Aggregated,
) -> Result<Answer, Status> {
    let (name, content_type) = match version {
        Aggregated::V2 => ("v2", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        Aggregated::V2Beta1 => {
            ("v2beta1", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList")
        }
    };
    let path = format!("aggregated/{name}/{core}");
    let make = || Some(documents::aggregated(registry, core, version));
    let document =
        context.server.documents.get(registry, &path, make).ok_or_else(Status::no_such_resource)?;
    Ok(tagged(context, document, content_type, false))
}

/// A document with its `ETag`, or 304; compressed if `gzip` and the client takes it.
fn tagged(context: &Context, (hash, bytes): Document, content_type: &'static str, gzip: bool) -> Answer {
    let tag = format!("\"{hash}\"");
    let known = context.header(IF_NONE_MATCH.as_str()).split(',').any(|own| own.trim() == tag);
    let pack = gzip && !known && bytes.len() >= GZIP_BYTES_MIN && answer::takes_gzip(context);
    let (code, bytes) = match (known, pack) {
        (true, _) => (304, Bytes::new()),
        (false, true) => (200, answer::gzip(&bytes).into()),
        (false, false) => (200, bytes),
    };
    let mut response = raw(code, content_type, bytes);
    let headers = response.headers_mut();
    if pack {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.append(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    Answer::Response(response)
}

fn open_api(context: &Context, registry: &Arc<Registry>, parts: &[&str]) -> Result<Answer, Status> {
    let protobuf = parts == ["v2"] && prefers_protobuf(context.header("accept"));
    if !protobuf {
        negotiate::accept(&context.headers, &context.query, Offer::Plain)
            .map_err(|_| not_acceptable("application/json"))?;
    }
    let kept = &context.server.documents;
    let version = &context.server.options.version.git_version;
    let custom = openapi::no_custom;
    let document = match parts {
        ["v2"] if protobuf => {
            let bytes = openapi::protobuf::encode_v2(&openapi::document_v2(registry, &custom, version));
            let document = (hash(&bytes), bytes.into());
            return Ok(tagged(context, document, OPENAPI_V2_SENT, true));
        }
        ["v2"] => kept.get(registry, "openapi/v2", || Some(openapi::document_v2(registry, &custom, version))),
        ["v3"] => kept.get(registry, "openapi/v3", || Some(openapi::index(registry, &custom))),
        ["v3", rest @ ..] => {
            let (group, own) = match rest {
                ["api", version] => ("", *version),
                ["apis", group, version] => (*group, *version),
                _ => return Err(Status::no_such_resource()),
            };
            if let Some(answer) = redirected(context, registry, &rest.join("/")) {
                return Ok(answer);
            }
            let make = || openapi::document_v3(registry, group, own, &custom, version);
            kept.get(registry, &format!("openapi/v3/{}", rest.join("/")), make)
        }
        _ => None,
    };
    let document = document.ok_or_else(Status::no_such_resource)?;
    Ok(tagged(context, document, "application/json", true))
}

/// Whether an `Accept` header names the v2 document's message before JSON.
fn prefers_protobuf(header: &str) -> bool {
    let mut kinds = header.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    let first = kinds.find(|kind| OPENAPI_V2.contains(kind) || ["application/json", "*/*"].contains(kind));
    first.is_some_and(|kind| OPENAPI_V2.contains(&kind))
}

/// A document asked for by an outdated `?hash=`: where the present one is.
fn redirected(context: &Context, registry: &Arc<Registry>, path: &str) -> Option<Answer> {
    let asked = context.query.get("hash").filter(|hash| !hash.is_empty())?;
    let make = || Some(openapi::index(registry, &openapi::no_custom));
    let (_, bytes) = context.server.documents.get(registry, "openapi/v3", make)?;
    let index: Value = serde_json::from_slice(&bytes).ok()?;
    let url = index["paths"][path]["serverRelativeURL"].as_str()?;
    if url.ends_with(&format!("hash={asked}")) {
        return None;
    }
    let mut response = raw(301, "text/html; charset=utf-8", Bytes::new());
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(url).ok()?);
    Some(Answer::Response(response))
}

/// `/`: the paths there are.
fn index(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into(), "/apis/".into()];
    for group in registry.groups().iter().filter(|group| !group.name.is_empty()) {
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
    }
    let others = [
        "/.well-known/openid-configuration",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ];
    paths.extend(others.map(Into::into));
    paths.sort();
    json!({"paths": paths})
}
