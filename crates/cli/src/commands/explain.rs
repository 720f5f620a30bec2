//! `explain`: fields of a resource as the server's OpenAPI v3 documents describe them.

use serde_json::Value;

use super::boxed;
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};

/// Deepest nesting followed: schemas may refer to themselves.
const DEPTH_MAX: usize = 12;

/// The command.
pub const COMMAND: Command = Command {
    name: "explain",
    usage: "explain TYPE [--recursive=FALSE|TRUE] [--api-version=api-version-group] [-o|--output=plaintext|plaintext-openapiv2]",
    short: "Get documentation for a resource",
    long: "Describe fields and structure of various resources.\n\nFields are named by their path: pods.spec.containers.",
    flags: &[&[
        Flag::new("api-version", Kind::Text, "", "Version to explain (apps/v1)"),
        Flag::new("output", Kind::Text, "plaintext", "plaintext").short('o'),
        Flag::switch("recursive", "All fields with those below them, names only"),
    ]],
    run: boxed!(run),
    ..Command::EMPTY
};

struct Explainer<'a> {
    document: &'a Value,
    recursive: bool,
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let program = &invocation.context.program;
    let argument = match invocation.arguments() {
        [] => {
            return Err(message(format!(
                "You must specify the type of resource to explain. Use \"{program} api-resources\" for a complete list of supported resources.\n"
            )));
        }
        [one] => one,
        _ => return Err(message("We accept only this format: explain RESOURCE\n")),
    };
    if !matches!(values.text("output"), "plaintext" | "plaintext-openapiv2") {
        return Err(message(format!("unrecognized format: {}", values.text("output"))));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let mut steps = argument.split('.').filter(|step| !step.is_empty());
    let found = mapper.find(steps.next().unwrap_or_default());
    let mut mapping = found.map_err(|failure| Failure::Plain(failure.words()))?;
    let path: Vec<&str> = steps.collect();
    let version = values.text("api-version");
    if !version.is_empty() {
        let found = mapper.of_kind(version, &mapping.kind);
        mapping = found.ok_or_else(|| {
            message(format!("couldn't find resource for \"{version}, Kind={}\"", mapping.kind))
        })?;
    }
    let root = if mapping.group.is_empty() { "api" } else { "apis" };
    let document = api.get(&format!("/openapi/v3/{root}/{}", mapping.api_version())).await?;
    let mut head = String::new();
    if !mapping.group.is_empty() {
        head.push_str(&format!("GROUP:      {}\n", mapping.group));
    }
    head.push_str(&format!("KIND:       {}\nVERSION:    {}\n\n", mapping.kind, mapping.version));
    invocation.context.out(&head);
    let explainer = Explainer { document: &document, recursive: values.on("recursive") };
    let schema = explainer.of_kind(&mapping).ok_or_else(|| {
        message(format!(
            "GVR ({}, Resource={}) not found in OpenAPI schema",
            mapping.api_version(),
            mapping.plural
        ))
    })?;
    match explainer.output(schema, &path, 0) {
        Some(text) => {
            invocation.context.out(&format!("{text}\n"));
            Ok(())
        }
        None => Err(message(format!("field {:?} does not exist", path.last().unwrap_or(&"")))),
    }
}

impl<'a> Explainer<'a> {
    fn of_kind(&self, mapping: &crate::mapping::Mapping) -> Option<&'a Value> {
        let is_kind = |kind: &Value| {
            kind["group"] == mapping.group.as_str()
                && kind["version"] == mapping.version.as_str()
                && kind["kind"] == mapping.kind.as_str()
        };
        let schemas = self.document["components"]["schemas"].as_object()?;
        schemas.values().find(|schema| {
            schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten().any(is_kind)
        })
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let Some(name) = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/components/schemas/"))
        else {
            return schema;
        };
        self.document["components"]["schemas"].get(name).unwrap_or(schema)
    }

    /// What is inside: alternatives, items, values.
    fn inner(schema: &'a Value) -> impl Iterator<Item = &'a Value> {
        let alternatives = schema["allOf"].as_array().into_iter().flatten();
        let below = ["items", "additionalProperties"].into_iter().filter_map(|name| schema.get(name));
        alternatives.chain(below.filter(|inner| inner.is_object()))
    }

    fn output(&self, schema: &'a Value, path: &[&str], depth: usize) -> Option<String> {
        if depth > DEPTH_MAX {
            return None;
        }
        let schema = self.resolve(schema);
        let Some((first, rest)) = path.split_first() else {
            let mut text = "DESCRIPTION:\n".to_owned();
            let description = self.description(schema, 0);
            let description = if description.is_empty() { "<empty>".to_owned() } else { description };
            text.push_str(&indented(&description, 76, 4));
            text.push('\n');
            let fields = self.fields(schema, 1, 0);
            if !fields.is_empty() {
                text.push_str(&format!("FIELDS:\n{fields}"));
            }
            return Some(text);
        };
        if let Some(field) = schema["properties"].get(*first) {
            let mut text = String::new();
            if rest.is_empty() {
                text = format!("FIELD: {first} <{}>\n", self.type_of(field, 0));
                if let Some(values) = field["enum"].as_array() {
                    text.push_str("ENUM:");
                    values.iter().for_each(|value| text.push_str(&format!("\n    {}", enum_text(value))));
                }
                text.push_str("\n\n");
            }
            return Some(text + &self.output(field, rest, depth + 1)?);
        }
        Self::inner(schema).find_map(|inner| self.output(inner, path, depth + 1))
    }

    fn description(&self, schema: &'a Value, depth: usize) -> String {
        let schema = self.resolve(schema);
        let mut text = String::new();
        if let Some(own) = schema["description"].as_str().filter(|own| !own.is_empty()) {
            text.push_str(&format!("{own}\n"));
        }
        if depth < DEPTH_MAX {
            Self::inner(schema).for_each(|inner| text.push_str(&self.description(inner, depth + 1)));
        }
        text
    }

    fn fields(&self, schema: &'a Value, level: usize, depth: usize) -> String {
        if depth > DEPTH_MAX {
            return String::new();
        }
        let schema = self.resolve(schema);
        let mut text = String::new();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let required =
                schema["required"].as_array().into_iter().flatten().any(|one| one == name.as_str());
            text.push_str(&self.field(name, field, level, required));
            if self.recursive {
                text.push_str(&self.fields(field, level + 1, depth + 1));
            }
        }
        for inner in Self::inner(schema) {
            text.push_str(&self.fields(inner, level, depth + 1));
        }
        text
    }

    fn field(&self, name: &str, field: &'a Value, level: usize, required: bool) -> String {
        let indent = level * 2;
        let pad = " ".repeat(indent);
        let required = if required { " -required-" } else { "" };
        let mut text = format!("{pad}{name}\t<{}>{required}", self.type_of(field, 0));
        if let Some(values) = field["enum"].as_array() {
            let mut shown: Vec<String> = values.iter().take(4).map(enum_text).collect();
            if values.len() > 4 {
                shown.push("....".into());
            }
            text.push_str(&format!("\n{pad}enum: {}", shown.join(", ")));
        }
        text.push('\n');
        if !self.recursive {
            let description =
                field["description"].as_str().filter(|own| !own.is_empty()).unwrap_or("<no description>");
            text.push_str(&format!("{}\n\n", indented(description, 78 - indent, indent + 2)));
        }
        text
    }

    fn type_of(&self, schema: &'a Value, depth: usize) -> String {
        if depth > DEPTH_MAX {
            return "Object".into();
        }
        if let Some(items) = schema.get("items") {
            return format!("[]{}", self.type_of(items, depth + 1));
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            return format!("map[string]{}", self.type_of(values, depth + 1));
        }
        if let (Some([one]), None) = (schema["allOf"].as_array().map(Vec::as_slice), schema.get("properties"))
        {
            return self.type_of(one, depth + 1);
        }
        if let Some(reference) = schema["$ref"].as_str() {
            let kind = self.resolve(schema)["type"].as_str().unwrap_or_default();
            return match kind {
                "" | "object" => reference.rsplit(['/', '.']).next().unwrap_or("Object").to_owned(),
                kind => kind.to_owned(),
            };
        }
        match schema["type"].as_str() {
            None | Some("object") => "Object".into(),
            Some(kind) => kind.to_owned(),
        }
    }
}

fn enum_text(value: &Value) -> String {
    match value.as_str() {
        Some("") => "\"\"".into(),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

/// Wrapped and indented, an empty last line too.
fn indented(text: &str, width: usize, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let wrapped = crate::text::wrap::wrap(paragraph, 0, width);
        if wrapped.is_empty() {
            lines.push(pad.clone());
        }
        lines.extend(wrapped.lines().map(|line| format!("{pad}{line}")));
    }
    lines.join("\n")
}
