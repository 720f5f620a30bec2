//! The table of definitions: every object of upstream's OpenAPI document with its fields in the order of Go's structs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Context;
use serde_json::Value;

use super::protobuf::{self, Place};
use super::{strings, texts};

/// One field as `go_facts.txt` tells it.
pub struct Fact<'a> {
    /// Name in JSON.
    pub name: &'a str,
    omit: &'a str,
    go_type: &'a str,
    embedded: &'a str,
}

const FACTS: &str = include_str!("go_facts.txt");

/// Definitions that Go reads and writes with code of their own.
const SPECIAL: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "Quantity"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "IntOrString"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "Time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "MicroTime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "Raw"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "Raw"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "Raw"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "SchemaOrArray"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "SchemaOrBool"),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        "SchemaOrStrings",
    ),
];

/// Writes the table.
pub fn render(swagger: &Value, numbers: &Value) -> anyhow::Result<String> {
    let definitions = swagger["definitions"].as_object().context("swagger has no definitions")?;
    let facts = facts();
    let index: BTreeMap<&str, usize> =
        definitions.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let mut out = String::from(
        "//! Every definition of upstream's OpenAPI document, sorted by name.\n\n\
         use crate::schema::table::{Definition, Field, Merge, Omit, Omit::*, Type, Type::*};\n\n\
         const P: bool = true;\nconst V: bool = false;\nconst R: bool = true;\nconst O: bool = false;\n\n\
         #[allow(clippy::too_many_arguments)]\n\
         const fn f(name: &'static str, go_type: &'static str, embedded: &'static str, ty: Type, pointer: bool, omit: Omit, \
         required: bool, number: u8, merge: Option<&'static Merge>) -> Field {\n    \
         Field { name, go_type, embedded, ty, pointer, omit, required, number, within: [0, 0], wrapped: false, merge }\n}\n\n\
         const fn w(field: Field, within: [u8; 2], wrapped: bool) -> Field {\n    \
         Field { within, wrapped, ..field }\n}\n\n",
    );
    let mut merges = BTreeSet::new();
    let mut body = String::new();
    for (name, definition) in definitions {
        let (go_name, fields) = facts.get(name.as_str()).with_context(|| format!("no Go facts of {name}"))?;
        let message = message_name(name);
        let required: BTreeSet<&str> = texts(&definition["required"]).collect();
        let mut rendered = String::new();
        let mut places = Vec::new();
        for fact in fields {
            let schema = &definition["properties"][fact.name];
            let place = protobuf::place(numbers, &message, fact.embedded, fact.name, schema)?;
            let merge = merge(schema);
            writeln!(rendered, "{},", render_field(fact, schema, place, &required, merge.as_ref(), &index)?)?;
            merges.extend(merge);
            places.push(place);
        }
        let special = SPECIAL
            .iter()
            .find(|(special, _)| special == name)
            .map_or("None".to_owned(), |(_, ty)| format!("Some({ty})"));
        let kinds: Vec<String> = definition["x-kubernetes-group-version-kind"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|kind| {
                let part = |name: &str| kind[name].as_str().unwrap_or_default().to_owned();
                format!("({:?},{:?},{:?})", part("group"), part("version"), part("kind"))
            })
            .collect();
        write!(
            body,
            "Definition{{name:{name:?},go_name:{go_name:?},special:{special},atomic:{},kinds:&[{}],order:&{:?},fields:&[\n{rendered}]}},\n",
            definition["x-kubernetes-map-type"] == "atomic",
            kinds.join(","),
            protobuf::order(&places),
        )?;
    }
    for merge in &merges {
        let (list_type, keys, strategy, key) = merge;
        writeln!(
            out,
            "static {}: Merge = Merge{{list_type:{list_type:?},list_map_keys:{},patch_strategy:{strategy:?},patch_merge_key:{key:?}}};",
            merge_name(merge),
            strings(keys.iter().map(String::as_str)),
        )?;
    }
    write!(
        out,
        "\n/// Every definition.\npub static DEFINITIONS: [Definition; {}] = [\n{body}];\n",
        definitions.len()
    )?;
    Ok(out)
}

/// One field as the table writes it.
fn render_field(
    fact: &Fact<'_>,
    schema: &Value,
    place: Place,
    required: &BTreeSet<&str>,
    merge: Option<&MergeFacts>,
    index: &BTreeMap<&str, usize>,
) -> anyhow::Result<String> {
    let plain = format!(
        "f({:?},{:?},{:?},{},{},{},{},{},{})",
        fact.name,
        fact.go_type.trim_start_matches('*'),
        fact.embedded,
        render_type(schema, fact.go_type, index)?,
        if fact.go_type.starts_with('*') { "P" } else { "V" },
        match fact.omit {
            "-" => "Never",
            "z" => "Zero",
            _ => "Empty",
        },
        if required.contains(fact.name) { "R" } else { "O" },
        place.number,
        merge.map_or("None".to_owned(), |merge| format!("Some(&{})", merge_name(merge))),
    );
    Ok(match place {
        Place { within: [0, 0], wrapped: false, .. } => plain,
        Place { within, wrapped, .. } => format!("w({plain},{within:?},{wrapped})"),
    })
}

type MergeFacts = (String, Vec<String>, String, String);

fn merge(schema: &Value) -> Option<MergeFacts> {
    let text = |name: &str| schema[name].as_str().unwrap_or_default().to_owned();
    let list_type = text("x-kubernetes-list-type");
    let list_type = if list_type.is_empty() { text("x-kubernetes-map-type") } else { list_type };
    let keys = texts(&schema["x-kubernetes-list-map-keys"]).map(str::to_owned).collect();
    let facts = (list_type, keys, text("x-kubernetes-patch-strategy"), text("x-kubernetes-patch-merge-key"));
    (facts != MergeFacts::default()).then_some(facts)
}

fn merge_name((list_type, keys, strategy, key): &MergeFacts) -> String {
    let all = format!("M_{list_type}_{}_{strategy}_{key}", keys.join("_"));
    all.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// The type of a field or element as the table writes it.
fn render_type(schema: &Value, go_type: &str, index: &BTreeMap<&str, usize>) -> anyhow::Result<String> {
    let go_type = go_type.trim_start_matches('*');
    if go_type == "v1.Duration" {
        return Ok("Duration".into());
    }
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/definitions/");
        if let Some((_, special)) = SPECIAL.iter().find(|(special, _)| *special == name) {
            return Ok((*special).into());
        }
        return Ok(format!("Struct({})", index.get(name).with_context(|| format!("no definition {name}"))?));
    }
    let simple = match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("byte")) => "Bytes",
        (Some("string"), _) => "Text",
        (Some("boolean"), _) => "Bool",
        (Some("integer"), Some("int64")) => "Int64",
        (Some("integer"), _) => "Int32",
        (Some("number"), _) => "Float",
        (Some("array"), _) => {
            return Ok(format!("List(&{})", render_type(&schema["items"], elem(go_type), index)?));
        }
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            return Ok(format!(
                "Map(&{})",
                render_type(&schema["additionalProperties"], elem(go_type), index)?
            ));
        }
        _ => "Raw",
    };
    Ok(simple.into())
}

/// The Go type of a list's or map's element, where it can be read off.
fn elem(go_type: &str) -> &str {
    if let Some(rest) = go_type.strip_prefix("[]") {
        return rest;
    }
    match go_type.strip_prefix("map[").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => rest,
        None => "",
    }
}

/// The protobuf message of a definition.
fn message_name(definition: &str) -> String {
    definition.replacen("io.k8s.", "k8s.io.", 1).replace('-', "_")
}

/// All definitions: Go's name and the fields in Go's order.
pub fn facts() -> BTreeMap<&'static str, (&'static str, Vec<Fact<'static>>)> {
    let mut all = BTreeMap::new();
    let mut current = "";
    for line in FACTS.lines() {
        if let Some((name, go_name)) = line.strip_prefix("D ").and_then(|rest| rest.split_once(' ')) {
            all.insert(name, (go_name, Vec::new()));
            current = name;
            continue;
        }
        let mut parts = line.split('\t');
        let mut next = || parts.next().unwrap_or_default();
        let fact = Fact { name: next(), omit: next(), go_type: next(), embedded: next() };
        if let Some((_, fields)) = all.get_mut(current) {
            fields.push(fact);
        }
    }
    all
}
