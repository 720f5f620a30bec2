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
    /// As it was written.
    source: String,
    /// Whether fields that are missing are passed over.
    pub allow_missing: bool,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { nodes: parse::template(text)?, source: text.to_owned(), allow_missing: true })
    }

    /// Reads one path in any of `x.y`, `.x.y`, `{x.y}`, `{.x.y}`.
    pub fn relaxed(text: &str) -> Result<Self, String> {
        Self::parse(&relaxed_expression(text)?)
    }

    /// The output.
    pub fn print(&self, value: &Value) -> Result<String, String> {
        evaluate::print(&self.nodes, value, self.allow_missing)
    }

    /// What kubectl tells about a template that failed.
    pub fn failed(&self, error: &str, value: &Value) -> String {
        let Self { source, .. } = self;
        format!(
            "error executing jsonpath {source:?}: Error executing template: {error}. Printing more information for debugging the template:\n\ttemplate was:\n\t\t{source}\n\tobject given to jsonpath engine was:\n\t\t{}\n\n\n",
            go_syntax(value)
        )
    }

    /// The values of every path of the template.
    pub fn values(&self, value: &Value) -> Result<Vec<Value>, String> {
        evaluate::values(&self.nodes, value, self.allow_missing)
    }
}

/// A tree as Go source, which is how Go's `%#v` prints it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => resources::schema::strict::quote(text),
        Value::Array(list) => {
            let list: Vec<String> = list.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", list.join(", "))
        }
        Value::Object(map) => {
            // Go sorts the keys.
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pair = |key: &&String| {
                format!("{}:{}", resources::schema::strict::quote(key), go_syntax(&map[key.as_str()]))
            };
            let pairs: Vec<String> = keys.iter().map(pair).collect();
            format!("map[string]interface {{}}{{{}}}", pairs.join(", "))
        }
        other => other.to_string(),
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
    fn failures_show_the_object_as_go_source() {
        let mut template = Template::parse("{.x}").unwrap();
        template.allow_missing = false;
        let told = template.failed("x is not found", &json!({"b": [1, null, true], "a": {"c": "d\n"}}));
        assert!(told.starts_with(
            "error executing jsonpath \"{.x}\": Error executing template: x is not found. Printing"
        ));
        let source = r#"map[string]interface {}{"a":map[string]interface {}{"c":"d\n"}, "b":[]interface {}{1, interface {}(nil), true}}"#;
        assert!(told.ends_with(&format!("{source}\n\n\n")), "{told}");
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
