//! Definitions as JSON schemas.

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::{CustomSchema, Style, Used, definition_name};
use crate::row::Resource;
use crate::schema::table::{Field, Omit};
use crate::schema::{Definition, Type};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

/// A built-in definition.
pub fn builtin(
    definition: &'static Definition,
    style: Style,
    texts: &Descriptions,
    used: &mut Used,
) -> Value {
    let own = texts.of(definition);
    if let Some(mut schema) = special(definition, style) {
        if !own.is_empty() {
            schema["description"] = own.into();
        }
        return schema;
    }
    let mut schema = Map::new();
    if !own.is_empty() {
        schema.insert("description".into(), own.into());
    }
    schema.insert("type".into(), "object".into());
    if !definition.fields.is_empty() {
        let properties: Map<String, Value> = definition
            .fields
            .iter()
            .enumerate()
            .map(|(place, field)| {
                let text = texts.of_field(definition, place);
                (field.name.to_owned(), property(field, style, text, used))
            })
            .collect();
        schema.insert("properties".into(), properties.into());
    }
    let required: Vec<&str> =
        definition.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    if definition.atomic {
        schema.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if !definition.kinds.is_empty() {
        let kinds: Vec<Value> =
            definition.kinds.iter().map(|(group, version, kind)| gvk(group, version, kind)).collect();
        schema.insert("x-kubernetes-group-version-kind".into(), kinds.into());
    }
    Value::Object(schema)
}

/// A group, version and kind as the documents write it.
pub fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

/// Definitions that are no plain objects.
fn special(definition: &Definition, style: Style) -> Option<Value> {
    let short = definition.name.rsplit('.').next().unwrap_or_default();
    let schema = match (short, style) {
        ("Quantity", Style::V2) => json!({"type": "string"}),
        ("Quantity", Style::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ("IntOrString", Style::V2) => json!({"type": "string", "format": "int-or-string"}),
        ("IntOrString", Style::V3) => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        ("Time" | "MicroTime", _) => json!({"type": "string", "format": "date-time"}),
        ("JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray", _) => {
            json!({})
        }
        ("FieldsV1" | "RawExtension" | "Patch", _) => json!({"type": "object"}),
        _ => return None,
    };
    Some(schema)
}

fn property(field: &Field, style: Style, text: &str, used: &mut Used) -> Value {
    let mut schema = type_schema(field.ty, field.go_type, style, used);
    let default = default(field).filter(|_| style == Style::V3);
    if let Some(merge) = field.merge {
        let list = matches!(field.ty, Type::List(_));
        let set = |schema: &mut Value, name: &str, value: Value| schema[name] = value;
        // Beside a reference nothing else counts, so it moves into an `allOf` (v3) or is left as upstream has it (v2).
        let mut target = std::mem::take(&mut schema);
        if style == Style::V3 && target.get("$ref").is_some() {
            target = json!({"allOf": [target]});
        }
        match (merge.list_type, list) {
            ("", _) => {}
            (kind, true) => set(&mut target, "x-kubernetes-list-type", kind.into()),
            (kind, false) => set(&mut target, "x-kubernetes-map-type", kind.into()),
        }
        if !merge.list_map_keys.is_empty() {
            set(&mut target, "x-kubernetes-list-map-keys", json!(merge.list_map_keys));
        }
        if !merge.patch_strategy.is_empty() {
            set(&mut target, "x-kubernetes-patch-strategy", merge.patch_strategy.into());
        }
        if !merge.patch_merge_key.is_empty() {
            set(&mut target, "x-kubernetes-patch-merge-key", merge.patch_merge_key.into());
        }
        schema = target;
    }
    if let Some(default) = default {
        if schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        schema["default"] = default;
    }
    if !text.is_empty() {
        if style == Style::V3 && schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        schema["description"] = text.into();
    }
    schema
}

/// The default of fields that are never absent.
fn default(field: &Field) -> Option<Value> {
    if field.pointer {
        return None;
    }
    match field.ty {
        Type::Struct(_) => Some(json!({})),
        Type::Text if field.omit == Omit::Never => Some("".into()),
        Type::Bool if field.omit == Omit::Never => Some(false.into()),
        Type::Int32 | Type::Int64 if field.omit == Omit::Never => Some(0.into()),
        _ => None,
    }
}

fn type_schema(ty: Type, go_type: &str, style: Style, used: &mut Used) -> Value {
    let mut refer = |name: String| used.reference(style, &name);
    match ty {
        Type::Text | Type::Duration => json!({"type": "string"}),
        Type::Bool => json!({"type": "boolean"}),
        Type::Int32 => json!({"type": "integer", "format": "int32"}),
        Type::Int64 => json!({"type": "integer", "format": "int64"}),
        Type::Float => json!({"type": "number", "format": "double"}),
        Type::Bytes => json!({"type": "string", "format": "byte"}),
        Type::Quantity => refer("io.k8s.apimachinery.pkg.api.resource.Quantity".into()),
        Type::IntOrString => refer("io.k8s.apimachinery.pkg.util.intstr.IntOrString".into()),
        Type::Time => refer(format!("{META}Time")),
        Type::MicroTime => refer(format!("{META}MicroTime")),
        Type::SchemaOrArray => refer(format!("{EXTENSIONS}JSONSchemaPropsOrArray")),
        Type::SchemaOrBool => refer(format!("{EXTENSIONS}JSONSchemaPropsOrBool")),
        Type::SchemaOrStrings => refer(format!("{EXTENSIONS}JSONSchemaPropsOrStringArray")),
        Type::Raw => match go_type.trim_start_matches("[]") {
            "v1.FieldsV1" => refer(format!("{META}FieldsV1")),
            "v1.JSON" => refer(format!("{EXTENSIONS}JSON")),
            "runtime.RawExtension" => refer("io.k8s.apimachinery.pkg.runtime.RawExtension".into()),
            _ => json!({"type": "object"}),
        },
        Type::Struct(_) => match ty.definition() {
            Some(definition) => refer(definition.name.into()),
            None => json!({"type": "object"}),
        },
        Type::List(of) => {
            json!({"type": "array", "items": type_schema(*of, element(go_type), style, used)})
        }
        Type::Map(of) => {
            json!({"type": "object", "additionalProperties": type_schema(*of, element(go_type), style, used)})
        }
    }
}

fn element(go_type: &str) -> &str {
    match go_type.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
        Some((_, of)) => of,
        None => go_type.strip_prefix("[]").unwrap_or_default(),
    }
}

/// The schema of a custom resource or of its list.
pub fn custom(
    name: &str,
    rows: &[&Resource],
    style: Style,
    source: CustomSchema<'_>,
    used: &mut Used,
) -> Value {
    for row in rows {
        let own = definition_name(row);
        if own == name {
            return custom_object(row, style, source, used);
        }
        if name.strip_suffix("List") == Some(&own) {
            return custom_list(row, &own, style, used);
        }
    }
    json!({"type": "object"})
}

fn custom_object(row: &Resource, style: Style, source: CustomSchema<'_>, used: &mut Used) -> Value {
    let schema = source(row).unwrap_or_else(|| json!({"type": "object"}));
    let mut schema = if style == Style::V2 { simplify(schema) } else { schema };
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let preserves = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&true.into());
    // Upstream publishes a bare object in v2 where a schema keeps unknown fields, so that clients do not refuse them.
    if style == Style::V2 && preserves {
        schema = json!({"type": "object"});
    } else {
        schema["properties"]["apiVersion"] = json!({"type": "string"});
        schema["properties"]["kind"] = json!({"type": "string"});
        let metadata = used.reference(style, &format!("{META}ObjectMeta"));
        schema["properties"]["metadata"] =
            if style == Style::V3 { json!({"allOf": [metadata]}) } else { metadata };
    }
    schema["x-kubernetes-group-version-kind"] = json!([gvk(&row.group, &row.version, &row.kind)]);
    schema
}

fn custom_list(row: &Resource, item: &str, style: Style, used: &mut Used) -> Value {
    let metadata = used.reference(style, &format!("{META}ListMeta"));
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata,
            "items": {"type": "array", "items": used.reference(style, item)},
        },
        "x-kubernetes-group-version-kind": [gvk(&row.group, &row.version, &format!("{}List", row.kind))],
    })
}

/// OpenAPI v2 knows no unions, no nullable and no defaults in the places where structural schemas have them.
fn simplify(schema: Value) -> Value {
    match schema {
        Value::Object(map) => {
            let int_or_string = map.get("x-kubernetes-int-or-string") == Some(&true.into());
            let nullable = map.get("nullable") == Some(&true.into());
            let kept = map.into_iter().filter(|(name, _)| {
                let dropped =
                    ["nullable", "oneOf", "anyOf", "allOf", "not", "default"].contains(&name.as_str());
                // A nullable or mixed value has no type in v2.
                !dropped
                    && !((nullable || int_or_string)
                        && ["type", "items", "properties"].contains(&name.as_str()))
            });
            kept.map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    ("properties", Value::Object(properties)) => properties
                        .into_iter()
                        .map(|(name, value)| (name, simplify(value)))
                        .collect::<Map<_, _>>()
                        .into(),
                    ("items" | "additionalProperties", value) => simplify(value),
                    (_, value) => value,
                };
                (name, value)
            })
            .collect::<Map<_, _>>()
            .into()
        }
        other => other,
    }
}
