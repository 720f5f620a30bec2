//! Objects out of files: directories, several documents, JSON lists, standard input; kubectl's errors about them.

pub mod diagnose;
mod go_yaml;
pub mod locate;
pub mod preflight;
mod web;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::tree::TreeExt;
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::Values;

/// An object of a file.
#[derive(Debug, Clone)]
pub struct Document {
    /// The object.
    pub object: Value,
    /// The file's name as given; `STDIN` for standard input.
    pub source: String,
    /// Where in the file it stands.
    pub origin: Arc<Origin>,
}

/// The text that an object was read from.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file's name.
    pub name: String,
    /// The document's text.
    pub text: String,
    /// Lines of the file before it.
    pub first_line: usize,
    /// What a strict reader says about keys that stand twice.
    pub duplicates: Option<String>,
}

/// What `-f`, `-k` and `-R` say.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Names.
    pub names: Vec<String>,
    /// Whether directories are read with all below them.
    pub recursive: bool,
}

impl Files {
    /// Reads the flags.
    pub fn of(values: &Values) -> Result<Self, Failure> {
        let names = values.texts("filename");
        let kustomize = values.text("kustomize");
        if !kustomize.is_empty() {
            if !names.is_empty() {
                return Err(message("only one of -f or -k can be specified"));
            }
            return Err(message(format!(
                "kustomizations are not supported: build {kustomize:?} with kustomize and pipe the result into -f -"
            )));
        }
        Ok(Self { names, recursive: values.on("recursive") })
    }

    /// Whether none was named.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A file's bytes with its name.
pub struct Source {
    /// Name as given, or found in a directory.
    pub name: String,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// Reads the files, directories expanded.
pub fn read(context: &Context, files: &Files) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for name in &files.names {
        if name == "-" {
            let bytes =
                context.read_stdin().map_err(|error| message(format!("reading standard input: {error}")))?;
            sources.push(Source { name: "STDIN".into(), bytes });
            continue;
        }
        if web::is_address(name) {
            sources.push(Source { name: name.clone(), bytes: web::read(context, name)? });
            continue;
        }
        let path = Path::new(name);
        if !path.exists() {
            return Err(message(format!("the path {name:?} does not exist")));
        }
        let mut found = Vec::new();
        expand(path, files.recursive, true, &mut found)?;
        for path in found {
            let bytes = std::fs::read(&path);
            let bytes =
                bytes.map_err(|error| message(format!("open {}: {}", path.display(), words(&error))))?;
            sources.push(Source { name: path.display().to_string(), bytes });
        }
    }
    Ok(sources)
}

fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        _ => error.to_string(),
    }
}

/// Files of a directory: those that end as manifests do, by name.
fn expand(path: &Path, recursive: bool, top: bool, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if !path.is_dir() {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if top || matches!(extension, "json" | "yaml" | "yml") {
            found.push(path.to_owned());
        }
        return Ok(());
    }
    if !top && !recursive {
        return Ok(());
    }
    let failed = |error: std::io::Error| message(format!("open {}: {}", path.display(), words(&error)));
    let entries: Result<Vec<_>, _> = std::fs::read_dir(path).map_err(failed)?.collect();
    let mut entries: Vec<PathBuf> = entries.map_err(failed)?.iter().map(std::fs::DirEntry::path).collect();
    entries.sort();
    for entry in entries {
        expand(&entry, recursive, false, found)?;
    }
    Ok(())
}

/// What is done with what a document looks like before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As kubectl's validation does before it decodes: kind and version have to be there.
    Validated,
    /// Only decoded.
    Decoded,
}

/// The documents of a source in their order, lists taken apart; the first mistake ends them. What is wrong is kubectl's
/// text; called as `carob`, the place and the mend follow.
pub fn documents(context: &Context, source: &Source, look: Look) -> Vec<Result<Document, Failure>> {
    let text = String::from_utf8_lossy(&source.bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut found = Vec::new();
    for (first_line, document) in split(text) {
        if is_blank(document) {
            continue;
        }
        let origin = |duplicates: Option<String>| Origin {
            name: source.name.clone(),
            text: document.to_owned(),
            first_line,
            duplicates,
        };
        let failed = match read_document(document) {
            Ok((Value::Null, _)) => None,
            Ok((object, duplicates)) => {
                let origin = Arc::new(origin(duplicates));
                let checked = if look == Look::Validated { validate(&object) } else { Ok(()) };
                let checked = checked.map_err(|words| {
                    let about = format!("error validating {:?}: error validating data: {words}", source.name);
                    format!("error: {about}; if you choose to ignore these errors, turn validation off with --validate=false\n")
                });
                let flat = checked.and_then(|()| flatten(object.clone(), &origin, &mut found));
                flat.err().map(|text| (text, diagnose::shape::object(&origin, &object)))
            }
            Err(error) => {
                let text = format!("error: error parsing {}: {error}\n", source.name);
                Some((text, diagnose::syntax::hints(&origin(None), &error)))
            }
        };
        if let Some((text, hints)) = failed {
            let failure = Failure::Plain(text);
            found.push(Err(if context.is_kubectl() { failure } else { failure.taught(hints) }));
            break;
        }
    }
    found
}

/// The complaints of kubectl's validation about what kind an object is of.
fn validate(object: &Value) -> Result<(), String> {
    let Some(map) = object.as_object() else { return Err("invalid object to validate".into()) };
    let mut complaints = Vec::new();
    for field in ["apiVersion", "kind"] {
        match map.get(field) {
            None | Some(Value::Null) => complaints.push(format!("{field} not set")),
            Some(Value::String(_)) => {}
            Some(_) => complaints.push(format!("{field} isn't string type")),
        }
    }
    match complaints.len() {
        0 => Ok(()),
        1 => Err(complaints.remove(0)),
        _ => Err(format!("[{}]", complaints.join(", "))),
    }
}

fn flatten(
    object: Value,
    origin: &Arc<Origin>,
    found: &mut Vec<Result<Document, Failure>>,
) -> Result<(), String> {
    let source = &origin.name;
    let unable = |why: String| format!("error: unable to decode {source:?}: {why}\n");
    if !object.is_object() {
        let kind = match &object {
            Value::Array(_) => "array",
            Value::Number(_) => "number",
            other => resources::patch::print::go_type(other),
        };
        return Err(unable(format!(
            "json: cannot unmarshal {kind} into Go value of type unstructured.detector"
        )));
    }
    if object.kind().is_empty() {
        return Err(unable(format!("Object 'Kind' is missing in '{object}'")));
    }
    if object.api_version().is_empty() {
        return Err(unable(format!("Object 'apiVersion' is missing in '{object}'")));
    }
    if object.kind().ends_with("List") && object.get("items").is_some_and(Value::is_array) {
        for item in object.items(&["items"]) {
            flatten(item.clone(), origin, found)?;
        }
        return Ok(());
    }
    metadata(&object).map_err(unable)?;
    found.push(Ok(Document { object, source: source.clone(), origin: origin.clone() }));
    Ok(())
}

/// kubectl decodes the metadata of every object, whatever its kind.
fn metadata(object: &Value) -> Result<(), String> {
    let Some(definition) = resources::schema::definition("io.k8s.api.core.v1.Pod") else { return Ok(()) };
    let Some(metadata) = object.get("metadata") else { return Ok(()) };
    let mut bare = serde_json::json!({ "metadata": metadata });
    resources::schema::normalise(definition, &mut bare).map(drop)
}

/// Documents of a stream with the number of their first line (from 0).
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let is_separator =
            line.starts_with("---") && line[3..].trim_end().is_empty() || line.starts_with("--- ");
        if is_separator {
            documents.push((start_line, &text[start..at]));
            start = at + line.len();
            start_line = number + 1;
        }
        at += line.len();
    }
    documents.push((start_line, &text[start..]));
    documents
}

fn is_blank(document: &str) -> bool {
    document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// One document as a tree, with the errors of Go's readers.
pub fn parse(document: &str) -> Result<Value, String> {
    read_document(document).map(|(object, _)| object)
}

/// As [`parse`], with the complaint about duplicate keys.
fn read_document(document: &str) -> Result<(Value, Option<String>), String> {
    let is_json = document.trim_start().starts_with('{');
    let mut refused = None;
    if is_json {
        match serde_json::from_str::<Value>(document) {
            Ok(value) => return Ok((value, None)),
            Err(error) => refused = Some(error),
        }
    }
    match (resources::schema::yaml::to_tree(document.as_bytes()), refused) {
        (Ok(read), _) => Ok(read),
        (Err(_), Some(error)) => Err(json_error(document, &error)),
        (Err(error), None) => Err(go_yaml::error(document).unwrap_or(error)),
    }
}

/// `json: offset 43: invalid character …`: Go counts the bytes it has read.
fn json_error(document: &str, error: &serde_json::Error) -> String {
    let before: usize =
        document.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let words = resources::schema::go_json::syntax_error(document.as_bytes()).unwrap_or_default();
    format!("json: offset {}: {words}", before + error.column())
}
