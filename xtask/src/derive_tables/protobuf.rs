//! Where each field stands in protobuf: its number, the messages it is embedded by, and whether its list has a message of
//! its own. Names differ between JSON and protobuf in case and punctuation only.

use anyhow::{Context, bail};
use serde_json::Value;

/// A field's place in its message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Field number; 0 where protobuf does not have the field.
    pub number: u8,
    /// Numbers of the embedded messages around it, outermost first; 0 where there is none.
    pub within: [u8; 2],
    /// Whether a list (or the lists of a map) stands in a message with the one field `items`.
    pub wrapped: bool,
}

impl Place {
    /// What messages are sorted by.
    fn key(self) -> [u8; 3] {
        match self.within {
            [0, 0] => [self.number, 0, 0],
            [outer, 0] => [outer, self.number, 0],
            [outer, inner] => [outer, inner, self.number],
        }
    }
}

/// Finds a field's place. `embedded` is `RuleWithOperations.Rule.` as in `go_facts.txt`.
pub fn place(
    facts: &Value,
    message: &str,
    embedded: &str,
    name: &str,
    schema: &Value,
) -> anyhow::Result<Place> {
    let mut place = Place::default();
    if embedded == "TypeMeta." || facts["messages"][message].is_null() {
        return Ok(place);
    }
    let mut message = message.to_owned();
    for (depth, part) in embedded.split('.').filter(|part| !part.is_empty()).enumerate() {
        let outer = fields(facts, &message).find(|field| last(field["type"].as_str().unwrap_or("")) == part);
        let outer = outer.with_context(|| format!("{message} embeds no {part}"))?;
        place.within[depth] = number(outer)?;
        message = resolve(facts, &message, outer["type"].as_str().unwrap_or(""))?;
    }
    let wanted = plain(name);
    let mut found =
        fields(facts, &message).filter(|field| plain(field["name"].as_str().unwrap_or("")) == wanted);
    let (Some(field), None) = (found.next(), found.next()) else {
        bail!("{message} has no field {name}, or more than one");
    };
    place.number = number(field)?;
    let ty = field["type"].as_str().unwrap_or("");
    let (inner, list) = match ty.strip_prefix("map<string, ").and_then(|rest| rest.strip_suffix('>')) {
        Some(value) => (value, schema["additionalProperties"]["type"] == "array"),
        None => (ty, schema["type"] == "array" && field["repeated"] != true),
    };
    if list {
        let wrapper = resolve(facts, &message, inner)?;
        let items: Vec<&Value> = fields(facts, &wrapper).collect();
        if items.len() != 1 || items[0]["number"] != 1 || items[0]["repeated"] != true {
            bail!("{wrapper} is no list");
        }
        place.wrapped = true;
    }
    Ok(place)
}

/// Indices of fields in the order of their numbers; empty where that is their own order already.
pub fn order(places: &[Place]) -> Vec<usize> {
    if places.is_sorted_by_key(|place| place.key()) {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|at| places[*at].key());
    order
}

fn fields<'f>(facts: &'f Value, message: &str) -> impl Iterator<Item = &'f Value> + use<'f> {
    facts["messages"][message].as_array().into_iter().flatten()
}

fn number(field: &Value) -> anyhow::Result<u8> {
    let number = field["number"].as_u64().context("a field has no number")?;
    u8::try_from(number).with_context(|| format!("field number {number} does not fit the table"))
}

/// The message a type names, relative to a message's package.
fn resolve(facts: &Value, message: &str, ty: &str) -> anyhow::Result<String> {
    let ty = ty.trim_start_matches('.');
    let mut package = Some(message);
    while let Some(outer) = package {
        let name = format!("{outer}.{ty}");
        if !facts["messages"][name.as_str()].is_null() {
            return Ok(name);
        }
        package = outer.rsplit_once('.').map(|(outer, _)| outer);
    }
    if facts["messages"][ty].is_null() {
        bail!("{message} names an unknown message {ty}");
    }
    Ok(ty.to_owned())
}

fn last(ty: &str) -> &str {
    ty.rsplit('.').next().unwrap_or(ty)
}

/// A name without case and punctuation.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn places_follow_embedding_and_wrapping() {
        let facts = json!({"messages": {
            "a.v1.Outer": [
                {"name": "handler", "number": 3, "type": "Inner"},
                {"name": "extra", "number": 1, "type": "map<string, ExtraValue>"},
            ],
            "a.v1.Inner": [{"name": "uID", "number": 7, "type": "string"}],
            "a.v1.ExtraValue": [{"name": "items", "number": 1, "type": "string", "repeated": true}],
        }});
        let text = json!({"type": "string"});
        let inner = place(&facts, "a.v1.Outer", "Inner.", "uid", &text).unwrap();
        assert_eq!(inner, Place { number: 7, within: [3, 0], wrapped: false });
        let lists = json!({"type": "object", "additionalProperties": {"type": "array"}});
        let extra = place(&facts, "a.v1.Outer", "", "extra", &lists).unwrap();
        assert_eq!(extra, Place { number: 1, within: [0, 0], wrapped: true });
        assert_eq!(order(&[inner, extra]), [1, 0]);
        assert!(order(&[extra, inner]).is_empty());
        assert!(place(&facts, "a.v1.Outer", "", "missing", &text).is_err());
    }
}
