//! Walking values along paths.

use std::cell::Cell;
use std::cmp::Ordering;

use serde_json::Value;

use super::{Node, Step};

/// Deepest recursion of `..`.
const DEPTH_MAX: usize = 200;

/// Values that a template may come by. Ranges and `..` multiply them; what is meant needs few for each value there is.
const VALUES_MAX: usize = 1 << 22;

/// One evaluation.
struct Walker<'v> {
    root: &'v Value,
    /// Fields that are missing are passed over.
    missing: bool,
    /// How many more values it may come by.
    left: Cell<usize>,
}

impl<'v> Walker<'v> {
    fn new(root: &'v Value, missing: bool) -> Self {
        Self { root, missing, left: Cell::new(VALUES_MAX) }
    }
}

/// The output of a template.
pub(super) fn print(nodes: &[Node], value: &Value, allow_missing: bool) -> Result<String, String> {
    let mut out = String::new();
    Walker::new(value, allow_missing).write(nodes, value, &mut out)?;
    Ok(out)
}

/// The values of every path.
pub(super) fn values(nodes: &[Node], value: &Value, missing: bool) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    Walker::new(value, missing).values(nodes, value, &mut found)?;
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

impl<'v> Walker<'v> {
    fn write(&self, nodes: &'v [Node], current: &'v Value, out: &mut String) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Path(steps) => {
                    let texts: Vec<String> =
                        self.walk(steps, current, self.missing)?.into_iter().map(text).collect();
                    out.push_str(&texts.join(" "));
                }
                Node::Range(steps, body) => {
                    for value in self.walk(steps, current, self.missing)? {
                        self.write(body, value, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// All paths start from the whole value, within ranges from what is ranged over.
    fn values(&self, nodes: &'v [Node], current: &'v Value, found: &mut Vec<Value>) -> Result<(), String> {
        for node in nodes {
            match node {
                Node::Text(_) => {}
                Node::Path(steps) => {
                    found.extend(self.walk(steps, current, self.missing)?.into_iter().cloned());
                }
                Node::Range(steps, body) => {
                    for inner in self.walk(steps, current, self.missing)? {
                        self.values(body, inner, found)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn walk(&self, steps: &'v [Step], current: &'v Value, missing: bool) -> Result<Vec<&'v Value>, String> {
        let mut found = vec![current];
        for step in steps {
            let mut next = Vec::new();
            for value in &found {
                let before = next.len();
                self.one(step, value, missing, &mut next)?;
                self.count(next.len() - before)?;
            }
            found = next;
        }
        Ok(found)
    }

    fn count(&self, more: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(more + 1);
        self.left.set(left.ok_or_else(|| format!("the template leads to more than {VALUES_MAX} values"))?);
        Ok(())
    }

    fn one(
        &self,
        step: &'v Step,
        value: &'v Value,
        missing: bool,
        next: &mut Vec<&'v Value>,
    ) -> Result<(), String> {
        match step {
            Step::Root => next.push(self.root),
            Step::Current => next.push(value),
            Step::Literal(literal) => next.push(literal),
            Step::Field(name) => match value {
                Value::Object(map) => match map.get(name) {
                    Some(inner) => next.push(inner),
                    None if missing => {}
                    None => return Err(format!("{name} is not found")),
                },
                _ if missing => {}
                _ => return Err(format!("{name} is not found")),
            },
            Step::Wildcard => match value {
                Value::Object(map) => next.extend(map.values()),
                Value::Array(list) => next.extend(list),
                _ => {}
            },
            Step::Recursive => below(value, DEPTH_MAX, next),
            Step::Slice { from, to, step, single } => {
                slice(value, (*from, *to, *step, *single), missing, next)?;
            }
            Step::Union(paths) => {
                for path in paths {
                    next.extend(self.walk(path, value, missing)?);
                }
            }
            Step::Filter { left, operator, right } => {
                let items: Vec<&Value> = match value {
                    Value::Array(list) => list.iter().collect(),
                    Value::Object(map) => map.values().collect(),
                    _ => Vec::new(),
                };
                for item in items {
                    if self.holds(left, operator, right, item)? {
                        next.push(item);
                    }
                }
            }
        }
        Ok(())
    }

    fn holds(
        &self,
        left: &'v [Step],
        operator: &str,
        right: &'v [Step],
        item: &'v Value,
    ) -> Result<bool, String> {
        let left = self.walk(left, item, true)?;
        if operator == "exists" {
            return Ok(!left.is_empty());
        }
        let right = self.walk(right, item, true)?;
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
}

fn below<'v>(value: &'v Value, depth: usize, next: &mut Vec<&'v Value>) {
    if depth == 0 {
        return;
    }
    next.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|inner| below(inner, depth - 1, next)),
        Value::Array(list) => list.iter().for_each(|inner| below(inner, depth - 1, next)),
        _ => {}
    }
}

type Range = (Option<i64>, Option<i64>, Option<i64>, bool);

fn slice<'v>(
    value: &'v Value,
    (from, to, step, single): Range,
    missing: bool,
    next: &mut Vec<&'v Value>,
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
                next.push(inner);
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
        next.push(&list[at as usize]);
        at += step;
    }
    Ok(())
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (left, right) => Some(text(left).cmp(&text(right))),
    }
}
