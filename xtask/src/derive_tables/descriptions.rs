//! What fields are for, in upstream's words: from the comments of the crate `k8s-openapi` (Apache-2.0), which carries them
//! per type and field. They go into one compressed file that the OpenAPI documents are made with.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

/// The module of the version that is served.
const MODULE: &str = "src/v1_36";
/// A type whose `kind` and `apiVersion` have comments; all others' are the same.
const WITH_TYPE_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";

/// A type's comment and its fields'.
#[derive(Default)]
struct Documented {
    own: String,
    fields: HashMap<String, String>,
}

/// Makes the file: deflated; inside, the texts, each once and ended by a zero byte, after their number (`u16`), then for
/// every definition the numbers (`u16`) of its own text and of its fields'. Numbers are little-endian. Text 0 is empty.
///
/// `definitions` gives names and fields in the table's order.
pub fn render<'a>(definitions: impl Iterator<Item = (&'a str, Vec<&'a str>)>) -> anyhow::Result<Vec<u8>> {
    let mut types = HashMap::new();
    read_folder(&source()?.join(MODULE), &mut types)?;
    let meta = types.get(WITH_TYPE_META).context("k8s-openapi has no DeleteOptions")?;
    let shared: HashMap<String, String> = meta.fields.clone();
    let mut texts: Vec<String> = vec![String::new()];
    let mut places: BTreeMap<String, u16> = BTreeMap::from([(String::new(), 0)]);
    let mut numbers = Vec::new();
    let mut put = |text: &str| -> anyhow::Result<()> {
        let next = u16::try_from(places.len())?;
        let number = *places.entry(text.to_owned()).or_insert_with(|| {
            texts.push(text.to_owned());
            next
        });
        numbers.extend_from_slice(&number.to_le_bytes());
        Ok(())
    };
    let none = Documented::default();
    for (name, fields) in definitions {
        let documented = types.get(name).unwrap_or(&none);
        put(&documented.own)?;
        for field in fields {
            let of_meta = || shared.get(field).filter(|_| matches!(field, "kind" | "apiVersion"));
            put(documented.fields.get(field).or_else(of_meta).map_or("", String::as_str))?;
        }
    }
    let mut plain = u16::try_from(texts.len())?.to_le_bytes().to_vec();
    for text in &texts {
        plain.extend_from_slice(text.as_bytes());
        plain.push(0);
    }
    plain.extend_from_slice(&numbers);
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&plain)?;
    Ok(encoder.finish()?)
}

/// Where cargo keeps the crate's source.
fn source() -> anyhow::Result<PathBuf> {
    let mut command = std::process::Command::new("cargo");
    let output = command.args(["metadata", "--format-version", "1", "--locked"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package =
        packages.find(|package| package["name"] == "k8s-openapi").context("no crate k8s-openapi")?;
    let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    Ok(manifest.parent().context("k8s-openapi has no folder")?.to_owned())
}

fn read_folder(folder: &Path, types: &mut HashMap<String, Documented>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            read_folder(&path, types)?;
        } else {
            let text = std::fs::read_to_string(&path)?;
            if let Some((name, documented)) = read_type(&text) {
                types.insert(name.to_owned(), documented);
            }
        }
    }
    if types.is_empty() {
        bail!("{} has no types", folder.display());
    }
    Ok(())
}

/// Reads one file: a type, its comment and its fields' comments, which stand before `pub name: Type`.
fn read_type(text: &str) -> Option<(&str, Documented)> {
    let name = text.lines().next()?.strip_prefix("// Generated from definition ")?.trim();
    let mut documented = Documented::default();
    let mut comment: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(rest) = trimmed.strip_prefix("///") {
            comment.push(unescape(rest.strip_prefix(' ').unwrap_or(rest)));
        } else if !inside && (trimmed.starts_with("pub struct ") || trimmed.starts_with("pub enum ")) {
            documented.own = std::mem::take(&mut comment).join("\n");
            inside = true;
        } else if let (true, Some(rest)) = (inside, trimmed.strip_prefix("pub ")) {
            if let Some((field, _)) = rest.split_once(": ") {
                let comment = std::mem::take(&mut comment).join("\n");
                documented.fields.insert(json_name(text, field), comment);
            }
        } else if inside && line.starts_with('}') {
            break;
        }
    }
    Some((name, documented))
}

/// The name in JSON of a Rust field, as the type's own reader has it.
fn json_name(text: &str, field: &str) -> String {
    let field = field.trim_start_matches("r#");
    let arm = format!(" => Field::Key_{field},");
    let line = text.lines().find_map(|line| line.trim().strip_suffix(arm.trim_start()));
    line.map_or_else(|| field.to_owned(), |line| line.trim().trim_matches('"').to_owned())
}

/// Takes back what was escaped for rustdoc.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letter == '\\' && letters.peek().is_some_and(|next| "[]<>*_`".contains(*next));
        if !escaped {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_with_their_names() {
        let text = "// Generated from definition io.k8s.T\n\n/// A type \\[x\\].\n#[derive(Debug)]\npub struct T {\n    \
                    /// First.\n    ///\n    /// Second.\n    pub r#type: Option<String>,\n\n    pub host_ip: i32,\n}\n\
                    \"hostIP\" => Field::Key_host_ip,\n\"type\" => Field::Key_type,\n";
        let (name, documented) = read_type(text).unwrap();
        assert_eq!((name, documented.own.as_str()), ("io.k8s.T", "A type [x]."));
        assert_eq!(documented.fields["type"], "First.\n\nSecond.");
        assert_eq!(documented.fields["hostIP"], "");
        assert!(read_type("//! no type").is_none());
    }
}
