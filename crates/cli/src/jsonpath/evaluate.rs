//! Walking values along paths.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Node, Step};

/// Deepest recursion of `..`.
const DEPTH_MAX: usize = 200;

/// The output of a template.
pub(super) fn print(nodes: &[Node], value: &Value, allow_missing: bool) -> Result<String, String> {
    let mut out = String::new();
    write(nodes, value, value, allow_missing, &mut out)?;
    Ok(out)
}

fn write(
    nodes: &[Node],
    root: &Value,
    current: &Value,
    missing: bool,
    out: &mut String,
) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                let texts: Vec<String> = walk(steps, root, current, missing)?.iter().map(text).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(steps, body) => {
                for value in walk(steps, root, current, missing)? {
                    write(body, root, &value, missing, out)?;
                }
            }
        }
    }
    Ok(())
}

/// The values of every path.
pub(super) fn values(nodes: &[Node], value: &Value, missing: bool) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Path(steps) => found.extend(walk(steps, value, value, missing)?),
            Node::Range(steps, body) => {
                for inner in walk(steps, value, value, missing)? {
                    found.extend(values(body, &inner, missing)?);
                }
            }
        }
    }
    Ok(found)
}

/// A value as printed: strings bare, maps and lists as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".into(),
        Value::Number(number) => crate::yaml_number(number),
        other => other.to_string(),
    }
}

fn walk(steps: &[Step], root: &Value, current: &Value, missing: bool) -> Result<Vec<Value>, String> {
    let mut found = vec![current.clone()];
    for step in steps {
        let mut next = Vec::new();
        for value in &found {
            one(step, root, value, missing, &mut next)?;
        }
        found = next;
    }
    Ok(found)
}

fn one(step: &Step, root: &Value, value: &Value, missing: bool, next: &mut Vec<Value>) -> Result<(), String> {
    match step {
        Step::Root => next.push(root.clone()),
        Step::Current => next.push(value.clone()),
        Step::Literal(literal) => next.push(literal.clone()),
        Step::Field(name) => match value {
            Value::Object(map) => match map.get(name) {
                Some(inner) => next.push(inner.clone()),
                None if missing => {}
                None => return Err(format!("{name} is not found")),
            },
            _ if missing => {}
            _ => return Err(format!("{name} is not found")),
        },
        Step::Wildcard => match value {
            Value::Object(map) => next.extend(map.values().cloned()),
            Value::Array(list) => next.extend(list.iter().cloned()),
            _ => {}
        },
        Step::Recursive => below(value, DEPTH_MAX, next),
        Step::Slice { from, to, step, single } => slice(value, (*from, *to, *step, *single), missing, next)?,
        Step::Union(paths) => {
            for path in paths {
                next.extend(walk(path, root, value, missing)?);
            }
        }
        Step::Filter { left, operator, right } => {
            let items: Vec<&Value> = match value {
                Value::Array(list) => list.iter().collect(),
                Value::Object(map) => map.values().collect(),
                _ => Vec::new(),
            };
            for item in items {
                if holds(left, operator, right, root, item)? {
                    next.push(item.clone());
                }
            }
        }
    }
    Ok(())
}

fn below(value: &Value, depth: usize, next: &mut Vec<Value>) {
    if depth == 0 {
        return;
    }
    next.push(value.clone());
    match value {
        Value::Object(map) => map.values().for_each(|inner| below(inner, depth - 1, next)),
        Value::Array(list) => list.iter().for_each(|inner| below(inner, depth - 1, next)),
        _ => {}
    }
}

type Range = (Option<i64>, Option<i64>, Option<i64>, bool);

fn slice(
    value: &Value,
    (from, to, step, single): Range,
    missing: bool,
    next: &mut Vec<Value>,
) -> Result<(), String> {
    let Value::Array(list) = value else {
        return if missing { Ok(()) } else { Err(format!("{} is not array or slice", text(value))) };
    };
    let length = list.len() as i64;
    let place = |at: i64| if at < 0 { at + length } else { at };
    if single {
        let at = from.unwrap_or(0);
        return match usize::try_from(place(at)).ok().and_then(|at| list.get(at)) {
            Some(inner) => {
                next.push(inner.clone());
                Ok(())
            }
            None if missing => Ok(()),
            None => Err(format!("array index out of bounds: index {at}, length {length}")),
        };
    }
    let from = place(from.unwrap_or(0)).clamp(0, length);
    let to = place(to.unwrap_or(length)).clamp(0, length);
    let step = step.unwrap_or(1).max(1);
    let mut at = from;
    while at < to {
        next.push(list[at as usize].clone());
        at += step;
    }
    Ok(())
}

fn holds(left: &[Step], operator: &str, right: &[Step], root: &Value, item: &Value) -> Result<bool, String> {
    let left = walk(left, root, item, true)?;
    if operator == "exists" {
        return Ok(!left.is_empty());
    }
    let right = walk(right, root, item, true)?;
    let ([left], [right]) = (left.as_slice(), right.as_slice()) else { return Ok(false) };
    let order = compare(left, right);
    Ok(match operator {
        "==" => order == Some(Ordering::Equal),
        "!=" => order != Some(Ordering::Equal),
        "<" => order == Some(Ordering::Less),
        ">" => order == Some(Ordering::Greater),
        "<=" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        ">=" => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        _ => return Err(format!("unrecognized filter operator {operator}")),
    })
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (left, right) => Some(text(left).cmp(&text(right))),
    }
}
