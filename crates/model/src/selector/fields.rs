//! Field selectors (`a=b,c!=d`, values escaped with backslashes).

use std::fmt;

/// One condition on a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// Field path, `spec.nodeName`.
    pub field: String,
    /// Whether it must be equal (else: differ).
    pub equal: bool,
    /// Value.
    pub value: String,
}

/// A field selector: all requirements must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Requirements in text order (sorted).
    pub requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads `a=b,c!=d`; `\` escapes `,`, `=` and itself in values. The error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let split = term.char_indices().find_map(|(at, _)| {
                let operator =
                    ["!=", "==", "="].into_iter().find(|operator| term[at..].starts_with(operator))?;
                Some((&term[..at], operator != "!=", &term[at + operator.len()..]))
            });
            let Some((field, equal, value)) = split else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            requirements.push(FieldRequirement { field: field.into(), equal, value: unescape(value)? });
        }
        Ok(Self { requirements })
    }

    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value a field must have, if the selector says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let found =
            self.requirements.iter().find(|requirement| requirement.equal && requirement.field == field);
        found.map(|requirement| requirement.value.as_str())
    }

    /// Whether fields satisfy it; an absent field is empty.
    pub fn matches<'v>(&self, lookup: impl Fn(&str) -> Option<&'v str>) -> bool {
        let holds = |requirement: &FieldRequirement| {
            (lookup(&requirement.field).unwrap_or_default() == requirement.value) == requirement.equal
        };
        self.requirements.iter().all(holds)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let sign = if requirement.equal { "=" } else { "!=" };
            write!(formatter, "{comma}{}{sign}{}", requirement.field, escape(&requirement.value))?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// Escapes a value for a field selector.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(letter @ ('\\' | ',' | '=')) => plain.push(letter),
                Some(other) => {
                    return Err(format!("invalid field selector: invalid escape sequence: \\{other}"));
                }
                None => return Err("invalid field selector: invalid escape sequence: \\".into()),
            },
            ',' | '=' => {
                let number = u32::from(letter);
                return Err(format!("invalid field selector: unescaped character in value: {number}"));
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields() {
        let selector = FieldSelector::parse(r"spec.nodeName=n1,status.phase!=a\,b").unwrap();
        assert_eq!(selector.to_string(), r"spec.nodeName=n1,status.phase!=a\,b");
        assert_eq!(selector.exact("spec.nodeName"), Some("n1"));
        assert!(selector.matches(|field| (field == "spec.nodeName").then_some("n1")));
        assert!(!selector.matches(|_| None));
        let faulty = [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ];
        for (text, expected) in faulty {
            assert_eq!(FieldSelector::parse(text).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn fields_survive(value in "[a-z,=\\\\]{0,12}") {
            let text = format!("f={}", escape(&value));
            let selector = FieldSelector::parse(&text).unwrap();
            prop_assert_eq!(selector.exact("f"), Some(value.as_str()));
        }
    }
}
