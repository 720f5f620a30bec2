//! What form of answer a client takes (k8s.io/apiserver/pkg/endpoints/handlers/negotiation).

use http::HeaderMap;
use http::header::{ACCEPT, USER_AGENT};
use model::{Reason, Status};
use resources::schema::protobuf::CONTENT_TYPE as PROTOBUF;

use super::query::Query;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// JSON.
    #[default]
    Json,
    /// Indented JSON.
    Pretty,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf: built-in kinds only.
    Protobuf,
}

impl Format {
    /// `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json | Format::Pretty => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => PROTOBUF,
        }
    }
}

/// What an answer is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The object itself.
    #[default]
    Plain,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`, or its list.
    Partial,
}

/// The chosen answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    /// Writing.
    pub format: Format,
    /// Transformation.
    pub shape: Shape,
}

const SERVED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// One alternative of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn ranges(header: &str) -> Vec<Range<'_>> {
    let mut ranges: Vec<Range<'_>> = header.split(',').filter_map(range).collect();
    ranges.sort_by(|left, right| right.quality.total_cmp(&left.quality));
    ranges
}

fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().filter(|kind| !kind.is_empty())?;
    let mut parameters = Vec::new();
    for part in parts {
        if let Some((name, value)) = part.split_once('=') {
            parameters.push((name.trim(), value.trim().trim_matches('"')));
        }
    }
    let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
    Some(Range { kind, parameters, quality: quality.unwrap_or(1.0) })
}

/// What may be made of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is written as it is.
    Plain,
    /// Also as a table or partial metadata.
    Shapes,
    /// The same of a custom resource, which only partial metadata have a protobuf message for.
    CustomShapes,
}

/// Chooses.
///
/// # Errors
/// 406 when nothing that is accepted can be served.
pub fn accept(headers: &HeaderMap, query: &Query, offer: Offer) -> Result<Accepted, Status> {
    let json = if pretty(headers, query) { Format::Pretty } else { Format::Json };
    let header = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if matches!(header, "" | "application/json" | "*/*") {
        return Ok(Accepted { format: json, shape: Shape::Plain });
    }
    for range in ranges(header) {
        let format = match range.kind {
            "application/json" | "application/*" | "*/*" => json,
            "application/yaml" => Format::Yaml,
            PROTOBUF => Format::Protobuf,
            _ => continue,
        };
        if let Some(shape) = shape(&range, format, offer) {
            return Ok(Accepted { format, shape });
        }
    }
    Err(not_acceptable(SERVED))
}

/// The shape a range asks for, if it can be made.
fn shape(range: &Range<'_>, format: Format, offer: Offer) -> Option<Shape> {
    let value = |name: &str| range.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
    let protobuf = format == Format::Protobuf;
    let Some(kind) = value("as") else {
        return (!protobuf || offer != Offer::CustomShapes).then_some(Shape::Plain);
    };
    let ours = offer != Offer::Plain
        && value("g") == Some("meta.k8s.io")
        && matches!(value("v"), Some("v1" | "v1beta1"));
    match kind {
        // Tables have no message.
        "Table" if ours && !protobuf => Some(Shape::Table),
        "PartialObjectMetadata" | "PartialObjectMetadataList" if ours => Some(Shape::Partial),
        _ => None,
    }
}

/// 406.
pub fn not_acceptable(served: &str) -> Status {
    let text = format!("only the following media types are accepted: {served}");
    Status::new(406, Reason::NotAcceptable, text)
}

/// Whether JSON is indented: asked for, or the client is for human eyes.
fn pretty(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(text) = query.get("pretty").filter(|text| !text.is_empty()) {
        return matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|prefix| agent.starts_with(prefix))
}

/// How a body is written, from its `Content-Type`. `custom`: it is of a custom resource, which has no messages.
///
/// # Errors
/// 415 for what cannot be read.
pub fn body_format(headers: &HeaderMap, custom: bool) -> Result<resources::schema::Format, Status> {
    let header =
        headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match header.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "text/plain" | "application/x-www-form-urlencoded" => {
            Ok(resources::schema::Format::Json)
        }
        "application/yaml" => Ok(resources::schema::Format::Yaml),
        PROTOBUF if !custom => Ok(resources::schema::Format::Protobuf),
        _ => Err(unsupported_media(SERVED)),
    }
}

/// 415.
pub fn unsupported_media(served: &str) -> Status {
    let text =
        format!("the body of the request was in an unknown format - accepted media types include: {served}");
    Status::new(415, Reason::UnsupportedMediaType, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_choose_as_upstream_does() {
        type Chosen = Result<(Format, Shape), u16>;
        let table: &[(&str, Chosen)] = &[
            ("", Ok((Format::Json, Shape::Plain))),
            ("application/vnd.kubernetes.protobuf,application/json", Ok((Format::Protobuf, Shape::Plain))),
            (
                "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json",
                Ok((Format::Json, Shape::Plain)),
            ),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Ok((Format::Protobuf, Shape::Partial)),
            ),
            ("application/yaml", Ok((Format::Yaml, Shape::Plain))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Ok((Format::Json, Shape::Table)),
            ),
            (
                "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
                Ok((Format::Json, Shape::Partial)),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io", Err(406)),
            ("application/vnd.kubernetes.protobuf;stream=watch", Ok((Format::Protobuf, Shape::Plain))),
            ("application/cbor", Err(406)),
            ("text/html;q=0.9, */*;q=0.1", Ok((Format::Json, Shape::Plain))),
        ];
        for (header, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, header.parse().unwrap());
            let found = accept(&headers, &Query::default(), Offer::Shapes);
            let found = found.map(|found| (found.format, found.shape)).map_err(|status| status.code);
            assert_eq!(found, *expected, "{header}");
        }
    }

    #[test]
    fn custom_resources_have_no_messages() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/vnd.kubernetes.protobuf,application/json".parse().unwrap());
        let found = accept(&headers, &Query::default(), Offer::CustomShapes).unwrap();
        assert_eq!(found.format, Format::Json);
        headers.insert(ACCEPT, PROTOBUF.parse().unwrap());
        let refused = accept(&headers, &Query::default(), Offer::CustomShapes).unwrap_err();
        assert_eq!((refused.code, refused.message.contains(SERVED)), (406, true));
        headers.insert(http::header::CONTENT_TYPE, PROTOBUF.parse().unwrap());
        assert_eq!(body_format(&headers, true).unwrap_err().code, 415);
        assert_eq!(body_format(&headers, false).unwrap(), resources::schema::Format::Protobuf);
    }
}
