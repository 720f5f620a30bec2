//! Lists in strategic merge patches: their element kinds, order and the search by merge key.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::{PatchError, print};

/// The kind of a list's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elements {
    /// Objects.
    Maps,
    /// Anything else.
    Scalars,
}

/// The kind of the elements of lists, which must agree.
pub fn elements(lists: &[&[Value]]) -> Result<Elements, PatchError> {
    let mut found: Option<&Value> = None;
    for value in lists.iter().flat_map(|list| list.iter()) {
        match found {
            None if value.is_array() => {
                return Err(PatchError::Unprocessable("lists of lists are not supported".into()));
            }
            None => found = Some(value),
            Some(first) if print::go_type(first) != print::go_type(value) => {
                let lists: Vec<String> =
                    lists.iter().map(|list| print::go(&Value::Array(list.to_vec()))).collect();
                let text = format!("list element types are not identical: [{}]", lists.join(" "));
                return Err(PatchError::Other(text));
            }
            Some(_) => {}
        }
    }
    match found {
        None => Err(PatchError::Other("no elements in any of the given slices".into())),
        Some(Value::Object(_)) => Ok(Elements::Maps),
        Some(_) => Ok(Elements::Scalars),
    }
}

/// An element as an object.
pub fn as_map(value: &Value) -> Result<&Map<String, Value>, PatchError> {
    value.as_object().ok_or_else(|| {
        let text = format!("expected a map[string]interface {{}}, but received a {}", print::go_type(value));
        PatchError::Other(text)
    })
}

/// The merge key's value of an element.
pub fn key_of<'v>(value: &'v Value, merge_key: &str) -> Result<&'v Value, PatchError> {
    as_map(value)?.get(merge_key).ok_or_else(|| {
        let text = format!("map: {} does not contain declared merge key: {merge_key}", print::go(value));
        PatchError::Other(text)
    })
}

/// Place of the element whose merge key has this value.
pub fn find(list: &[Value], merge_key: &str, key: &Value) -> Result<Option<usize>, PatchError> {
    for (at, value) in list.iter().enumerate() {
        let Some(map) = value.as_object() else {
            return Err(PatchError::Other(format!("value for key {at} is not a map")));
        };
        if map.get(merge_key) == Some(key) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Place of an equal element: by merge key for maps, by value for the rest.
fn place(list: &[Value], value: &Value, merge_key: &str) -> Option<usize> {
    let key = |value: &Value| match merge_key {
        "" => value.clone(),
        name => value.get(name).cloned().unwrap_or_default(),
    };
    let wanted = key(value);
    list.iter().position(|other| key(other) == wanted)
}

/// Sorts elements by their place in another list; those it does not have keep their order, and deletions come last.
pub fn sort_by_order(list: Vec<Value>, order: &[Value], merge_key: &str) -> Vec<Value> {
    let (deleted, mut kept): (Vec<Value>, Vec<Value>) = list
        .into_iter()
        .partition(|value| value.get("$patch").is_some_and(|directive| directive == "delete"));
    // Elements with a place sort among themselves in the slots that such elements hold.
    let slots: Vec<usize> =
        (0..kept.len()).filter(|at| place(order, &kept[*at], merge_key).is_some()).collect();
    let mut placed: Vec<Value> = slots.iter().map(|at| std::mem::take(&mut kept[*at])).collect();
    placed.sort_by_key(|value| place(order, value, merge_key));
    for (slot, value) in slots.into_iter().zip(placed) {
        kept[slot] = value;
    }
    kept.extend(deleted);
    kept
}

/// Merges what only the server has into what the patch orders, by the server's order where both are known to it.
pub fn interleave(
    server_only: Vec<Value>,
    patch: Vec<Value>,
    server: &[Value],
    merge_key: &str,
) -> Vec<Value> {
    let (mut left, mut right) = (server_only.into_iter().peekable(), patch.into_iter().peekable());
    let mut merged = Vec::new();
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (None, None) => return merged,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(a), Some(b)) => match (place(server, a, merge_key), place(server, b, merge_key)) {
                (Some(a), Some(b)) => a < b,
                _ => false,
            },
        };
        merged.extend(if take_left { left.next() } else { right.next() });
    }
}

/// Orders a merged list: the patch's elements as `patch_order` says, what only the server has where it was.
pub fn order(
    merged: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: &str,
) -> Result<Vec<Value>, PatchError> {
    if !merge_key.is_empty() {
        for value in merged.iter().chain(patch_order) {
            key_of(value, merge_key)?;
        }
    }
    let (patch, server_only): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|value| place(patch_order, value, merge_key).is_some());
    let patch = sort_by_order(patch, patch_order, merge_key);
    let server_only = sort_by_order(server_only, server_order, merge_key);
    Ok(interleave(server_only, patch, server_order, merge_key))
}

/// Takes repeated elements away, the first stays.
pub fn unique(list: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::with_capacity(list.len());
    for value in list {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

/// Go's order of scalars: by their printed text.
pub fn by_text(a: &Value, b: &Value) -> Ordering {
    print::go(a).cmp(&print::go(b))
}
