//! JSONPath as upstream reads it (k8s.io/client-go/util/jsonpath), the part without templates: fields, quoted fields,
//! indices, slices, wildcards, recursive descent and filters. Untrusted paths are bounded in length and results.

use serde_json::Value;

/// Longest path that is read.
const PATH_BYTES_MAX: usize = 4096;
/// Most results that a path may yield.
const RESULTS_MAX: usize = 100_000;

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Wildcard,
    Descend,
    Index(i64),
    Slice { from: Option<i64>, to: Option<i64>, step: i64 },
    Union(Vec<Step>),
    Filter { left: Operand, compare: Option<(Compare, Operand)> },
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Compare {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// A path that cannot be read: what and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read path {path:?}: {why}")]
pub struct PathError {
    path: String,
    why: String,
}

impl Path {
    /// Reads a path: `.spec.replicas`, `$.status.conditions[?(@.type=="Ready")].status`, with or without braces.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |why: String| PathError { path: text.chars().take(100).collect(), why };
        if text.len() > PATH_BYTES_MAX {
            return Err(fail("too long".into()));
        }
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(inner);
        let mut parser = Parser { text: inner, at: 0 };
        let steps = parser.steps().map_err(fail)?;
        Ok(Self(steps))
    }

    /// What the path finds, in order.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.apply(value, &mut next);
                next.truncate(RESULTS_MAX);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn apply<'v>(&self, value: &'v Value, found: &mut Vec<&'v Value>) {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => found.extend(map.get(name)),
            (Step::Wildcard, Value::Object(map)) => found.extend(map.values()),
            (Step::Wildcard, Value::Array(list)) => found.extend(list),
            (Step::Descend, _) => descend(value, found),
            (Step::Index(index), Value::Array(list)) => {
                found.extend(place(*index, list.len()).and_then(|at| list.get(at)))
            }
            (Step::Slice { from, to, step }, Value::Array(list)) => {
                let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
                let bound = |index: i64| if index < 0 { index + length } else { index }.clamp(0, length);
                let (from, to) = (bound(from.unwrap_or(0)), bound(to.unwrap_or(length)));
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
                let step = usize::try_from(*step).unwrap_or(1).max(1);
                found.extend(list.get(range).unwrap_or_default().iter().step_by(step));
            }
            (Step::Union(steps), _) => steps.iter().for_each(|step| step.apply(value, found)),
            (Step::Filter { left, compare }, Value::Array(list)) => {
                found.extend(list.iter().filter(|element| holds(left, compare.as_ref(), element)));
            }
            (Step::Filter { left, compare }, Value::Object(map)) => {
                found.extend(map.values().filter(|element| holds(left, compare.as_ref(), element)));
            }
            _ => {}
        }
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn descend<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    if found.len() >= RESULTS_MAX {
        return;
    }
    found.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| descend(value, found)),
        Value::Array(list) => list.iter().for_each(|value| descend(value, found)),
        _ => {}
    }
}

fn holds(left: &Operand, compare: Option<&(Compare, Operand)>, element: &Value) -> bool {
    let value = |operand: &Operand| match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(path) => path.find(element).first().map(|value| (*value).clone()),
    };
    let Some((compare, right)) = compare else { return value(left).is_some() };
    let (Some(left), Some(right)) = (value(left), value(right)) else { return false };
    let order = match (left.as_f64(), right.as_f64(), left.as_str(), right.as_str()) {
        (Some(left), Some(right), ..) => left.partial_cmp(&right),
        (_, _, Some(left), Some(right)) => Some(left.cmp(right)),
        _ => (left == right).then_some(std::cmp::Ordering::Equal),
    };
    match compare {
        Compare::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
        Compare::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
        Compare::Less => order.is_some_and(std::cmp::Ordering::is_lt),
        Compare::LessEqual => order.is_some_and(std::cmp::Ordering::is_le),
        Compare::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
        Compare::GreaterEqual => order.is_some_and(std::cmp::Ordering::is_ge),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn steps(&mut self) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        if self.rest().starts_with(['$', '@']) {
            self.at += 1;
        }
        while !self.rest().is_empty() {
            if self.rest().starts_with("..") {
                self.at += 2;
                steps.push(Step::Descend);
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.rest().starts_with('.') {
                self.at += 1;
                if !self.rest().is_empty() && !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.rest().starts_with('[') {
                steps.push(self.bracket()?);
            } else if steps.is_empty() {
                steps.push(self.name()?);
            } else {
                return Err(format!("unexpected {:?}", self.rest().chars().next().unwrap_or_default()));
            }
        }
        Ok(steps)
    }

    /// A field's name, in which a backslash takes the next character as it is.
    fn name(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut letters = self.rest().char_indices();
        let mut used = self.rest().len();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '.' | '[' => {
                    used = at;
                    break;
                }
                '\\' => name.extend(letters.next().map(|(_, letter)| letter)),
                ']' | '}' | '{' => return Err(format!("unexpected {letter:?}")),
                letter => name.push(letter),
            }
        }
        self.at += used;
        match name.as_str() {
            "" => Err("a field without a name".into()),
            "*" => Ok(Step::Wildcard),
            _ => Ok(Step::Field(name)),
        }
    }

    /// What stands between brackets.
    fn bracket(&mut self) -> Result<Step, String> {
        let end = closing(self.rest()).ok_or("unterminated array")?;
        let inner = self.rest()[1..end].trim().to_owned();
        self.at += end + 1;
        if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
            return filter_step(filter);
        }
        let parts: Vec<&str> = split_outside(&inner, ',');
        let mut steps: Vec<Step> =
            parts.into_iter().map(|part| element(part.trim())).collect::<Result<_, _>>()?;
        Ok(if steps.len() == 1 { steps.remove(0) } else { Step::Union(steps) })
    }
}

/// Place of the bracket that closes the first one, quotes and nesting respected.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(letter),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quote) = (Vec::new(), 0, None);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, letter) if letter == separator => {
                parts.push(&text[start..at]);
                start = at + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn element(text: &str) -> Result<Step, String> {
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(name) = quoted(text) {
        return Ok(Step::Field(name.to_owned()));
    }
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("invalid array index {text}"));
    let optional = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(Some) };
    match text.split(':').collect::<Vec<_>>().as_slice() {
        [index] => Ok(Step::Index(number(index)?)),
        [from, to] => Ok(Step::Slice { from: optional(from)?, to: optional(to)?, step: 1 }),
        [from, to, step] => {
            Ok(Step::Slice { from: optional(from)?, to: optional(to)?, step: optional(step)?.unwrap_or(1) })
        }
        _ => Err(format!("invalid array index {text}")),
    }
}

fn filter_step(text: &str) -> Result<Step, String> {
    const COMPARES: &[(&str, Compare)] = &[
        ("==", Compare::Equal),
        ("!=", Compare::NotEqual),
        ("<=", Compare::LessEqual),
        (">=", Compare::GreaterEqual),
        ("<", Compare::Less),
        (">", Compare::Greater),
    ];
    let mut quote = None;
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '=' | '!' | '<' | '>') => {
                let rest = &text[at..];
                let found = COMPARES.iter().find(|(sign, _)| rest.starts_with(sign));
                let (sign, compare) =
                    found.ok_or_else(|| format!("unrecognized filter operator in {text}"))?;
                let (left, right) = (&text[..at], &rest[sign.len()..]);
                return Ok(Step::Filter { left: operand(left)?, compare: Some((*compare, operand(right)?)) });
            }
            _ => {}
        }
    }
    Ok(Step::Filter { left: operand(text)?, compare: None })
}

fn operand(text: &str) -> Result<Operand, String> {
    let text = text.trim();
    if let Some(literal) = quoted(text) {
        return Ok(Operand::Literal(literal.into()));
    }
    if text.starts_with(['@', '$', '.']) {
        let mut parser = Parser { text, at: 0 };
        return Ok(Operand::Path(Path(parser.steps()?)));
    }
    serde_json::from_str(text).map(Operand::Literal).map_err(|_| format!("cannot read {text}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find() {
        let object = json!({
            "spec": {"replicas": 2, "a.b": "dotted", "list": [1, 2, 3]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        for (path, want) in [
            (".spec.replicas", json!([2])),
            ("{.spec.replicas}", json!([2])),
            ("$.spec['a.b']", json!(["dotted"])),
            (".spec.a\\.b", json!(["dotted"])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[0:2]", json!([1, 2])),
            (".spec.list[::2]", json!([1, 3])),
            (".spec.list[0,2]", json!([1, 3])),
            (".spec.list[*]", json!([1, 2, 3])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type!='Ready')].status", json!(["False"])),
            (".status.conditions[*].type", json!(["Ready", "Other"])),
            ("..status", json!([{"conditions": object["status"]["conditions"]}, "True", "False"])),
            (".nothing.here", json!([])),
        ] {
            let got: Vec<Value> = Path::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(Value::from(got), want, "{path}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for path in [".spec[", ".spec[a]", ".a]b", ".spec[?(@.a=1)]", &".a".repeat(3000)] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
