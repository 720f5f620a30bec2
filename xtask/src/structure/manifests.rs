//! The examples are YAML and say what they are; they have no tabs and end with a line end.

use serde_json::Value;

use super::{Findings, Project};

pub(super) fn check(project: &Project) -> anyhow::Result<Findings> {
    let mut found = Findings::default();
    let is_manifest = |path: &str| path.ends_with(".yaml") || path.ends_with(".yml");
    let mut count = 0;
    for file in
        project.files.iter().filter(|file| file.path.starts_with("examples/") && is_manifest(&file.path))
    {
        let path = &file.path;
        count += 1;
        if !file.text.starts_with("# ") {
            found.breaches.push(format!("{path} does not open with a comment that says what it shows"));
        }
        if file.text.contains('\t') || !file.text.ends_with('\n') {
            found.breaches.push(format!("{path} has tabs, or no line end at its end"));
        }
        match serde_saphyr::from_multiple::<Value>(&file.text) {
            Ok(documents) if documents.is_empty() => found.breaches.push(format!("{path} is empty")),
            Ok(documents) => found.breaches.extend(documents.iter().filter_map(|own| {
                let lacks =
                    |field: &str| own.pointer(field).and_then(Value::as_str).is_none_or(str::is_empty);
                let missing = ["/apiVersion", "/kind"].into_iter().find(|field| lacks(field))?;
                Some(format!("{path}: a document lacks {}", &missing[1..]))
            })),
            Err(error) => found.breaches.push(format!("{path}: {error}")),
        }
    }
    if count == 0 {
        found.breaches.push("there are no examples".into());
    }
    Ok(found)
}
