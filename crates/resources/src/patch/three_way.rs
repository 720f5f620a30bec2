//! Three-way patches, as `kubectl apply` makes them: `original` is what was applied last, `modified` what is applied
//! now, `current` what the server has. Fields that only the server knows stay; fields no longer applied go.

use serde_json::{Map, Value};

use super::lookup::Schema;
use super::strategic::{Mode, merge_maps};
use super::two_way::{Options, diff_maps};
use super::{PatchError, merge};
use crate::schema::Definition;

/// The strategic merge patch; `original` is `None` if nothing was applied before.
pub fn strategic(
    definition: &'static Definition,
    original: Option<&Value>,
    modified: &Value,
    current: &Value,
) -> Result<Value, PatchError> {
    let empty = Map::new();
    let map = |value: Option<&Value>| value.and_then(Value::as_object).unwrap_or(&empty).clone();
    let (original, modified, current) = (map(original), map(Some(modified)), map(Some(current)));
    let schema = Schema::of(Some(definition));
    let options = Options { set_order: true, changes: true, deletions: false, retain_keys: false };
    let changes = diff_maps(&current, &modified, schema, options)?;
    let deletions =
        diff_maps(&original, &modified, schema, Options { changes: false, deletions: true, ..options })?;
    merge_maps(deletions, changes, schema, Mode::Join).map(Value::Object)
}

/// The JSON merge patch, for kinds without a schema.
pub fn merge(original: Option<&Value>, modified: &Value, current: &Value) -> Value {
    let mut patch = keep_or_delete(merge::diff(current, modified), false).unwrap_or_else(empty);
    let deletions = original.map(|original| merge::diff(original, modified));
    if let Some(deletions) = deletions.and_then(|patch| keep_or_delete(patch, true)) {
        join(&mut patch, deletions);
    }
    patch
}

fn empty() -> Value {
    Value::Object(Map::new())
}

/// Only the nulls of a patch (`nulls`), or all but them; `None` if nothing is left.
fn keep_or_delete(patch: Value, nulls: bool) -> Option<Value> {
    match patch {
        Value::Object(map) => {
            let had = !map.is_empty();
            let kept: Map<String, Value> = map
                .into_iter()
                .filter_map(|(name, value)| Some((name, keep_or_delete(value, nulls)?)))
                .collect();
            // An empty map that was set is a change; one that only held deletions is none.
            (!kept.is_empty() || (!nulls && !had)).then_some(Value::Object(kept))
        }
        Value::Null => nulls.then_some(Value::Null),
        other => (!nulls).then_some(other),
    }
}

/// Joins two merge patches, nulls kept.
fn join(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                match target.get_mut(&name) {
                    Some(slot) if slot.is_object() && value.is_object() => join(slot, value),
                    _ => {
                        target.insert(name, value);
                    }
                }
            }
        }
        (target, patch) => *target = patch,
    }
}
