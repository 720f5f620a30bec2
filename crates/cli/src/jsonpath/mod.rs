//! kubectl's JSONPath (https://kubernetes.io/docs/reference/kubectl/jsonpath/): templates with `{…}`, ranges, wildcards,
//! slices, unions, recursion and filters.

mod evaluate;
mod parse;

use serde_json::Value;

pub use evaluate::text;

/// A step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// `$`: from the document's root.
    Root,
    /// `@` or nothing.
    Current,
    /// `.name`, `['name']`.
    Field(String),
    /// `.*`, `[*]`.
    Wildcard,
    /// `..`.
    Recursive,
    /// `[from:to:step]`; a single index has no range.
    Slice { from: Option<i64>, to: Option<i64>, step: Option<i64>, single: bool },
    /// `[a,b]`, `['a','b']`.
    Union(Vec<Vec<Step>>),
    /// `[?(left op right)]`.
    Filter { left: Vec<Step>, operator: String, right: Vec<Step> },
    /// A literal.
    Literal(Value),
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Node>),
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
    /// Whether fields that are missing are passed over.
    pub allow_missing: bool,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::template(text)?, allow_missing: true })
    }

    /// Reads one path in any of `x.y`, `.x.y`, `{x.y}`, `{.x.y}`.
    pub fn relaxed(text: &str) -> Result<Self, String> {
        Self::parse(&relaxed_expression(text)?)
    }

    /// The output.
    pub fn print(&self, value: &Value) -> Result<String, String> {
        evaluate::print(&self.nodes, value, self.allow_missing)
    }

    /// The values of every path of the template.
    pub fn values(&self, value: &Value) -> Result<Vec<Value>, String> {
        evaluate::values(&self.nodes, value, self.allow_missing)
    }
}

/// `{.x.y}` of any of the relaxed forms.
pub fn relaxed_expression(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let wrong = || {
        "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{name1.name2}' or '{.name1.name2}'"
            .to_owned()
    };
    let inner = match (text.strip_prefix('{'), text.ends_with('}')) {
        (Some(inner), true) => &inner[..inner.len() - 1],
        (None, false) => text,
        _ => return Err(wrong()),
    };
    if inner.is_empty() {
        return Err(wrong());
    }
    Ok(format!("{{.{}}}", inner.strip_prefix('.').unwrap_or(inner)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_print_as_kubectl_does() {
        let value = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "n": 1, "ok": true, "c": [{"t": "R", "s": "True"}]},
                {"metadata": {"name": "b"}, "n": 2.5, "c": [{"t": "Q", "s": "False"}, {"t": "R", "s": "False"}]},
            ],
        });
        for (template, want) in [
            ("{.kind}", "List"),
            ("x{.kind}y", "xListy"),
            ("{.items[*].metadata.name}", "a b"),
            ("{.items[0].metadata.name}", "a"),
            ("{.items[-1].metadata.name}", "b"),
            ("{.items[0:2].n}", "1 2.5"),
            ("{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2.5\n"),
            ("{range .items[*]}{range .c[*]}{.t}{' '}{end};{end}", "R ;Q R ;"),
            ("{.items[?(@.n==2.5)].metadata.name}", "b"),
            ("{.items[?(@.metadata.name!=\"a\")].n}", "2.5"),
            ("{.items[*].c[?(@.t=='R')].s}", "True False"),
            ("{.items[?(@.ok)].n}", "1"),
            ("{.items[0].metadata.labels.x\\.y/z}", "1"),
            ("{.items[0].metadata.labels['x\\.y/z']}", "1"),
            ("{..name}", "a b"),
            ("{.items[0]['metadata.name', 'n']}", "a 1"),
            ("{.items[0].metadata}", "{\"labels\":{\"x.y/z\":\"1\"},\"name\":\"a\"}"),
            ("{.nothing}", ""),
            ("{$.kind}", "List"),
            ("{.items[0,1].n}", "1 2.5"),
        ] {
            assert_eq!(
                Template::parse(template).and_then(|t| t.print(&value)).as_deref(),
                Ok(want),
                "{template}"
            );
        }
    }

    #[test]
    fn relaxed_paths_are_paths() {
        for text in ["a.b", ".a.b", "{a.b}", "{.a.b}"] {
            assert_eq!(relaxed_expression(text).unwrap(), "{.a.b}");
        }
        assert!(relaxed_expression("{a.b").is_err());
        let mut template = Template::relaxed(".x.y").unwrap();
        template.allow_missing = false;
        assert_eq!(template.print(&json!({})), Err("x is not found".into()));
    }
}
