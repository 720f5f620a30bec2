//! Bodies of requests into objects, with upstream's answers to what cannot be read
//! (k8s.io/apiserver/pkg/endpoints/handlers, k8s.io/apimachinery/pkg/runtime/serializer/json).

use model::{GroupVersionKind, Status};
use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::Value;

use super::protobuf::{self, Unknown};
use super::strict::FieldValidation;
use super::table::{self, Definition};
use super::untyped::Untyped;
use super::{go_json, typed, yaml};

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

/// What a request's body must be.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// Kind to decode as; bodies without one get it.
    pub kind: &'a GroupVersionKind,
    /// Its schema; `None` for custom resources, which are pruned by their own schema later.
    pub definition: Option<&'static Definition>,
}

/// A body that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The object, normalised if a definition was given.
    pub object: Value,
    /// Strict errors (`unknown field "spec.a"`, `duplicate field "b"`) in upstream's order.
    pub strict: Vec<String>,
}

/// Reads a body: decoded, checked to be the expected kind, normalised. The error is upstream's 400.
pub fn decode(expected: &Expected<'_>, format: Format, body: &[u8]) -> Result<Decoded, Status> {
    let (read, meta) = match format {
        Format::Json => {
            let read = read_json(expected.definition, body);
            if let Ok(decoded) = &read
                && is_expected(&decoded.object, expected.kind)
            {
                return Ok(with_kind(read.unwrap_or_else(|_| unreachable!("just matched")), expected.kind));
            }
            (read, type_meta(body).map_err(|error| unrecognized(expected.kind, body, &error))?)
        }
        Format::Yaml => {
            let (tree, duplicates) =
                yaml::to_tree(body).map_err(|error| unrecognized(expected.kind, body, &error))?;
            let meta = type_meta(tree.to_string().as_bytes())
                .map_err(|error| unrecognized(expected.kind, body, &error))?;
            let mut read = read_tree(expected.definition, tree);
            if let Ok(decoded) = &mut read {
                decoded.strict.splice(0..0, duplicates);
            }
            (read, meta)
        }
        Format::Protobuf => {
            let unknown = Unknown::parse(body).map_err(|error| unrecognized(expected.kind, body, &error))?;
            (read_message(expected.definition, &unknown), (unknown.api_version, unknown.kind))
        }
    };
    let kind = check_kind(&meta, expected)?;
    read.map(|decoded| with_kind(decoded, expected.kind))
        .map_err(|error| unhandled(&kind, expected.kind, &error))
}

impl Decoded {
    /// Judges strict errors: warnings, or upstream's 400.
    pub fn judge(&self, validation: FieldValidation, kind: &GroupVersionKind) -> Result<Vec<String>, Status> {
        validation.judge(&self.strict).map_err(|error| unhandled(kind, kind, &error))
    }
}

/// Reads JSON of unknown kind, noting duplicate keys; the error is Go's.
pub fn from_json(body: &[u8]) -> Result<Decoded, String> {
    read_json(None, body)
}

/// Reads YAML of unknown kind, noting duplicate keys; the error is Go's.
pub fn from_yaml(body: &[u8]) -> Result<Decoded, String> {
    let (object, duplicates) = yaml::to_tree(body)?;
    Ok(Decoded { object, strict: duplicates.into_iter().collect() })
}

/// `apiVersion` and `kind` of a JSON text, empty where absent; the error is upstream's.
pub fn type_meta(body: &[u8]) -> Result<(String, String), String> {
    #[derive(Deserialize)]
    struct Meta {
        #[serde(rename = "apiVersion", default)]
        api_version: Value,
        #[serde(default)]
        kind: Value,
    }
    let failed = |text: String| format!("couldn't get version/kind; json parse error: {text}");
    if let Some(error) = go_json::syntax_error(body) {
        return Err(failed(error));
    }
    let value = |what: &str| {
        failed(format!(
            "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        ))
    };
    let meta: Meta = match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => match last_wins(body) {
            Ok(tree) => serde_json::from_value(tree).map_err(|error| failed(error.to_string()))?,
            Err(error) => return Err(failed(error)),
        },
        Some(b'[') => return Err(value("array")),
        Some(b'"') => return Err(value("string")),
        Some(b't' | b'f') => return Err(value("bool")),
        Some(b'n') => return Ok((String::new(), String::new())),
        _ => return Err(value("number")),
    };
    let text = |value: Value, name: &str| match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        other => {
            let what = json_type(&other);
            Err(failed(format!("json: cannot unmarshal {what} into Go struct field .{name} of type string")))
        }
    };
    Ok((text(meta.api_version, "apiVersion")?, text(meta.kind, "kind")?))
}

fn last_wins(body: &[u8]) -> Result<Value, String> {
    from_json(body).map(|decoded| decoded.object)
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn read_json(definition: Option<&'static Definition>, body: &[u8]) -> Result<Decoded, String> {
    let mut context = typed::Context::new();
    let mut source = serde_json::Deserializer::from_slice(body);
    let read = match definition {
        Some(definition) => typed::root(definition, &mut context, &mut source),
        None => Untyped { context: &mut context, tracked: true }.deserialize(&mut source).map(Some),
    };
    let read = read.and_then(|value| source.end().map(|()| value)).map_err(|error| {
        if error.is_data() {
            error.to_string()
        } else {
            go_json::syntax_error(body).unwrap_or(error.to_string())
        }
    });
    let object = context.finish(read)?;
    Ok(Decoded { object, strict: context.strict })
}

fn read_message(definition: Option<&'static Definition>, unknown: &Unknown<'_>) -> Result<Decoded, String> {
    let definition = definition.ok_or("object does not implement the protobuf marshalling interface")?;
    read_tree(Some(definition), protobuf::message(definition, unknown.raw)?)
}

fn read_tree(definition: Option<&'static Definition>, mut object: Value) -> Result<Decoded, String> {
    let strict = match definition {
        Some(definition) => super::normalise(definition, &mut object)?,
        None => Vec::new(),
    };
    Ok(Decoded { object, strict })
}

fn is_expected(object: &Value, kind: &GroupVersionKind) -> bool {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let own = |text: &str, expected: &str| text.is_empty() || text == expected;
    object.is_object() && own(text("kind"), &kind.kind) && own(text("apiVersion"), &kind.api_version())
}

fn with_kind(mut decoded: Decoded, kind: &GroupVersionKind) -> Decoded {
    if !decoded.object.is_object() {
        decoded.object = Value::Object(serde_json::Map::new());
    }
    decoded.object["kind"] = kind.kind.as_str().into();
    decoded.object["apiVersion"] = kind.api_version().into();
    decoded
}

/// The kind the body says it is (the expected one where it says nothing), checked to be what is wanted here.
fn check_kind(
    (api_version, kind): &(String, String),
    expected: &Expected<'_>,
) -> Result<GroupVersionKind, Status> {
    let wanted = expected.kind;
    let (group, version) = match api_version.as_str() {
        "" => (wanted.group.as_str(), wanted.version.as_str()),
        text => model::gvk::split_api_version(text),
    };
    let kind = if kind.is_empty() { wanted.kind.as_str() } else { kind };
    let said = GroupVersionKind::new(group, version, kind);
    if said == *wanted {
        return Ok(said);
    }
    let Some(wanted_definition) = expected.definition else {
        let why = format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            said.api_version(),
            wanted.api_version()
        );
        return Err(Status::bad_request(why));
    };
    let Some(definition) = definition_of(&said) else {
        let why = format!(
            "no kind \"{kind}\" is registered for version \"{}\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            said.api_version()
        );
        return Err(unhandled(&said, wanted, &why));
    };
    // Options and other shared types belong to every group and version.
    if std::ptr::eq(definition, wanted_definition) {
        return Ok(said);
    }
    let internal = internal_name(wanted_definition);
    if internal_name(definition) == internal {
        let why = format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            said.api_version(),
            wanted.api_version()
        );
        return Err(Status::bad_request(why));
    }
    let why = format!("converting ({}) to ({internal}): unknown conversion", definition.go_name);
    Err(unhandled(&said, wanted, &why))
}

/// The built-in definition of a kind (lists and options included).
pub fn definition_of(kind: &GroupVersionKind) -> Option<&'static Definition> {
    table::definitions().iter().find(|definition| {
        let is = |(group, version, name): &&(&str, &str, &str)| {
            *group == kind.group && *version == kind.version && *name == kind.kind
        };
        definition.kinds.iter().any(|own| is(&own))
    })
}

/// Upstream's internal type of a versioned one: `core.Pod` of `io.k8s.api.core.v1.Pod`.
fn internal_name(definition: &Definition) -> String {
    let parts: Vec<&str> = definition.name.rsplit('.').collect();
    match parts.as_slice() {
        [kind, _, "events", ..] => format!("core.{kind}"),
        [kind, _, package, ..] => format!("{package}.{kind}"),
        _ => definition.go_name.to_owned(),
    }
}

/// 400: the body's kind is known, but it cannot be read as what is wanted.
pub fn unhandled(kind: &GroupVersionKind, wanted: &GroupVersionKind, why: &str) -> Status {
    let version = &kind.version;
    Status::bad_request(format!(
        "{} in version {version:?} cannot be handled as a {}: {why}",
        kind.kind, wanted.kind
    ))
}

/// 400: the body is nothing at all.
fn unrecognized(wanted: &GroupVersionKind, body: &[u8], why: &str) -> Status {
    let text = format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        wanted.kind,
        summary(body)
    );
    Status::bad_request(text)
}

/// The beginning of a body, as upstream shows it.
fn summary(body: &[u8]) -> String {
    const SHOWN_MAX: usize = 30;
    let cut = &body[..body.len().min(SHOWN_MAX)];
    let dots = if body.len() > SHOWN_MAX { " ..." } else { "" };
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => format!("{}{dots}", String::from_utf8_lossy(cut)),
        Some(_) => {
            let hex: String = cut.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{dots}")
        }
    }
}
