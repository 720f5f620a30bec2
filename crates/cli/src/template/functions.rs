//! The functions of templates.

use std::cmp::Ordering;

use base64::Engine;
use serde_json::Value;

/// A value as Go prints it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::Number(number) => crate::yaml_number(number),
        other => resources::patch::print::go(other),
    }
}

/// What counts as true.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let one = || arguments.first().ok_or_else(|| format!("wrong number of args for {name}: want 1 got 0"));
    Ok(match name {
        "and" => {
            arguments.iter().find(|value| !truth(value)).or(arguments.last()).cloned().unwrap_or_default()
        }
        "or" => arguments.iter().find(|value| truth(value)).or(arguments.last()).cloned().unwrap_or_default(),
        "not" => Value::Bool(!truth(one()?)),
        "len" => match one()? {
            Value::Array(list) => list.len().into(),
            Value::Object(map) => map.len().into(),
            Value::String(text) => text.len().into(),
            other => {
                return Err(format!(
                    "error calling len: len of type {}",
                    resources::patch::print::go_type(other)
                ));
            }
        },
        "index" => index(arguments)?,
        "slice" => slice(arguments)?,
        "eq" => Value::Bool(
            arguments.iter().skip(1).any(|other| order(&arguments[0], other) == Some(Ordering::Equal)),
        ),
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [left, right] = arguments else {
                return Err(format!("wrong number of args for {name}: want 2 got {}", arguments.len()));
            };
            let order = order(left, right);
            Value::Bool(match name {
                "ne" => order != Some(Ordering::Equal),
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            })
        }
        "print" => arguments.iter().map(text).collect::<Vec<_>>().join("").into(),
        "println" => (arguments.iter().map(text).collect::<Vec<_>>().join(" ") + "\n").into(),
        "printf" => printf(arguments)?.into(),
        "exists" => exists(arguments).into(),
        "base64decode" => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text(one()?).trim());
            let bytes = bytes.map_err(|error| format!("base64 decode failed: {error}"))?;
            String::from_utf8_lossy(&bytes).into_owned().into()
        }
        "html" => text(one()?).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").into(),
        "js" | "urlquery" | "call" => return Err(format!("function {name:?} is not supported")),
        _ => return Err(format!("function {name:?} not defined")),
    })
}

fn place(value: &Value, key: &Value) -> Option<Value> {
    match (value, key) {
        (Value::Array(list), Value::Number(at)) => list.get(usize::try_from(at.as_u64()?).ok()?).cloned(),
        (Value::Object(map), Value::String(key)) => map.get(key).cloned(),
        _ => None,
    }
}

fn index(arguments: &[Value]) -> Result<Value, String> {
    let (first, keys) = arguments.split_first().ok_or("wrong number of args for index")?;
    keys.iter().try_fold(first.clone(), |value, key| match place(&value, key) {
        Some(inner) => Ok(inner),
        None if value.is_object() || value.is_null() => Ok(Value::Null),
        None => Err(format!("error calling index: index out of range: {}", text(key))),
    })
}

fn exists(arguments: &[Value]) -> bool {
    let Some((first, keys)) = arguments.split_first() else { return false };
    keys.iter().try_fold(first.clone(), |value, key| place(&value, key)).is_some_and(|value| !value.is_null())
}

fn slice(arguments: &[Value]) -> Result<Value, String> {
    let number =
        |at: usize| arguments.get(at).and_then(Value::as_u64).and_then(|at| usize::try_from(at).ok());
    let wrong = || "error calling slice: index out of range".to_owned();
    match arguments.first() {
        Some(Value::Array(list)) => {
            let range = number(1).unwrap_or(0)..number(2).unwrap_or(list.len());
            list.get(range).map(|part| part.to_vec().into()).ok_or_else(wrong)
        }
        Some(Value::String(text)) => {
            let range = number(1).unwrap_or(0)..number(2).unwrap_or(text.len());
            text.get(range).map(|part| part.into()).ok_or_else(wrong)
        }
        _ => Err("error calling slice: can't slice item".into()),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

/// Go's verbs `%s`, `%v`, `%d`, `%q`, `%f`, `%t`, with widths.
fn printf(arguments: &[Value]) -> Result<String, String> {
    let (format, mut values) = match arguments.split_first() {
        Some((Value::String(format), rest)) => (format, rest.iter()),
        _ => return Err("wrong number of args for printf: want at least 1 got 0".into()),
    };
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = String::new();
        while let Some(c) = chars.next_if(|c| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | ' ' | '#'))
        {
            flags.push(c);
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        out.push_str(&padded(&verb_text(verb, &flags, value), &flags));
    }
    Ok(out)
}

fn verb_text(verb: char, flags: &str, value: &Value) -> String {
    match verb {
        'q' => resources::schema::strict::quote(&text(value)),
        'f' => {
            let digits = flags.split_once('.').and_then(|(_, digits)| digits.parse().ok()).unwrap_or(6);
            format!("{:.digits$}", value.as_f64().unwrap_or_default())
        }
        'd' => match value.as_f64() {
            Some(number) => format!("{number:.0}"),
            None => format!("%!d({}={})", resources::patch::print::go_type(value), text(value)),
        },
        _ => match value {
            Value::Null => "<nil>".into(),
            other => text(other),
        },
    }
}

fn padded(text: &str, flags: &str) -> String {
    let width: usize = flags
        .trim_start_matches(['-', '+', ' ', '#'])
        .split('.')
        .next()
        .and_then(|width| width.parse().ok())
        .unwrap_or(0);
    if flags.starts_with('-') { format!("{text:<width$}") } else { format!("{text:>width$}") }
}
