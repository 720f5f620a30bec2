//! Values that the server refuses: of the wrong type, no quantity, missing, or against a rule.

use super::fields::{keys, path_of};
use super::{Hint, Subject, nearest};
use crate::manifest::locate::{self, Node, Place, Shape, Step};
use resources::schema::{Definition, Type};

/// About one cause of `… is invalid`: the field's path and what is said about it.
pub fn cause(subject: &Subject<'_>, path: &str, words: &str) -> Hint {
    let steps = locate::steps(path);
    let found = locate::find(subject.root, &steps);
    let leaf = match steps.last() {
        Some(Step::Key(name)) => name.as_str(),
        _ => path,
    };
    // A key says which field is meant; what is wrong is its value.
    let place = match (&found.node.shape, found.missing) {
        (Shape::Scalar { text, .. }, 0) if !text.is_empty() => found.node.place,
        _ => found.place,
    };
    let mend = if words.starts_with("Required value") {
        required(subject, path, leaf, words, found.missing)
    } else if let Some(known) = words.split("supported values: ").nth(1) {
        supported(words, known)
    } else if words.starts_with("Not found") {
        not_found(subject, &steps, words)
    } else if words.starts_with("Duplicate value") {
        "every one needs a name or number of its own: change this one".to_owned()
    } else if words.contains("RFC 1123") || words.contains("RFC 1035") {
        name(found.node.text().unwrap_or_default())
    } else if words.contains("more than 1 handler") {
        "a probe or hook has one handler: keep one of exec, httpGet, tcpSocket, grpc and sleep".to_owned()
    } else if words.contains("must be less than or equal to") {
        format!("lower the request or raise the limit: it {}", words.rsplit(": ").next().unwrap_or(words))
    } else if words.contains("between 1 and 65535") {
        "ports are numbers from 1 to 65535".to_owned()
    } else {
        let rule = words.splitn(3, ": ").nth(2).or(words.split_once(": ").map(|(_, rest)| rest));
        format!("change this: {}; see `{}`", rule.unwrap_or(words), subject.explain(path))
    };
    Hint::new(place, mend)
}

/// What is written where something is missing.
const EXAMPLES: [(&str, &str); 9] = [
    ("spec.containers", "a list of containers: `containers:`, and below it `- name: web` and `image: nginx`"),
    ("image", "`image: NAME:TAG`, such as `image: nginx:1.14`"),
    ("metadata.name", "`name: web` under `metadata:`"),
    ("name", "`name: web`"),
    ("mountPath", "`mountPath: /data`: where the volume is to be seen"),
    ("containerPort", "`containerPort: 80`"),
    ("port", "`port: 80`"),
    ("path", "`path: /`"),
    ("selector", "`selector:` with the labels of the Pods"),
];

fn required(subject: &Subject<'_>, path: &str, leaf: &str, words: &str, missing: usize) -> String {
    if words.contains("handler type") {
        return "say how to probe: add `httpGet:`, `exec:`, `tcpSocket:` or `grpc:` below it".to_owned();
    }
    let own =
        EXAMPLES.iter().find(|(name, _)| *name == path).or(EXAMPLES.iter().find(|(name, _)| *name == leaf));
    let example = own.map_or_else(|| format!("{leaf:?}"), |(_, text)| (*text).to_owned());
    if missing == 0 {
        return format!("this is empty: give it a value, {example}");
    }
    match own {
        Some(_) => format!("add {example}"),
        None => format!("add {example} here; see `{}`", subject.explain(path)),
    }
}

/// The value in quotes after the first colon.
fn quoted(words: &str) -> &str {
    words.split('"').nth(1).unwrap_or_default()
}

fn supported(words: &str, known: &str) -> String {
    let own = quoted(words);
    let known: Vec<&str> = known.split('"').skip(1).step_by(2).collect();
    match nearest(own, known.iter().copied()) {
        Some(near) if near.eq_ignore_ascii_case(own) => format!("write {near:?}: capital letters matter"),
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("write one of {}", known.join(", ")),
    }
}

fn not_found(subject: &Subject<'_>, steps: &[Step], words: &str) -> String {
    let own = quoted(words);
    let is_mount = steps.iter().any(|step| matches!(step, Step::Key(name) if name.starts_with("volume")));
    if !is_mount {
        return format!("nothing of the name {own:?} is in this file: correct the name, or add it");
    }
    let names: Vec<&str> = locate::all(subject.root, &["spec", "volumes", "name"])
        .into_iter()
        .filter_map(|(_, node)| node.text())
        .collect();
    match nearest(own, names.iter().copied()) {
        Some(near) => format!("the volumes have no {own:?}: did you mean {near:?}?"),
        None if names.is_empty() => {
            format!(
                "add the volume: `volumes:` under spec, and below it `- name: {own}` and `emptyDir: {{}}`"
            )
        }
        None => format!("the volumes are {}: use one of them, or add `- name: {own}`", names.join(", ")),
    }
}

/// A name as DNS takes it.
fn name(own: &str) -> String {
    let fit: String = own
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '-' })
        .collect();
    let fit = fit.trim_matches(['-', '.']);
    let rule = "names are small letters, digits and dashes";
    if fit.is_empty() { rule.to_owned() } else { format!("{rule}: write {fit:?}") }
}

/// About `json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string`.
pub fn wrong_type(subject: &Subject<'_>, message: &str) -> Vec<Hint> {
    let parts = message.split_once("cannot unmarshal ").and_then(|(_, rest)| {
        let (own, rest) = rest.split_once(" into Go struct field ")?;
        let (field, wanted) = rest.split_once(" of type ")?;
        Some((own, field, wanted.split([' ', ';', ',']).next().unwrap_or(wanted)))
    });
    let Some((own, field, wanted)) = parts else { return Vec::new() };
    // In front stands Go's struct, and embedded structs in between: fields of JSON begin with small letters.
    let names: Vec<&str> =
        field.split('.').skip(1).filter(|name| !name.starts_with(char::is_uppercase)).collect();
    let found = locate::all(subject.root, &names);
    let mut hints = Vec::new();
    for (place, node) in found {
        let mut wrong: Vec<(Place, &Node)> = Vec::new();
        if node.json_type() == own {
            wrong.push((place, node));
        } else if let Shape::List(list) = &node.shape {
            wrong.extend(
                list.iter().filter(|entry| entry.json_type() == own).map(|entry| (entry.place, entry)),
            );
        } else if let Shape::Map(entries) = &node.shape {
            let values = entries.iter().map(|(_, _, value)| value);
            wrong.extend(values.filter(|value| value.json_type() == own).map(|value| (value.place, value)));
        }
        for (place, node) in wrong {
            let place = if node.text().is_some() { node.place } else { place };
            hints.push(Hint::new(place, right_type(subject, &names, node, own, wanted)));
        }
    }
    hints
}

fn right_type(subject: &Subject<'_>, names: &[&str], node: &Node, own: &str, wanted: &str) -> String {
    let text = node.text().unwrap_or_default();
    let leaf = names.last().copied().unwrap_or_default();
    match (own, wanted) {
        ("number" | "bool", "string") => format!("this must be text: put it in quotes, {text:?}"),
        ("string", "int32" | "int64" | "float64") => match text.parse::<i64>() {
            Ok(number) => format!("this must be a number: write {number} without quotes"),
            Err(_) => "this must be a number".to_owned(),
        },
        ("string", "bool") => "this must be true or false, without quotes".to_owned(),
        ("string" | "number" | "bool", "[]string") => {
            let words: Vec<String> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
            format!("this is a list: write `{leaf}: [{}]`", words.join(", "))
        }
        ("object", list) if list.starts_with("[]") => as_list(node, leaf),
        ("array", _) => format!("{leaf:?} is no list: write `key: value` lines below it, without dashes"),
        ("string", ty) if ty.ends_with("ContainerPort") => {
            let port = text.rsplit(':').next().unwrap_or(text);
            format!(
                "write `- containerPort: {port}`; ports of the node are `hostPort`, or `carob port-forward`"
            )
        }
        ("string", ty) if ty.ends_with("EnvVar") => match text.split_once(['=', ':']) {
            Some((name, value)) => {
                format!("write `- name: {}` and below it `value: {:?}`", name.trim(), value.trim())
            }
            None => format!("write `- name: {text}` and below it `value: …`"),
        },
        ("bool" | "string" | "number" | "null", ty) if is_optional_struct(ty) => format!(
            "this has fields of its own: write `{leaf}: {{}}` for the defaults, or see `{}`",
            subject.explain(&path_of(&locate::steps(&names.join("."))))
        ),
        _ => format!("this is of type {own}; see `{}`", subject.explain(&names.join("."))),
    }
}

fn is_optional_struct(ty: &str) -> bool {
    ty.starts_with("v1.") && !ty.ends_with("Time")
}

fn as_list(node: &Node, leaf: &str) -> String {
    match (keys(node).as_slice(), leaf, &node.shape) {
        ([first, ..], "env", Shape::Map(entries)) if *first != "name" => {
            let value = entries.first().and_then(|(_, _, value)| value.text()).unwrap_or_default();
            format!("this is a list: write `- name: {first}` and below it `value: {value:?}`")
        }
        ([first, ..], _, _) => {
            format!("{leaf:?} is a list: put a dash and a space before {first:?}, and indent the rest as it")
        }
        ([], _, _) => format!("{leaf:?} is a list: begin each entry with a dash and a space"),
    }
}

/// Texts that stand where quantities do, and are none.
pub fn quantities(subject: &Subject<'_>) -> Vec<Hint> {
    let mut hints = Vec::new();
    if let Some(definition) = subject.definition {
        walk(definition, subject.root, &mut hints);
    }
    hints
}

fn walk(definition: &'static Definition, node: &Node, hints: &mut Vec<Hint>) {
    let Shape::Map(entries) = &node.shape else { return };
    for (key, _, value) in entries {
        if let Some(field) = definition.field(key) {
            walk_type(field.ty, value, hints);
        }
    }
}

fn walk_type(ty: Type, node: &Node, hints: &mut Vec<Hint>) {
    match (ty, &node.shape) {
        (Type::List(of), Shape::List(list)) => list.iter().for_each(|entry| walk_type(*of, entry, hints)),
        (Type::Map(of), Shape::Map(entries)) => {
            entries.iter().for_each(|(_, _, value)| walk_type(*of, value, hints));
        }
        (Type::Quantity, Shape::Scalar { text, .. }) if model::quantity::Quantity::parse(text).is_err() => {
            hints.push(Hint::new(node.place, quantity(text)));
        }
        (other, _) => {
            if let Some(definition) = other.definition() {
                walk(definition, node, hints);
            }
        }
    }
}

/// What was meant by a quantity.
fn quantity(text: &str) -> String {
    const UNITS: [(&str, &str); 14] = [
        ("", ""),
        ("m", "m"),
        ("k", "k"),
        ("kb", "k"),
        ("mb", "M"),
        ("gb", "G"),
        ("tb", "T"),
        ("kib", "Ki"),
        ("mib", "Mi"),
        ("gib", "Gi"),
        ("ki", "Ki"),
        ("mi", "Mi"),
        ("gi", "Gi"),
        ("ti", "Ti"),
    ];
    let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let end = bare.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bare.len());
    let (number, unit) = bare.split_at(end);
    let known = UNITS.iter().find(|(own, _)| unit.to_lowercase() == *own);
    match known {
        Some((_, unit)) if !number.is_empty() => {
            let two = if matches!(*unit, "k" | "M" | "G" | "T") {
                let binary = if *unit == "k" { "K" } else { unit };
                format!(" (or \"{number}{binary}i\", in steps of 1024)")
            } else {
                String::new()
            };
            format!("write \"{number}{unit}\"{two}: a number and a unit without space")
        }
        _ => "write a number with a unit: 500m of a CPU, 64Mi or 1Gi of memory".to_owned(),
    }
}
