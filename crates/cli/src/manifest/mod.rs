//! Objects out of files: directories, several documents, JSON lists, standard input; kubectl's errors about them.

pub mod diagnose;
mod go_yaml;

use std::path::{Path, PathBuf};

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
        if name.starts_with("http://") || name.starts_with("https://") {
            return Err(message(format!(
                "{name}: reading manifests from the network is not supported; download the file first"
            )));
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

/// The documents of a source, lists taken apart. What is wrong with it is kubectl's text; called as `carob`, the place
/// and the mend follow.
pub fn documents(context: &Context, source: &Source) -> Result<Vec<Document>, Failure> {
    let text = String::from_utf8_lossy(&source.bytes);
    let mut objects = Vec::new();
    for (first_line, document) in split(&text) {
        if is_blank(document) {
            continue;
        }
        match parse(document) {
            Ok(Value::Null) => {}
            Ok(object) => objects.push(object),
            Err(error) => {
                let mut text = format!("error: error parsing {}: {error}\n", source.name);
                if !context.is_kubectl() {
                    text.push_str(&diagnose::syntax(&source.name, &source_text(source), first_line, &error));
                }
                return Err(Failure::Plain(text));
            }
        }
    }
    let mut found = Vec::new();
    for object in objects {
        flatten(object, &source.name, &mut found)?;
    }
    Ok(found)
}

fn source_text(source: &Source) -> String {
    String::from_utf8_lossy(&source.bytes).into_owned()
}

fn flatten(object: Value, source: &str, found: &mut Vec<Document>) -> Result<(), Failure> {
    let unable = |why: &str, object: &Value| {
        message(format!("unable to decode {source:?}: Object '{}' is missing in '{object}'", why))
    };
    if !object.is_object() {
        let words = "json: cannot unmarshal";
        return Err(message(format!(
            "unable to decode {source:?}: {words} {} into Go value of type struct",
            resources::patch::print::go_type(&object)
        )));
    }
    if object.kind().is_empty() {
        return Err(unable("Kind", &object));
    }
    if object.api_version().is_empty() {
        return Err(unable("apiVersion", &object));
    }
    if object.kind().ends_with("List") && object.get("items").is_some_and(Value::is_array) {
        for item in object.items(&["items"]) {
            flatten(item.clone(), source, found)?;
        }
        return Ok(());
    }
    found.push(Document { object, source: source.to_owned() });
    Ok(())
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

/// One document as a tree, with go-yaml's errors.
pub fn parse(document: &str) -> Result<Value, String> {
    if document.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(document)
    {
        return Ok(value);
    }
    match resources::schema::yaml::to_tree(document.as_bytes()) {
        Ok((value, _)) => Ok(value),
        Err(error) => Err(go_yaml::error(document).unwrap_or(error)),
    }
}
