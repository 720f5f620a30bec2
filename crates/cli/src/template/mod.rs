//! Go templates (https://pkg.go.dev/text/template), the part that `-o go-template` is used for: fields, `range`, `if`,
//! `with`, `else`, variables, pipelines, comparison, `printf`, `index`, `len`, `base64decode`, `exists`.

mod functions;
mod parse;

use serde_json::Value;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    /// `{{pipeline}}`, or with a name `{{$x := pipeline}}`.
    Print(Option<String>, Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
        with: bool,
    },
    Range {
        key: Option<String>,
        value: Option<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands joined by `|`: each gets the one before as its last argument.
pub(crate) type Pipeline = Vec<Vec<Operand>>;

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    /// `.a.b` of the dot.
    Field(Vec<String>),
    /// `$x.a.b`.
    Variable(String, Vec<String>),
    /// A number, text, boolean or nil.
    Literal(Value),
    /// A function's name.
    Function(String),
    /// `(…)`, with fields after it.
    Nested(Pipeline, Vec<String>),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct GoTemplate {
    nodes: Vec<Node>,
}

struct Scope {
    variables: Vec<(String, Value)>,
}

impl GoTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::template(text)? })
    }

    /// The output.
    pub fn print(&self, value: &Value) -> Result<String, String> {
        let mut out = String::new();
        let mut scope = Scope { variables: vec![("$".into(), value.clone())] };
        write(&self.nodes, value, &mut scope, &mut out)?;
        Ok(out)
    }
}

fn write(nodes: &[Node], dot: &Value, scope: &mut Scope, out: &mut String) -> Result<(), String> {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Print(name, pipeline) => {
                let value = evaluate(pipeline, dot, scope)?;
                match name {
                    Some(name) => scope.variables.push((name.clone(), value)),
                    None => out.push_str(&functions::text(&value)),
                }
            }
            Node::If { condition, then, otherwise, with } => {
                let value = evaluate(condition, dot, scope)?;
                let known = scope.variables.len();
                if functions::truth(&value) {
                    write(then, if *with { &value } else { dot }, scope, out)?;
                } else {
                    write(otherwise, dot, scope, out)?;
                }
                scope.variables.truncate(known);
            }
            Node::Range { key, value, over, body, otherwise } => {
                let list = pairs(&evaluate(over, dot, scope)?)?;
                if list.is_empty() {
                    write(otherwise, dot, scope, out)?;
                }
                for (own_key, item) in list {
                    let known = scope.variables.len();
                    scope.variables.extend(key.iter().map(|name| (name.clone(), own_key.clone())));
                    scope.variables.extend(value.iter().map(|name| (name.clone(), item.clone())));
                    write(body, &item, scope, out)?;
                    scope.variables.truncate(known);
                }
            }
        }
    }
    Ok(())
}

fn pairs(value: &Value) -> Result<Vec<(Value, Value)>, String> {
    match value {
        Value::Array(list) => {
            Ok(list.iter().enumerate().map(|(at, item)| (at.into(), item.clone())).collect())
        }
        Value::Object(map) => Ok(map.iter().map(|(key, item)| (key.as_str().into(), item.clone())).collect()),
        Value::Null => Ok(Vec::new()),
        other => Err(format!("range can't iterate over {}", functions::text(other))),
    }
}

fn evaluate(pipeline: &Pipeline, dot: &Value, scope: &Scope) -> Result<Value, String> {
    let mut last: Option<Value> = None;
    for command in pipeline {
        let (first, rest) = command.split_first().ok_or("missing value for command")?;
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(operand_value(operand, dot, scope)?);
        }
        arguments.extend(last.take());
        last = Some(match first {
            Operand::Function(name) => functions::call(name, &arguments)?,
            _ if arguments.is_empty() => operand_value(first, dot, scope)?,
            _ => return Err("can't give argument to non-function".into()),
        });
    }
    last.ok_or_else(|| "missing value for command".into())
}

fn operand_value(operand: &Operand, dot: &Value, scope: &Scope) -> Result<Value, String> {
    match operand {
        Operand::Literal(value) => Ok(value.clone()),
        Operand::Field(path) => fields(dot.clone(), path),
        Operand::Nested(pipeline, path) => fields(evaluate(pipeline, dot, scope)?, path),
        Operand::Function(name) => functions::call(name, &[]),
        Operand::Variable(name, path) => {
            let found = scope.variables.iter().rev().find(|(own, _)| own == name);
            let (_, value) = found.ok_or_else(|| format!("undefined variable {name:?}"))?;
            fields(value.clone(), path)
        }
    }
}

fn fields(mut value: Value, path: &[String]) -> Result<Value, String> {
    for name in path {
        value = match value {
            Value::Object(mut map) => map.remove(name).unwrap_or(Value::Null),
            Value::Null => Value::Null,
            other => {
                return Err(format!(
                    "can't evaluate field {name} in type {}",
                    resources::patch::print::go_type(&other)
                ));
            }
        };
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_print_as_gos() {
        let value = json!({"items": [{"n": "a", "c": 1, "l": {"x": "y"}}, {"n": "b", "c": 2}], "k": "List", "s": "aGk="});
        for (template, want) in [
            ("{{range .items}}{{.n}}{{\"\\n\"}}{{end}}", "a\nb\n"),
            ("{{.k}} {{len .items}}", "List 2"),
            ("{{range $i, $x := .items}}{{$i}}={{$x.n}};{{end}}", "0=a;1=b;"),
            ("{{range .items}}{{if eq .n \"a\"}}A{{else if gt .c 1.0}}B{{else}}C{{end}}{{end}}", "AB"),
            ("{{with .nothing}}x{{else}}y{{end}}", "y"),
            ("{{printf \"%s-%v %d\" .k (len .items) 3}}", "List-2 3"),
            ("{{index .items 1 \"n\"}}", "b"),
            ("{{.s | base64decode}}", "hi"),
            ("{{$k := .k}}{{$k}}", "List"),
            ("a {{- .k -}} b", "aListb"),
            ("{{/* note */}}x", "x"),
            ("{{.nothing}}", "<no value>"),
            ("{{range .none}}x{{else}}empty{{end}}", "empty"),
            ("{{(index .items 0).l.x}}", "y"),
            ("{{range $k, $v := (index .items 0).l}}{{$k}}:{{$v}}{{end}}", "x:y"),
            ("{{if and .k (not .none)}}ok{{end}}", "ok"),
        ] {
            assert_eq!(
                GoTemplate::parse(template).and_then(|t| t.print(&value)).as_deref(),
                Ok(want),
                "{template}"
            );
        }
        assert!(GoTemplate::parse("{{range .x}}").is_err());
        assert!(GoTemplate::parse("{{.x").is_err());
    }
}
