//! Output formats of `-o`.

pub mod columns;
pub mod json;
pub mod table;

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::failure::{Failure, message};
use crate::flags::Values;
use crate::jsonpath::Template;
use crate::template::GoTemplate;

/// Formats in the order of kubectl's message.
pub const FORMATS: &[&str] = &[
    "custom-columns",
    "custom-columns-file",
    "go-template",
    "go-template-file",
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "kyaml",
    "name",
    "template",
    "templatefile",
    "wide",
    "yaml",
];

/// How objects are printed.
pub enum Printer {
    /// JSON, indented by four.
    Json,
    /// YAML.
    Yaml,
    /// YAML in flow style, which is safe to edit.
    Kyaml,
    /// `pod/x`.
    Name,
    /// A JSONPath template; its values as a JSON list.
    JsonPath(Template, bool),
    /// A Go template.
    Go(GoTemplate),
    /// Columns of the user's own.
    Columns(columns::Columns),
}

/// What `-o` asks for.
pub enum Format {
    /// A table, with its wide columns or not.
    Human {
        /// `-o wide`.
        wide: bool,
    },
    /// Anything else.
    Printer(Printer),
}

/// Reads `-o`. `human`: the command also prints tables.
pub fn format(values: &Values, human: bool) -> Result<Format, Failure> {
    let output = values.text("output");
    let (name, argument) = output.split_once('=').map_or((output, None), |(name, rest)| (name, Some(rest)));
    let template = || {
        let text = argument.unwrap_or_else(|| values.text("template"));
        if text.is_empty() {
            Err(message("template format specified but no template given"))
        } else {
            Ok(text.to_owned())
        }
    };
    let file = |what: &str| {
        let path = template()?;
        std::fs::read_to_string(&path).map_err(|_| {
            message(format!("error reading {what}{path}, open {path}: no such file or directory"))
        })
    };
    let missing = values.on("allow-missing-template-keys");
    let jsonpath = |text: String| {
        let mut parsed = Template::parse(&text)
            .map_err(|error| message(format!("error parsing jsonpath {text}, {error}")))?;
        parsed.allow_missing = missing;
        Ok::<_, Failure>(parsed)
    };
    let go = |text: String| {
        GoTemplate::parse(&text).map_err(|error| message(format!("error parsing template {text}, {error}")))
    };
    let no_headers = values.on("no-headers");
    Ok(Format::Printer(match name {
        "" if human => return Ok(Format::Human { wide: false }),
        "wide" if human => return Ok(Format::Human { wide: true }),
        "json" => Printer::Json,
        "yaml" => Printer::Yaml,
        "kyaml" => Printer::Kyaml,
        "name" => Printer::Name,
        "jsonpath" => Printer::JsonPath(jsonpath(template()?)?, false),
        "jsonpath-as-json" => Printer::JsonPath(jsonpath(template()?)?, true),
        "jsonpath-file" => Printer::JsonPath(jsonpath(file("template ")?)?, false),
        "go-template" | "template" => Printer::Go(go(template()?)?),
        "go-template-file" | "templatefile" => Printer::Go(go(file("--template ")?)?),
        "custom-columns" => {
            let text = argument.unwrap_or_default();
            Printer::Columns(columns::Columns::parse(text, no_headers).map_err(message)?)
        }
        "custom-columns-file" => {
            let path = argument.unwrap_or_default();
            let text = std::fs::read_to_string(path).map_err(|_| {
                message(format!("error reading template {path}, open {path}: no such file or directory"))
            })?;
            Printer::Columns(columns::Columns::parse_file(&text, no_headers).map_err(message)?)
        }
        _ => return Err(unknown(output, human)),
    }))
}

fn unknown(output: &str, human: bool) -> Failure {
    let human_only = ["custom-columns", "custom-columns-file", "wide"];
    let formats: Vec<&str> =
        FORMATS.iter().copied().filter(|name| human || !human_only.contains(name)).collect();
    message(format!(
        "unable to match a printer suitable for the output format {output:?}, allowed formats are: {}",
        formats.join(",")
    ))
}

impl Printer {
    /// An object (or a list) as text.
    pub fn print(&self, object: &Value) -> Result<String, Failure> {
        Ok(match self {
            Printer::Json => json::pretty(object),
            Printer::Yaml => crate::yaml::to_string(object),
            Printer::Kyaml => json::kyaml(object),
            Printer::Name => crate::builder::items(object).iter().map(|item| name(item) + "\n").collect(),
            Printer::JsonPath(template, false) => {
                template.print(object).map_err(|error| message(template.failed(&error, object)))?
            }
            Printer::JsonPath(template, true) => {
                let values = template.values(object).map_err(message)?;
                json::pretty(&Value::Array(values))
            }
            Printer::Go(template) => template
                .print(object)
                .map_err(|error| message(format!("error executing template: {error}")))?,
            Printer::Columns(columns) => columns.print(object),
        })
    }

    /// Whether objects are printed each for itself instead of as one list.
    pub fn is_single(&self) -> bool {
        matches!(self, Printer::Name)
    }
}

/// `pod/x`, `deployment.apps/x`.
pub fn name(object: &Value) -> String {
    let (group, _) = object.api_version().split_once('/').unwrap_or(("", ""));
    let kind = object.kind().to_lowercase();
    if group.is_empty() {
        format!("{kind}/{}", object.name())
    } else {
        format!("{kind}.{group}/{}", object.name())
    }
}

/// A copy without `managedFields`.
pub fn without_managed_fields(mut object: Value) -> Value {
    fn strip(object: &mut Value) {
        object.unset(&["metadata", "managedFields"]);
    }
    strip(&mut object);
    if let Some(items) = object.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(strip);
    }
    object
}

/// Several objects as kubectl's own list.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// Prints what became of an object: `pod/x created`, or the object in the format of `-o`.
pub fn outcome(
    invocation: &crate::command::Invocation<'_>,
    format: &Format,
    object: &Value,
    what: &str,
) -> Result<(), Failure> {
    let text = match format {
        Format::Human { .. } => format!("{} {what}\n", name(object)),
        Format::Printer(printer) => printer.print(&shown(&invocation.values, object))?,
    };
    invocation.context.out(&text);
    Ok(())
}

/// The object as JSON and YAML show it.
pub fn shown(values: &Values, object: &Value) -> Value {
    if values.on("show-managed-fields") { object.clone() } else { without_managed_fields(object.clone()) }
}

/// Reads `-o` of a command that says `created` without it.
pub fn outcome_format(values: &Values) -> Result<Format, Failure> {
    if values.text("output").is_empty() && values.text("template").is_empty() {
        return Ok(Format::Human { wide: false });
    }
    format(values, false)
}
