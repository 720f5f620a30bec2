//! The v2 document in protobuf (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, messages of gnostic's
//! `OpenAPIv2.proto`): kubectl before 1.27 reads no other form.

use serde_json::{Map, Value};

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u64, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str).filter(|text| !text.is_empty()) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u64, value: Option<&Value>) {
        for text in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn flag(&mut self, number: u64, value: Option<&Value>) {
        if value == Some(&Value::Bool(true)) {
            self.varint(number << 3);
            self.varint(1);
        }
    }

    fn whole(&mut self, number: u64, value: Option<&Value>) {
        if let Some(whole) = value.and_then(Value::as_u64).filter(|whole| *whole != 0) {
            self.varint(number << 3);
            self.varint(whole);
        }
    }

    fn double(&mut self, number: u64, value: Option<&Value>) {
        if let Some(double) = value.and_then(Value::as_f64).filter(|double| *double != 0.0) {
            self.varint(number << 3 | 1);
            self.0.extend_from_slice(&double.to_le_bytes());
        }
    }

    fn message(&mut self, number: u64, message: Message) {
        self.bytes(number, &message.0);
    }

    /// `Any` with the value as YAML, which JSON is.
    fn any(&mut self, number: u64, value: Option<&Value>) {
        if let Some(value) = value {
            let mut any = Message::default();
            any.bytes(2, value.to_string().as_bytes());
            self.message(number, any);
        }
    }

    /// `repeated NamedAny` of the keys that start with `x-`.
    fn extensions(&mut self, number: u64, map: &Map<String, Value>) {
        for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
            let mut named = Message::default();
            named.bytes(1, name.as_bytes());
            named.any(2, Some(value));
            self.message(number, named);
        }
    }

    /// A repeated message of a name (1) and a value (2).
    fn named(&mut self, number: u64, value: Option<&Value>, write: fn(&Map<String, Value>) -> Message) {
        for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
            let mut named = Message::default();
            named.bytes(1, name.as_bytes());
            if let Some(map) = value.as_object() {
                named.message(2, write(map));
            }
            self.message(number, named);
        }
    }
}

/// A message that holds one other at a number: the many `oneof` wrappers.
fn wrapped(number: u64, inner: Message) -> Message {
    let mut outer = Message::default();
    outer.message(number, inner);
    outer
}

/// Writes the document that [`super::document_v2`] makes.
pub fn encode_v2(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document.get("swagger"));
    let mut info = Message::default();
    info.text(1, document["info"].get("title"));
    info.text(2, document["info"].get("version"));
    out.message(2, info);
    let mut paths = Message::default();
    paths.named(2, document.get("paths"), path_item);
    out.message(8, paths);
    let mut definitions = Message::default();
    definitions.named(1, document.get("definitions"), schema);
    out.message(9, definitions);
    for requirement in document["security"].as_array().into_iter().flatten() {
        let mut all = Message::default();
        all.named(1, Some(requirement), |_| Message::default());
        out.message(12, all);
    }
    let mut security = Message::default();
    security.named(1, document.get("securityDefinitions"), api_key);
    out.message(13, security);
    out.0
}

fn api_key(map: &Map<String, Value>) -> Message {
    let mut key = Message::default();
    for (number, name) in [(1, "type"), (2, "name"), (3, "in"), (4, "description")] {
        key.text(number, map.get(name));
    }
    wrapped(2, key)
}

fn path_item(map: &Map<String, Value>) -> Message {
    const METHODS: &[(u64, &str)] =
        &[(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];
    let mut item = Message::default();
    for (number, method) in METHODS {
        if let Some(Value::Object(map)) = map.get(*method) {
            item.message(*number, operation(map));
        }
    }
    parameters(&mut item, 9, map);
    item.extensions(10, map);
    item
}

fn operation(map: &Map<String, Value>) -> Message {
    let mut operation = Message::default();
    operation.texts(1, map.get("tags"));
    operation.text(3, map.get("description"));
    operation.text(5, map.get("operationId"));
    operation.texts(6, map.get("produces"));
    operation.texts(7, map.get("consumes"));
    parameters(&mut operation, 8, map);
    let mut responses = Message::default();
    responses.named(1, map.get("responses"), response);
    operation.message(9, responses);
    operation.texts(10, map.get("schemes"));
    operation.extensions(13, map);
    operation
}

fn response(map: &Map<String, Value>) -> Message {
    let mut response = Message::default();
    response.text(1, map.get("description"));
    if let Some(Value::Object(map)) = map.get("schema") {
        response.message(2, wrapped(1, schema(map)));
    }
    wrapped(1, response)
}

fn parameters(out: &mut Message, number: u64, owner: &Map<String, Value>) {
    for map in
        owner.get("parameters").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
    {
        let parameter = match map.get("in").and_then(Value::as_str) {
            Some("body") => wrapped(1, body_parameter(map)),
            Some("path") => wrapped(2, wrapped(4, path_parameter(map))),
            _ => wrapped(2, wrapped(3, query_parameter(map))),
        };
        out.message(number, wrapped(1, parameter));
    }
}

fn body_parameter(map: &Map<String, Value>) -> Message {
    let mut parameter = Message::default();
    parameter.text(2, map.get("name"));
    parameter.text(3, map.get("in"));
    parameter.flag(4, map.get("required"));
    if let Some(Value::Object(map)) = map.get("schema") {
        parameter.message(5, schema(map));
    }
    parameter
}

fn path_parameter(map: &Map<String, Value>) -> Message {
    let mut parameter = Message::default();
    parameter.flag(1, map.get("required"));
    parameter.text(2, map.get("in"));
    parameter.text(4, map.get("name"));
    parameter.text(5, map.get("type"));
    parameter.flag(18, map.get("uniqueItems"));
    parameter
}

fn query_parameter(map: &Map<String, Value>) -> Message {
    let mut parameter = Message::default();
    parameter.flag(1, map.get("required"));
    parameter.text(2, map.get("in"));
    parameter.text(4, map.get("name"));
    parameter.text(6, map.get("type"));
    parameter.flag(20, map.get("uniqueItems"));
    parameter
}

fn schema(map: &Map<String, Value>) -> Message {
    let mut out = Message::default();
    for (number, name) in [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern")] {
        out.text(number, map.get(name));
    }
    out.any(5, map.get("default"));
    for (number, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        out.double(number, map.get(name));
    }
    for (number, name) in [(8, "exclusiveMaximum"), (10, "exclusiveMinimum"), (16, "uniqueItems")] {
        out.flag(number, map.get(name));
    }
    for (number, name) in [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ] {
        out.whole(number, map.get(name));
    }
    out.texts(19, map.get("required"));
    for value in map.get("enum").and_then(Value::as_array).into_iter().flatten() {
        out.any(20, Some(value));
    }
    match map.get("additionalProperties") {
        Some(Value::Object(inner)) => out.message(21, wrapped(1, schema(inner))),
        Some(Value::Bool(allowed)) => {
            let mut item = Message::default();
            item.varint(2 << 3);
            item.varint(u64::from(*allowed));
            out.message(21, item);
        }
        _ => {}
    }
    if let Some(Value::String(kind)) = map.get("type") {
        let mut item = Message::default();
        item.bytes(1, kind.as_bytes());
        out.message(22, item);
    }
    if let Some(Value::Object(items)) = map.get("items") {
        out.message(23, wrapped(1, schema(items)));
    }
    if map.get("properties").is_some_and(Value::is_object) {
        let mut properties = Message::default();
        properties.named(1, map.get("properties"), schema);
        out.message(25, properties);
    }
    out.extensions(31, map);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_protobuf() {
        let mut message = Message::default();
        message.text(1, Some(&json!("2.0")));
        message.flag(20, Some(&json!(true)));
        message.whole(11, Some(&json!(300)));
        assert_eq!(message.0, [0x0a, 3, b'2', b'.', b'0', 0xa0, 0x01, 1, 0x58, 0xac, 0x02]);
        let document =
            json!({"swagger": "2.0", "info": {"title": "T"}, "definitions": {"a": {"type": "object"}}});
        let want: &[u8] =
            b"\x0a\x032.0\x12\x03\x0a\x01T\x42\x00\x4a\x12\x0a\x10\x0a\x01a\x12\x0b\xb2\x01\x08\x0a\x06object\x6a\x00";
        assert_eq!(encode_v2(&document), want);
    }
}
