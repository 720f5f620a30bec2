//! Label and field selectors: the text grammar, `metav1.LabelSelector`, matching, and writing them again in upstream's
//! form (k8s.io/apimachinery/pkg/labels and pkg/fields).

use std::fmt;

use serde_json::Value;

mod fields;
mod parse;

pub use fields::{FieldRequirement, FieldSelector, escape};

use crate::names;
use crate::tree::TreeExt;

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `=`.
    Equals,
    /// `==`.
    DoubleEquals,
    /// `!=`.
    NotEquals,
    /// `in`.
    In,
    /// `notin`.
    NotIn,
    /// Key alone.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `>`.
    GreaterThan,
    /// `<`.
    LessThan,
}

/// One condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// Comparison.
    pub operator: Operator,
    /// Values, sorted where they came from text.
    pub values: Vec<String>,
}

impl Requirement {
    /// Makes a checked requirement; the error is upstream's text.
    pub fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, String> {
        let mut errors = Vec::new();
        let shown = || serde_json::to_string(&values).unwrap_or_default();
        if let Some(error) = key_error(key, "key") {
            errors.push(error);
        }
        let count_error = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        errors.extend(count_error.map(|words| format!("values: Invalid value: {}: {words}", shown())));
        if matches!(operator, Operator::GreaterThan | Operator::LessThan) {
            for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err())
            {
                let words = "for 'Gt', 'Lt' operators, the value must be an integer";
                errors.push(format!("values[{index}]: Invalid value: {value:?}: {words}"));
            }
        }
        for (index, value) in values.iter().enumerate() {
            let complaints = names::label_value(value);
            if !complaints.is_empty() {
                errors.push(format!(
                    "values[{index}][{key}]: Invalid value: {value:?}: {}",
                    complaints.join("; ")
                ));
            }
        }
        match errors.as_slice() {
            [] => Ok(Self { key: key.to_owned(), operator, values }),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    /// Whether a set of labels satisfies it; `lookup` gives a label's value.
    pub fn matches<'v>(&self, lookup: impl Fn(&str) -> Option<&'v str>) -> bool {
        let value = lookup(&self.key);
        let listed = |value: &str| self.values.iter().any(|own| own == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let left = value.and_then(|value| value.parse::<i64>().ok());
                let right = self.values.first().and_then(|value| value.parse::<i64>().ok());
                let (Some(left), Some(right)) = (left, right) else { return false };
                if self.operator == Operator::GreaterThan { left > right } else { left < right }
            }
        }
    }
}

fn key_error(key: &str, path: &str) -> Option<String> {
    let complaints = names::qualified_name(key);
    (!complaints.is_empty()).then(|| format!("{path}: Invalid value: {key:?}: {}", complaints.join("; ")))
}

impl fmt::Display for Requirement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::Equals => write!(formatter, "{key}={values}"),
            Operator::DoubleEquals => write!(formatter, "{key}=={values}"),
            Operator::NotEquals => write!(formatter, "{key}!={values}"),
            Operator::In => write!(formatter, "{key} in ({values})"),
            Operator::NotIn => write!(formatter, "{key} notin ({values})"),
            Operator::Exists => formatter.write_str(key),
            Operator::DoesNotExist => write!(formatter, "!{key}"),
            Operator::GreaterThan => write!(formatter, "{key}>{values}"),
            Operator::LessThan => write!(formatter, "{key}<{values}"),
        }
    }
}

/// A label selector: all requirements must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSelector {
    /// Requirements, sorted by key.
    requirements: Vec<Requirement>,
    /// Matches no object at all (an absent `LabelSelector`).
    nothing: bool,
}

impl Default for LabelSelector {
    fn default() -> Self {
        Self::everything()
    }
}

impl LabelSelector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// From requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|left, right| left.key.cmp(&right.key));
        Self { requirements, nothing: false }
    }

    /// Reads the text form, `a=b,c in (d,e),!f`; the error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::parse(text).map(Self::new)
    }

    /// From a map of equalities (`spec.selector` of a Service, `nodeSelector`), unchecked.
    pub fn from_map(map: Option<&Value>) -> Self {
        let entries = map.and_then(Value::as_object).into_iter().flatten();
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        Self::new(entries.map(requirement).collect())
    }

    /// From a `metav1.LabelSelector` (`matchLabels`, `matchExpressions`): absent matches nothing, empty everything.
    pub fn from_tree(selector: Option<&Value>) -> Result<Self, String> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.at(&["matchLabels"]).and_then(Value::as_object).into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement::new(key, Operator::Equals, values)?);
        }
        for expression in selector.items(&["matchExpressions"]) {
            let operator = match expression.text(&["operator"]) {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            let values = expression.items(&["values"]).iter();
            let values = values.map(|value| value.as_str().unwrap_or_default().to_owned()).collect();
            requirements.push(Requirement::new(expression.text(&["key"]), operator, values)?);
        }
        Ok(Self::new(requirements))
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether it can match no object.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// Whether labels (a map, or absent) satisfy it.
    pub fn matches(&self, labels: Option<&Value>) -> bool {
        self.matches_with(|key| labels?.get(key)?.as_str())
    }

    /// Whether labels satisfy it; `lookup` gives a label's value.
    pub fn matches_with<'v>(&self, lookup: impl Fn(&str) -> Option<&'v str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(&lookup))
    }

    /// Whether an object's `metadata.labels` satisfy it.
    pub fn matches_object(&self, object: &Value) -> bool {
        self.matches(object.at(&["metadata", "labels"]))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            write!(formatter, "{}{requirement}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn texts_are_read_and_written() {
        let table = [
            ("", ""),
            ("a=b", "a=b"),
            ("a == b", "a==b"),
            ("b,a", "a,b"),
            ("!a", "!a"),
            ("a!=b", "a!=b"),
            ("a in (c, b)", "a in (b,c)"),
            ("a notin ()", "a notin ()"),
            ("x in (foo,,baz),y,z notin ()", "x in (,baz,foo),y,z notin ()"),
            ("a=", "a="),
            ("a>1,b<2", "a>1,b<2"),
            ("a in (in)", "a in (in)"),
            ("example.com/a=b", "example.com/a=b"),
        ];
        for (text, expected) in table {
            assert_eq!(LabelSelector::parse(text).map(|s| s.to_string()).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_read_as_upstreams() {
        let table = [
            ("a=b,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a in (", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(LabelSelector::parse(text).unwrap_err(), expected, "{text}");
        }
        let error = LabelSelector::parse("a=b@c").unwrap_err();
        assert!(
            error.starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"b@c\": a valid label"
            )
        );
        let error = LabelSelector::parse("-a=b").unwrap_err();
        assert!(
            error.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must")
        );
    }

    #[test]
    fn matching() {
        let labels = json!({"a": "b", "n": "5"});
        let table = [
            ("a=b", true),
            ("a!=b", false),
            ("c!=b", true),
            ("a in (x,b)", true),
            ("a notin (b)", false),
            ("c notin (b)", true),
            ("a", true),
            ("!a", false),
            ("!c", true),
            ("n>4", true),
            ("n<5", false),
            ("a>1", false),
            ("", true),
        ];
        for (text, expected) in table {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(Some(&labels)), expected, "{text}");
        }
        assert!(!LabelSelector::from_tree(None).unwrap().matches(Some(&labels)));
        let tree =
            json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "n", "operator": "Exists"}]});
        let selector = LabelSelector::from_tree(Some(&tree)).unwrap();
        assert!(selector.matches(Some(&labels)));
        assert_eq!(selector.to_string(), "a=b,n");
        let faulty = json!({"matchExpressions": [{"key": "n", "operator": "X"}]});
        let error = LabelSelector::from_tree(Some(&faulty)).unwrap_err();
        assert_eq!(error, "\"X\" is not a valid label selector operator");
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(text in "[a-c!=(), innot<>0-9]{0,24}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                prop_assert_eq!(LabelSelector::parse(&selector.to_string()).map(|s| s.to_string()), Ok(selector.to_string()));
            }
        }
    }
}
