//! For people who called the program `carob`: where in the file a manifest is wrong, what stands there, and how to mend
//! it. kubectl's own message comes first, unchanged.

use resources::schema::Definition;
use serde_json::Value;

use super::go_yaml;

/// A place in a file with a remedy, as it is printed.
fn place(file: &str, line: usize, column: usize, text: &str, mend: &str) -> String {
    let number = line.to_string();
    let pad = " ".repeat(number.len());
    let caret: String =
        text.chars().take(column.saturating_sub(1)).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!(
        "{pad} --> {file}:{line}:{column}\n{pad} |\n{number} | {text}\n{pad} | {caret}^\n{pad} = mend: {mend}\n"
    )
}

/// About text that is no YAML. `first_line`: the document's first line in the file, from 0.
pub fn syntax(file: &str, text: &str, first_line: usize, error: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let document: String = lines.iter().skip(first_line).map(|line| format!("{line}\n")).collect();
    let (line, column) = match go_yaml::find(&document) {
        Some(mistake) => (mistake.line + first_line, mistake.column),
        None => (told_line(error).unwrap_or(1) + first_line, 1),
    };
    // The line before may hold the cause: a dash without a space makes the next line's colon wrong.
    for at in [line, line.saturating_sub(1)] {
        let Some(own) = at.checked_sub(1).and_then(|at| lines.get(at)) else { continue };
        if let Some((column, mend)) = remedy(own) {
            return place(file, at, column, own, &mend);
        }
    }
    let own = lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
    let mend = if error.contains("could not find expected ':'") {
        format!("put a colon after {:?}", own.trim())
    } else if error.contains("mapping values are not allowed") {
        "indent this key as its neighbours are, or put its value in quotes if it holds a colon".to_owned()
    } else {
        "check indentation, quotes and brackets here and in the line before".to_owned()
    };
    place(file, line, column, own, &mend)
}

fn told_line(error: &str) -> Option<usize> {
    let rest = &error[error.find("line ")? + 5..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// What one line alone shows.
fn remedy(line: &str) -> Option<(usize, String)> {
    let indent = line.len() - line.trim_start().len();
    if let Some(tab) = line[..indent].find('\t') {
        return Some((
            tab + 1,
            "YAML is indented with spaces: replace the tab with two spaces per level".into(),
        ));
    }
    let body = &line[indent..];
    let after = body.strip_prefix('-')?;
    let dash_alone = after.starts_with(|c: char| c.is_ascii_alphabetic()) && after.contains(':');
    dash_alone.then(|| (indent + 2, format!("put a space after the dash: {:?}", format!("- {after}"))))
}

/// About a field that the schema does not have: `path` as the server tells it (`spec.containers[0].imag`).
pub fn unknown_field(
    file: &str,
    text: &str,
    object: &Value,
    definition: Option<&'static Definition>,
    path: &str,
) -> String {
    let steps: Vec<String> = steps(path);
    let Some((name, parents)) = steps.split_last() else { return String::new() };
    let nearest = definition.and_then(|definition| {
        let owner = owner(definition, parents)?;
        nearest(name, owner.fields.iter().map(|field| field.name)).map(str::to_owned)
    });
    let elsewhere = definition.and_then(|definition| right_depth(definition, parents, name));
    let mend = match (nearest, elsewhere) {
        (Some(known), _) => format!("did you mean {known:?}?"),
        (None, Some(place)) => format!("{name:?} belongs in {place}: check the indentation"),
        (None, None) => format!(
            "no field {name:?} is known here: remove it, or see `carob explain {}`",
            explain_path(object, parents)
        ),
    };
    let found = text.lines().enumerate().find(|(_, line)| {
        let body = line.trim_start().trim_start_matches("- ");
        body.starts_with(&format!("{name}:"))
            || body.contains(&format!(" {name}:"))
            || body.contains(&format!("{{{name}:"))
    });
    match found {
        Some((at, line)) => {
            let column = line.find(name.as_str()).map_or(1, |at| line[..at].chars().count() + 1);
            place(file, at + 1, column, line, &mend)
        }
        None => format!("mend ({file}, {path}): {mend}\n"),
    }
}

fn explain_path(object: &Value, parents: &[String]) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let fields: Vec<&str> = parents.iter().map(|step| step.split('[').next().unwrap_or(step)).collect();
    std::iter::once(kind.as_str()).chain(fields).collect::<Vec<_>>().join(".")
}

fn steps(path: &str) -> Vec<String> {
    path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
}

fn owner(definition: &'static Definition, parents: &[String]) -> Option<&'static Definition> {
    parents.iter().try_fold(definition, |own, step| {
        let name = step.split('[').next().unwrap_or(step);
        own.field(name)?.ty.innermost()
    })
}

/// A place one level up or down where the field would be known.
fn right_depth(definition: &'static Definition, parents: &[String], name: &str) -> Option<String> {
    for length in (0..parents.len()).rev() {
        if owner(definition, &parents[..length])?.field(name).is_some() {
            let place = parents[..length].join(".");
            return Some(if place.is_empty() { "the top level".into() } else { format!("{place:?}") });
        }
    }
    let own = owner(definition, parents)?;
    let below = own
        .fields
        .iter()
        .find(|field| field.ty.innermost().is_some_and(|inner| inner.field(name).is_some()))?;
    let path: Vec<&str> = parents.iter().map(String::as_str).chain([below.name]).collect();
    Some(format!("{:?}", path.join(".")))
}

/// The known name within a third of the letters.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|other| (distance(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// Levenshtein's distance.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            let change = if c == *other { diagonal } else { diagonal + 1 };
            row[j + 1] = change.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn broken_manifests_come_with_a_mend() {
        for (text, line, mend) in [
            ("a:\n\tb: c\n", ":2:1", "replace the tab"),
            (
                "spec:\n containers:\n -name: x\n  image: y\n",
                ":3:3",
                "put a space after the dash: \"- name: x\"",
            ),
            ("- a: b\n  ports\n  - c: 1\n", ":2:3", "put a colon after \"ports\""),
        ] {
            let error = super::super::parse(text).unwrap_err();
            let told = syntax("f.yaml", text, 0, &error);
            assert!(told.contains(&format!("f.yaml{line}")) && told.contains(mend), "{told}");
        }
    }

    #[test]
    fn unknown_fields_come_with_the_nearest_name() {
        let pod = resources::schema::definition("io.k8s.api.core.v1.Pod");
        let object = json!({"kind": "Pod"});
        for (path, text, want) in [
            ("spec.containers[0].imag", "  - imag: x\n", "did you mean \"image\"?"),
            (
                "spec.containers[0].livenessProbe.initalDelaySeconds",
                "x: {initalDelaySeconds: 5}\n",
                "\"initialDelaySeconds\"",
            ),
            ("containers", "containers:\n", "belongs in \"spec\""),
            (
                "spec.containers[0].restartPolicyy",
                "    restartPolicyy: Never\n",
                "did you mean \"restartPolicy\"?",
            ),
        ] {
            let told = unknown_field("f.yaml", text, &object, pod, path);
            assert!(told.contains(want), "{told}");
        }
    }
}
