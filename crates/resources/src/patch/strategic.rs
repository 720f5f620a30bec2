//! Strategic merge patches, applied (k8s.io/apimachinery/pkg/util/strategicpatch): lists merge by key, `$patch` deletes
//! or replaces, `$retainKeys` clears the rest of a union, `$deleteFromPrimitiveList` and `$setElementOrder` act on the
//! list they name.

use serde_json::{Map, Value};

use super::lookup::{Meta, Schema};
use super::scalars::{self, Elements};
use super::{PatchError, print};
use crate::schema::{Definition, decode};

/// `{"$patch": "delete"}`.
pub const DIRECTIVE: &str = "$patch";
/// Keys of a map that stay.
pub const RETAIN_KEYS: &str = "$retainKeys";
/// Prefix of a list of scalars to remove.
pub const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
/// Prefix of the order of a list's elements.
pub const SET_ORDER: &str = "$setElementOrder";

/// Whether a patch is being applied to an object, or joined to another patch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// To an object: directives act and vanish.
    Apply,
    /// To a patch: directives are collected.
    Join,
}

type Object = Map<String, Value>;

/// An applied patch: the object, strict errors, the patch as upstream shows it in errors.
pub type Applied = (Value, Vec<String>, Option<String>);

/// Applies a patch given as bytes.
pub fn apply_bytes(
    definition: Option<&'static Definition>,
    current: &Value,
    patch: &[u8],
) -> Result<Applied, PatchError> {
    let decoded = decode::from_json(patch).map_err(PatchError::Bad)?;
    if !decoded.object.is_object() {
        let error = super::merge::go_json_error(&decoded.object, "map[string]interface {}");
        return Err(PatchError::Bad(error));
    }
    if definition.is_none() {
        return Err(PatchError::Bad("strategic merge patch format is not supported".into()));
    }
    let shown = print::go(&decoded.object);
    let object = apply(definition, current.clone(), decoded.object)?;
    Ok((object, decoded.strict, Some(shown)))
}

/// Applies a patch.
pub fn apply(
    definition: Option<&'static Definition>,
    current: Value,
    patch: Value,
) -> Result<Value, PatchError> {
    merge_values(Some(current), patch, Schema::of(definition), Mode::Apply).map(Value::Object)
}

fn merge_values(
    original: Option<Value>,
    patch: Value,
    schema: Schema,
    mode: Mode,
) -> Result<Object, PatchError> {
    let original = match original {
        Some(Value::Object(map)) => map,
        _ => Object::new(),
    };
    let Value::Object(patch) = patch else {
        scalars::as_map(&patch)?;
        return Ok(original);
    };
    merge_maps(original, patch, schema, mode)
}

/// Merges a patch into a map.
pub(super) fn merge_maps(
    mut original: Object,
    mut patch: Object,
    schema: Schema,
    mode: Mode,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Object::new()),
            _ => {
                let directive = print::go(directive);
                let text =
                    format!("unknown patch type: {directive} in map: {}", print::go(&Value::Object(patch)));
                Err(PatchError::Other(text))
            }
        };
    }
    retain_keys(&mut original, &mut patch, mode)?;
    set_orders(&mut original, &mut patch, schema, mode)?;
    for (name, value) in patch {
        if name.starts_with(DELETE_FROM_LIST) {
            if mode == Mode::Join {
                original.insert(name, value);
            } else {
                delete_from_list(&mut original, &name, value)?;
            }
            continue;
        }
        merge_field(&mut original, name, value, schema, mode)?;
    }
    Ok(original)
}

fn merge_field(
    original: &mut Object,
    name: String,
    mut value: Value,
    schema: Schema,
    mode: Mode,
) -> Result<(), PatchError> {
    if value.is_null() {
        original.remove(&name);
        if mode == Mode::Apply {
            return Ok(());
        }
    }
    let same_kind = original.get(&name).is_some_and(|old| print::go_type(old) == print::go_type(&value));
    if !same_kind {
        if mode == Mode::Apply {
            discard_nulls(&mut value);
        }
        return put(original, name, value);
    }
    match (original.remove(&name), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let meta = schema.field(&name)?;
            let merged = if meta.replace { new } else { merge_maps(old, new, meta.schema, mode)? };
            original.insert(name, Value::Object(merged));
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let meta = schema.field(&name)?;
            let merged = if meta.merge { merge_lists(old, new, &meta, mode)? } else { new };
            original.insert(name, Value::Array(merged));
        }
        (_, value) => put(original, name, value)?,
    }
    Ok(())
}

/// Sets a field to what is left of a value without its directives.
fn put(original: &mut Object, name: String, value: Value) -> Result<(), PatchError> {
    match without_directives(value) {
        Some(value) => original.insert(name, value),
        None => original.remove(&name),
    };
    Ok(())
}

fn retain_keys(original: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), PatchError> {
    let bad = || PatchError::Bad("invalid patch format of retainKeys".into());
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    if mode == Mode::Join {
        match original.get(RETAIN_KEYS) {
            Some(own) if *own != keys => {
                let (own, keys) = (print::go(own), print::go(&keys));
                let why = "this may happen when calculating the 3-way diff patch";
                return Err(PatchError::Other(format!("{own} and {keys} are not deep equal: {why}")));
            }
            _ => original.insert(RETAIN_KEYS.into(), keys),
        };
        return Ok(());
    }
    let Value::Array(keys) = keys else { return Err(bad()) };
    let kept = |name: &str| keys.iter().any(|key| key == name);
    let stray = patch.iter().any(|(name, value)| {
        !value.is_null() && !name.starts_with(DELETE_FROM_LIST) && !name.starts_with(SET_ORDER) && !kept(name)
    });
    if stray {
        return Err(bad());
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

fn named_list<'n>(name: &'n str, prefix: &str) -> Result<&'n str, PatchError> {
    let bad = || {
        let what = if prefix == SET_ORDER { "setElementOrder list" } else { "primitive list" };
        PatchError::Bad(format!("invalid patch format of {what}"))
    };
    name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).ok_or_else(bad)
}

fn delete_from_list(original: &mut Object, name: &str, deleted: Value) -> Result<(), PatchError> {
    let list = named_list(name, DELETE_FROM_LIST)?;
    if deleted.is_null() {
        original.remove(list);
        return Ok(());
    }
    if let (Some(Value::Array(list)), Value::Array(deleted)) = (original.get_mut(list), deleted) {
        list.retain(|value| !deleted.contains(value));
    }
    Ok(())
}

/// Acts on every `$setElementOrder/…`, taking the lists they name out of the patch.
fn set_orders(
    original: &mut Object,
    patch: &mut Object,
    schema: Schema,
    mode: Mode,
) -> Result<(), PatchError> {
    let names: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
    for name in names {
        let Some(order) = patch.remove(&name) else { continue };
        if mode == Mode::Join {
            if original.get(&name).is_some_and(|own| *own != order) {
                return Err(PatchError::Bad("invalid patch format of setElementOrder list".into()));
            }
            original.insert(name.clone(), order.clone());
        }
        let field = named_list(&name, SET_ORDER)?;
        let Value::Array(order) = order else { return Err(expected_list(&order)) };
        let meta = schema.field(field)?;
        let old = take_list(original, field)?;
        let new = take_list(patch, field)?;
        check_order(new.as_deref().unwrap_or_default(), &order, meta.merge_key)?;
        let server = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(list)) => list,
                _ => continue,
            },
            (Some(old), Some(new)) if meta.merge => merge_lists(old, new, &meta, mode)?,
            (Some(_), Some(new)) => new,
        };
        let merged =
            if merged.is_empty() { merged } else { scalars::order(merged, &order, &server, meta.merge_key)? };
        original.insert(field.to_owned(), Value::Array(merged));
    }
    Ok(())
}

fn expected_list(value: &Value) -> PatchError {
    PatchError::Other(format!("expected a []interface {{}}, but received a {}", print::go_type(value)))
}

fn take_list(map: &mut Object, name: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match map.remove(name) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => Err(expected_list(&other)),
    }
}

/// A patch's elements must stand in the order it sets.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut places = order.iter();
    for value in patch.iter().filter(|value| value.get(DIRECTIVE).is_none()) {
        let mut found = false;
        for place in places.by_ref() {
            found = match merge_key {
                "" => value == place,
                key => scalars::key_of(value, key)? == scalars::key_of(place, key)?,
            };
            if found {
                break;
            }
        }
        if !found {
            let show = |list: &[Value]| print::go(&Value::Array(list.to_vec()));
            let (patch, order) = (show(patch), show(order));
            let text =
                format!("The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{order}\n");
            return Err(PatchError::Other(text));
        }
    }
    Ok(())
}

fn merge_lists(
    original: Vec<Value>,
    patch: Vec<Value>,
    meta: &Meta,
    mode: Mode,
) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if scalars::elements(&[&original, &patch])? == Elements::Scalars {
        let server = original.clone();
        let all = scalars::unique(original.into_iter().chain(patch.iter().cloned()).collect());
        return scalars::order(all, &patch, &server, "");
    }
    if meta.merge_key.is_empty() {
        let name = meta.schema.name();
        return Err(PatchError::Other(format!("cannot merge lists without merge key for {name}")));
    }
    let (mut merged, patch) = special_elements(original, patch, meta.merge_key)?;
    let server = merged.clone();
    for value in patch.clone() {
        let key = scalars::key_of(&value, meta.merge_key)?.clone();
        match scalars::find(&merged, meta.merge_key, &key)? {
            Some(at) => {
                let old = std::mem::take(&mut merged[at]);
                merged[at] = Value::Object(merge_values(Some(old), value, meta.schema, mode)?);
            }
            None => merged.push(value),
        }
    }
    scalars::order(merged, &patch, &server, meta.merge_key)
}

/// Acts on elements that are directives: what is left of the list, and of the patch.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::new();
    let mut replace = false;
    for value in patch {
        match value.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain.push(value),
            Some("delete") => {
                let key = scalars::key_of(&value, merge_key)?.clone();
                while let Some(at) = scalars::find(&original, merge_key, &key)? {
                    original.remove(at);
                }
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::Other("merging lists cannot yet be specified in the patch".into()));
            }
            Some(other) => {
                let text = format!("unknown patch type: {other} in map: {}", print::go(&value));
                return Err(PatchError::Other(text));
            }
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// A value without maps that hold a directive; `None` if it is one itself.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => Some(Value::Object(
            map.into_iter().filter_map(|(name, value)| Some((name, without_directives(value)?))).collect(),
        )),
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}
