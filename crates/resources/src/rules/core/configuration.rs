//! ConfigMaps, Secrets and service accounts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::names;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, nothing};
use crate::rules::{checks, fill, generic_update};

/// All values of a ConfigMap or Secret together, in bytes.
const DATA_BYTES_MAX: usize = 1024 * 1024;
const FIXED: &str = "field is immutable when `immutable` is set";
const REDACTED: &str = "<secret contents redacted>";

/// The rules of ConfigMaps.
pub const CONFIG_MAP: Kind = Kind {
    create: nothing,
    validate: config_map,
    validate_update: Some(|errors, new, old, _| {
        fixed(errors, new, old, &["data", "binaryData"]);
        config_map(errors, new);
    }),
    ..Kind::PLAIN
};

/// The rules of Secrets.
pub const SECRET: Kind = Kind {
    default: secret_default,
    create: nothing,
    update: |object, old, subresource| {
        generic_update(object, old, subresource);
        if object.text(&["type"]).is_empty() {
            object.set(&["type"], old.text(&["type"]));
        }
    },
    validate: secret,
    validate_update: Some(|errors, new, old, _| {
        checks::immutable(errors, &new.child("type"), old.value.get("type"));
        fixed(errors, new, old, &["data"]);
        secret(errors, new);
    }),
    fields: &["type"],
    ..Kind::PLAIN
};

/// The rules of service accounts: references to Secrets keep their names only.
pub const SERVICE_ACCOUNT: Kind = Kind {
    create: bare_references,
    update: |object, old, subresource| {
        generic_update(object, old, subresource);
        bare_references(object);
    },
    ..Kind::PLAIN
};

/// An object marked immutable keeps its mark and its data.
fn fixed(errors: &mut Errors, new: &At, old: &At, keys: &[&str]) {
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        errors.push(new.child("immutable").forbidden(FIXED));
    }
    for key in keys {
        if !same(Some(new.child(key).value), Some(old.child(key).value)) {
            errors.push(new.child(key).forbidden(FIXED));
        }
    }
}

/// Bytes behind a base64 text.
fn decoded_bytes(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

fn config_map(errors: &mut Errors, map: &At) {
    let mut bytes = 0;
    let binary = map.child("binaryData");
    for (key, at) in map.entries("data") {
        errors.extend(names::config_key(key).into_iter().map(|complaint| at.invalid_as(key, complaint)));
        if binary.has(key) {
            errors.push(at.invalid_as(key, "duplicate of key present in binaryData"));
        }
        bytes += at.text().len();
    }
    for (key, at) in map.entries("binaryData") {
        errors.extend(names::config_key(key).into_iter().map(|complaint| at.invalid_as(key, complaint)));
        bytes += decoded_bytes(at.text());
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(FieldError::too_long(&Path::default(), DATA_BYTES_MAX));
    }
}

fn secret_default(object: &mut Value) {
    fill::plain(object, "type", "Opaque");
    let Some(texts) = object.unset(&["stringData"]) else { return };
    for (key, text) in texts.as_object().into_iter().flatten() {
        let encoded = STANDARD.encode(text.as_str().unwrap_or_default());
        object.set(&["data", key.as_str()], encoded);
    }
}

fn secret(errors: &mut Errors, secret: &At) {
    let data = secret.child("data");
    let mut bytes = 0;
    for (key, at) in secret.entries("data") {
        errors.extend(names::config_key(key).into_iter().map(|complaint| at.invalid_as(key, complaint)));
        bytes += decoded_bytes(at.text());
    }
    if bytes > DATA_BYTES_MAX {
        errors.push(FieldError::too_long(&data.path, DATA_BYTES_MAX));
    }
    let missing = |key: &str| FieldError::required(&data.path.key(key), "");
    match secret.str("type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            let annotations = secret.child("metadata").child("annotations");
            if annotations.str(key).is_empty() {
                errors.push(FieldError::required(&annotations.path.key(key), ""));
            }
        }
        "kubernetes.io/dockercfg" => json_object(errors, &data, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => json_object(errors, &data, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            errors.extend([missing("username"), missing("password")]);
        }
        "kubernetes.io/ssh-auth" if data.str("ssh-privatekey").is_empty() => {
            errors.push(missing("ssh-privatekey"))
        }
        "kubernetes.io/tls" => {
            errors.extend(["tls.crt", "tls.key"].into_iter().filter(|key| !data.has(key)).map(missing));
        }
        _ => {}
    }
}

/// A key of the data that must hold a JSON object.
fn json_object(errors: &mut Errors, data: &At, key: &str) {
    let path = data.path.key(key);
    if !data.has(key) {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let bytes = STANDARD.decode(data.str(key)).unwrap_or_default();
    let words = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            let kind = match other {
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
        Err(_) => crate::schema::go_json::syntax_error(&bytes).unwrap_or_default(),
    };
    errors.push(FieldError::invalid(&path, &Value::from(REDACTED), words));
}

fn bare_references(object: &mut Value) {
    for reference in fill::items(object, "secrets") {
        *reference = json!({"name": reference.text(&["name"])});
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    fn messages(errors: &Errors) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.path, error.to_cause().message)).collect()
    }

    #[test]
    fn texts_become_data() {
        let mut object = json!({"data": {"a": "eA=="}, "stringData": {"b": "yz"}});
        SECRET.default(&mut object);
        assert_eq!(object, json!({"type": "Opaque", "data": {"a": "eA==", "b": "eXo="}}));
    }

    #[test]
    fn types_of_secrets() {
        let table = [
            (
                json!({"type": "kubernetes.io/tls"}),
                vec!["data[tls.crt]: Required value", "data[tls.key]: Required value"],
            ),
            (
                json!({"type": "Opaque", "data": {"a/b": ""}}),
                vec!["data[a/b]: Invalid value: \"a/b\": a valid config key"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}}),
                vec![
                    "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character 'x'",
                ],
            ),
            (json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": "e30="}}), vec![]),
        ];
        for (object, expected) in table {
            let texts = messages(&SECRET.validate(&object));
            assert_eq!(texts.len(), expected.len(), "{texts:?}");
            assert!(texts.iter().zip(&expected).all(|(text, part)| text.starts_with(part)), "{texts:?}");
        }
    }

    #[test]
    fn immutable_maps_stay() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let new = json!({"data": {"a": "2"}});
        let texts = messages(&CONFIG_MAP.validate_update(&new, &old, None));
        assert_eq!(
            texts,
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }
}
