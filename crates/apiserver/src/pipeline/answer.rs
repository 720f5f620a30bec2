//! From what a handler answers to bytes: negotiated form, compression, headers.

use bytes::Bytes;
use client::{Body, full_body};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderValue, Response, StatusCode};
use model::Status;
use resources::schema::protobuf;
use serde_json::{Value, json};

use super::context::Context;
use super::negotiate::{Accepted, Format, Shape};
use crate::table;
use crate::verbs::list::Listed;

/// What a handler answers.
pub enum Answer {
    /// An object of the resource asked for, as wire bytes in the version asked for.
    Wire(u16, Bytes),
    /// Something else: a `Status`, a review, a `Scale`.
    Other(u16, Value),
    /// A list.
    List(Box<Listed>),
    /// Already made.
    Response(Response<Body>),
}

/// Answers from here on are compressed when the client takes it.
const GZIP_BYTES_MIN: usize = 128 << 10;

/// Makes the response.
///
/// # Errors
/// 406.
pub fn respond(context: &Context, answer: Answer) -> Result<Response<Body>, Status> {
    if let Answer::Response(response) = answer {
        return Ok(response);
    }
    let accepted = context.accepted()?;
    let (code, bytes) = match answer {
        Answer::Wire(code, wire) => (code, object_bytes(context, accepted, wire)?),
        Answer::Other(code, tree) => {
            // What is no object of the API is written as JSON, whatever is accepted.
            let object = tree.get("kind").is_some();
            let bare = accepted.format == Format::Protobuf && !object;
            let format = if bare { Format::Json } else { accepted.format };
            return Ok(finish(context, code, format, encode(format, &tree)?));
        }
        Answer::List(listed) => (200, listed.bytes(context, accepted)?),
        Answer::Response(response) => return Ok(response),
    };
    Ok(finish(context, code, accepted.format, bytes))
}

fn object_bytes(context: &Context, accepted: Accepted, wire: Bytes) -> Result<Bytes, Status> {
    if accepted == Accepted::default() {
        return Ok(wire);
    }
    let tree: Value = serde_json::from_slice(&wire).map_err(Status::internal)?;
    encode(accepted.format, &shaped(context, accepted, tree)?)
}

/// Writes an object.
///
/// # Errors
/// 406 for a kind that has no message in protobuf.
pub fn encode(format: Format, tree: &Value) -> Result<Bytes, Status> {
    if format != Format::Protobuf {
        return Ok(write(format, tree));
    }
    protobuf::tree(tree).map(Bytes::from).ok_or_else(|| {
        let kind = tree["kind"].as_str().unwrap_or_default();
        let text = format!(
            "object *v1.{kind} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf \
             message"
        );
        Status::new(406, model::Reason::NotAcceptable, text)
    })
}

fn shaped(context: &Context, accepted: Accepted, tree: Value) -> Result<Value, Status> {
    match accepted.shape {
        Shape::Plain => Ok(tree),
        Shape::Partial => Ok(partial(&tree)),
        Shape::Table => {
            let version = tree["metadata"]["resourceVersion"].clone();
            let metadata = json!({"resourceVersion": version});
            table::of(context, std::slice::from_ref(&tree), metadata, true)
        }
    }
}

/// `PartialObjectMetadata` of an object.
pub fn partial(tree: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": tree["metadata"]})
}

/// Writes a tree. What has no message is JSON in protobuf's place.
pub fn write(format: Format, tree: &Value) -> Bytes {
    let written = match format {
        Format::Protobuf => match protobuf::tree(tree) {
            Some(message) => message,
            None => return write(Format::Json, tree),
        },
        Format::Json => serde_json::to_vec(&Ordered(tree)).unwrap_or_default(),
        Format::Pretty => serde_json::to_vec_pretty(&Ordered(tree)).unwrap_or_default(),
        Format::Yaml => yaml(tree).into_bytes(),
    };
    written.into()
}

/// YAML as `sigs.k8s.io/yaml` writes it: keys sorted.
pub fn yaml(tree: &Value) -> String {
    serde_saphyr::to_string(tree).unwrap_or_default()
}

/// A top-level object with `kind`, `apiVersion` and `metadata` in front, as upstream's structs have them.
struct Ordered<'v>(&'v Value);

impl serde::Serialize for Ordered<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 3] = ["kind", "apiVersion", "metadata"];
        let Some(fields) = self.0.as_object() else { return self.0.serialize(serializer) };
        let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
        let rest = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
        serializer.collect_map(first.chain(rest))
    }
}

/// The response to an error.
pub fn failure(context: Option<&Context>, status: &Status) -> Response<Body> {
    let accepted = context.and_then(|context| context.accepted().ok()).unwrap_or_default();
    let format = accepted.format;
    let bytes = write(format, &status.to_value());
    let mut response = raw(status.code, format.content_type(), bytes);
    let retry_after_s = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry_after_s > 0 {
        response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    }
    response
}

/// A response of known bytes.
pub fn raw(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full_body(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn finish(context: &Context, code: u16, format: Format, bytes: Bytes) -> Response<Body> {
    if bytes.len() < GZIP_BYTES_MIN || context.method != http::Method::GET || !takes_gzip(context) {
        return raw(code, format.content_type(), bytes);
    }
    let mut response = raw(code, format.content_type(), gzip(&bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Whether the client takes compressed answers.
pub fn takes_gzip(context: &Context) -> bool {
    context.header(ACCEPT_ENCODING.as_str()).split(',').any(|part| part.trim() == "gzip")
}

/// Compresses.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
