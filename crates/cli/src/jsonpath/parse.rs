//! Reading templates.

use serde_json::{Number, Value};

use super::{Node, Step};

/// Brackets within brackets, and ranges within ranges, at most: they are read and shown by recursion.
const DEPTH_MAX: usize = 100;

/// Reads a template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    // The last list takes what comes; the ones below wait for their range's end.
    let mut stack: Vec<(Option<Vec<Step>>, Vec<Node>)> = vec![(None, Vec::new())];
    let mut rest = text;
    while !rest.is_empty() {
        let Some(open) = rest.find('{') else {
            push(&mut stack, Node::Text(rest.to_owned()));
            break;
        };
        if open > 0 {
            push(&mut stack, Node::Text(rest[..open].to_owned()));
        }
        let end = closing(&rest[open + 1..]).ok_or_else(|| unclosed(&rest[open + 1..]))?;
        action(rest[open + 1..open + 1 + end].trim(), &mut stack)?;
        rest = &rest[open + end + 2..];
    }
    match (stack.pop(), stack.is_empty()) {
        (Some((None, nodes)), true) => Ok(nodes),
        _ => Err("unterminated range".into()),
    }
}

fn push(stack: &mut [(Option<Vec<Step>>, Vec<Node>)], node: Node) {
    if let Some((_, nodes)) = stack.last_mut() {
        nodes.push(node);
    }
}

/// What is wrong with text whose brace is never closed.
fn unclosed(text: &str) -> &'static str {
    let in_list = text.matches('[').count() > text.matches(']').count();
    if in_list { "unterminated array" } else { "unclosed action" }
}

/// Where the brace closes, quotes passed over.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether brackets are nested more than is ever meant; quotes only make it count too many.
fn is_too_deep(text: &str) -> bool {
    let mut depth: usize = 0;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'(' => depth += 1,
            b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEPTH_MAX
    })
}

fn action(text: &str, stack: &mut Vec<(Option<Vec<Step>>, Vec<Node>)>) -> Result<(), String> {
    if stack.len() > DEPTH_MAX || is_too_deep(text) {
        return Err(format!("nested more than {DEPTH_MAX} deep"));
    }
    if text == "end" {
        let (Some(path), body) = stack.pop().ok_or("not in range, nothing to end")? else {
            return Err("not in range, nothing to end".into());
        };
        push(stack, Node::Range(path, body));
        return Ok(());
    }
    if let Some(path) = text.strip_prefix("range").filter(|rest| rest.starts_with([' ', '.', '$', '@'])) {
        stack.push((Some(self::path(path.trim())?), Vec::new()));
        return Ok(());
    }
    if text.starts_with(['"', '\'']) {
        push(stack, Node::Text(unquote(text)?));
        return Ok(());
    }
    push(stack, Node::Path(path(text)?));
    Ok(())
}

/// A quoted text, escapes resolved.
fn unquote(text: &str) -> Result<String, String> {
    let inner = text.get(1..text.len() - 1).ok_or("unterminated quoted string")?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some(other) => out.push(other),
            None => return Err("unterminated quoted string".into()),
        }
    }
    Ok(out)
}

/// Reads a path.
pub(super) fn path(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        match c {
            ' ' => rest = rest.trim_start(),
            '$' => {
                steps.push(Step::Root);
                rest = &rest[1..];
            }
            '@' => {
                steps.push(Step::Current);
                rest = &rest[1..];
            }
            '"' | '\'' => {
                let end = rest[1..].find(c).ok_or("unterminated quoted string")? + 2;
                steps.push(Step::Literal(Value::String(unquote(&rest[..end])?)));
                rest = &rest[end..];
            }
            '[' => {
                let end = bracket(rest).ok_or("unterminated array")?;
                steps.push(subscript(&rest[1..end])?);
                rest = &rest[end + 1..];
            }
            '.' if rest.starts_with("..") => {
                steps.push(Step::Recursive);
                // What follows is a field or a subscript of every value below.
                rest = &rest[1..];
                if rest[1..].starts_with('[') {
                    rest = &rest[1..];
                }
            }
            '.' => {
                rest = &rest[1..];
                let (name, after) = field(rest);
                match name.as_str() {
                    "" => {}
                    "*" => steps.push(Step::Wildcard),
                    _ => steps.push(Step::Field(name)),
                }
                rest = after;
            }
            _ => {
                let (word, after) = field(rest);
                if word.is_empty() {
                    return Err(format!("unrecognized character in action: {c:?}"));
                }
                steps.push(literal(&word).ok_or_else(|| format!("unrecognized identifier {word}"))?);
                rest = after;
            }
        }
    }
    Ok(steps)
}

fn literal(word: &str) -> Option<Step> {
    let value = match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match word.parse::<i64>() {
            Ok(number) => Value::Number(number.into()),
            Err(_) => Value::Number(Number::from_f64(word.parse().ok()?)?),
        },
    };
    Some(Step::Literal(value))
}

/// A name up to the next separator, with `\.` for a dot.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            '.' if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && !name.is_empty() => {
                name.push('.')
            }
            '.' | '[' | ' ' | ']' | ',' | '=' | '!' | '<' | '>' | ')' | '(' => return (name, &text[at..]),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket at the start closes.
fn bracket(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => {
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

fn subscript(text: &str) -> Result<Step, String> {
    let text = text.trim();
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(condition) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter(condition);
    }
    let parts = split_commas(text);
    if parts.len() > 1 {
        let union: Result<Vec<_>, _> =
            parts.iter().map(|part| subscript(part).map(|step| unfold(part, step))).collect();
        return Ok(Step::Union(union?));
    }
    if text.starts_with(['\'', '"']) {
        // In quotes, as without them, `\.` is a dot.
        return Ok(Step::Field(unquote(text)?));
    }
    let wrong = || format!("invalid array index {text}");
    let number = |part: &str| match part.trim() {
        "" => Ok(None),
        digits => digits.parse::<i64>().map(Some).map_err(|_| wrong()),
    };
    let pieces: Vec<&str> = text.split(':').collect();
    match pieces.as_slice() {
        [one] => {
            let from = number(one)?.ok_or_else(wrong)?;
            Ok(Step::Slice { from: Some(from), to: None, step: None, single: true })
        }
        [from, to] => Ok(Step::Slice { from: number(from)?, to: number(to)?, step: None, single: false }),
        [from, to, step] => {
            Ok(Step::Slice { from: number(from)?, to: number(to)?, step: number(step)?, single: false })
        }
        _ => Err(wrong()),
    }
}

/// A quoted name in a union may be a path of its own: `['metadata.name', 'kind']`.
fn unfold(part: &str, step: Step) -> Vec<Step> {
    match step {
        Step::Field(name) if part.trim().starts_with(['\'', '"']) => {
            let inner = part.trim().trim_matches(['\'', '"']);
            path(&format!(".{inner}")).unwrap_or_else(|_| vec![Step::Field(name)])
        }
        other => vec![other],
    }
}

fn split_commas(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, ',') => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn filter(text: &str) -> Result<Step, String> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '=' | '!' | '<' | '>') => {
                let length = if text[at + 1..].starts_with('=') { 2 } else { 1 };
                let operator = text[at..at + length].to_owned();
                if operator == "=" || operator == "!" {
                    return Err(format!("unrecognized filter operator {operator}"));
                }
                let left = path(&text[..at])?;
                return Ok(Step::Filter { left, operator, right: path(&text[at + length..])? });
            }
            _ => {}
        }
    }
    Ok(Step::Filter { left: path(text)?, operator: "exists".into(), right: Vec::new() })
}
