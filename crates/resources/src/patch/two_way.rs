//! Strategic merge patches, made: the difference between two objects, with the directives that apply it faithfully.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::lookup::{Meta, Schema};
use super::scalars::{self, Elements};
use super::strategic::{DELETE_FROM_LIST, DIRECTIVE, RETAIN_KEYS, SET_ORDER};
use super::{PatchError, print};
use crate::schema::Definition;

/// What of a difference goes into a patch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// `$setElementOrder` lists.
    pub set_order: bool,
    /// Changed and added fields.
    pub changes: bool,
    /// Removed fields.
    pub deletions: bool,
    /// `$retainKeys` of the map at hand.
    pub retain_keys: bool,
}

type Object = Map<String, Value>;

/// The patch that makes `modified` of `original`.
pub fn create(
    definition: Option<&'static Definition>,
    original: &Value,
    modified: &Value,
) -> Result<Value, PatchError> {
    let options = Options { set_order: true, changes: true, deletions: true, retain_keys: false };
    let empty = Object::new();
    let (original, modified) =
        (original.as_object().unwrap_or(&empty), modified.as_object().unwrap_or(&empty));
    diff_maps(original, modified, Schema::of(definition), options).map(Value::Object)
}

/// The difference of two maps.
pub(super) fn diff_maps(
    original: &Object,
    modified: &Object,
    schema: Schema,
    options: Options,
) -> Result<Object, PatchError> {
    let mut patch = Object::new();
    for (name, new) in modified {
        let Some(old) = original.get(name) else {
            if options.changes {
                patch.insert(name.clone(), new.clone());
            }
            continue;
        };
        if name == DIRECTIVE {
            if old != new {
                patch.insert(name.clone(), new.clone());
            }
            continue;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                diff_map_field(name, old, new, &mut patch, schema, options)?
            }
            (Value::Array(old), Value::Array(new)) => {
                diff_list_field(name, old, new, &mut patch, schema, options)?
            }
            _ if old == new || !options.changes => {}
            _ => {
                patch.insert(name.clone(), new.clone());
            }
        }
    }
    if options.deletions {
        for name in original.keys().filter(|name| !modified.contains_key(*name)) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    let retained: Vec<&String> = modified
        .iter()
        .filter(|(_, value)| options.retain_keys && !value.is_null())
        .map(|(name, _)| name)
        .collect();
    if !retained.is_empty() && (!patch.is_empty() || modified.keys().any(|name| !original.contains_key(name)))
    {
        patch.insert(RETAIN_KEYS.into(), json!(retained));
    }
    Ok(patch)
}

fn diff_map_field(
    name: &str,
    old: &Object,
    new: &Object,
    patch: &mut Object,
    schema: Schema,
    options: Options,
) -> Result<(), PatchError> {
    let meta = match schema.field(name) {
        Ok(meta) => meta,
        Err(_) if old == new => return Ok(()),
        Err(error) => return Err(error),
    };
    if meta.replace {
        if options.changes && old != new {
            patch.insert(name.to_owned(), Value::Object(new.clone()));
        }
        return Ok(());
    }
    let inner = diff_maps(old, new, meta.schema, Options { retain_keys: meta.retain_keys, ..options })?;
    if !inner.is_empty() {
        patch.insert(name.to_owned(), Value::Object(inner));
    }
    Ok(())
}

fn diff_list_field(
    name: &str,
    old: &[Value],
    new: &[Value],
    patch: &mut Object,
    schema: Schema,
    options: Options,
) -> Result<(), PatchError> {
    let meta = match schema.field(name) {
        Ok(meta) => meta,
        Err(_) if old == new => return Ok(()),
        Err(error) => return Err(error),
    };
    if !meta.merge {
        if options.changes && old != new {
            patch.insert(name.to_owned(), new.into());
        }
        return Ok(());
    }
    let lists = diff_lists(old, new, &meta, Options { retain_keys: meta.retain_keys, ..options })?;
    let named = [
        (name.to_owned(), lists.patch),
        (format!("{DELETE_FROM_LIST}/{name}"), lists.deleted),
        (format!("{SET_ORDER}/{name}"), lists.order),
    ];
    for (name, list) in named.into_iter().filter(|(_, list)| !list.is_empty()) {
        patch.insert(name, Value::Array(list));
    }
    Ok(())
}

/// The parts of a list's difference.
#[derive(Default)]
struct Lists {
    patch: Vec<Value>,
    deleted: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists(old: &[Value], new: &[Value], meta: &Meta, options: Options) -> Result<Lists, PatchError> {
    if old.is_empty() {
        let patch = if options.changes { new.to_vec() } else { Vec::new() };
        return Ok(Lists { patch, ..Lists::default() });
    }
    match scalars::elements(&[old, new])? {
        Elements::Maps => diff_lists_of_maps(old, new, meta, options),
        Elements::Scalars => Ok(diff_lists_of_scalars(old, new, options)),
    }
}

fn diff_lists_of_maps(
    old: &[Value],
    new: &[Value],
    meta: &Meta,
    options: Options,
) -> Result<Lists, PatchError> {
    let key = meta.merge_key;
    for value in old.iter().chain(new) {
        scalars::key_of(value, key)?;
    }
    let text = |value: &Value| print::go(value.get(key).unwrap_or(&Value::Null));
    let sorted = |list: &[Value]| {
        let mut list = list.to_vec();
        list.sort_by_key(&text);
        list
    };
    let (old_sorted, new_sorted) = (sorted(old), sorted(new));
    let (mut olds, mut news) = (old_sorted.iter().peekable(), new_sorted.iter().peekable());
    let (mut patch, mut deleted) = (Vec::new(), Vec::new());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => text(old).cmp(&text(new)),
        };
        match order {
            Ordering::Equal => {
                let (Some(old), Some(new)) = (olds.next(), news.next()) else { break };
                let mut inner =
                    diff_maps(scalars::as_map(old)?, scalars::as_map(new)?, meta.schema, options)?;
                if !inner.is_empty() {
                    inner.insert(key.to_owned(), new[key].clone());
                    patch.push(Value::Object(inner));
                }
            }
            Ordering::Greater => patch.extend(news.next().filter(|_| options.changes).cloned()),
            Ordering::Less => {
                let gone = olds.next().filter(|_| options.deletions);
                deleted.extend(gone.map(|gone| json!({key: gone[key], DIRECTIVE: "delete"})));
            }
        }
    }
    let mut patch = scalars::sort_by_order(patch, new, key);
    patch.extend(deleted);
    let same_order = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old[key] == new[key]);
    let ordered =
        (options.changes && (!patch.is_empty() || !same_order)) || (options.deletions && !patch.is_empty());
    let order = if options.set_order && ordered {
        new.iter().map(|value| json!({key: value[key]})).collect()
    } else {
        Vec::new()
    };
    Ok(Lists { patch, deleted: Vec::new(), order })
}

fn diff_lists_of_scalars(old: &[Value], new: &[Value], options: Options) -> Lists {
    let sorted = |list: &[Value]| {
        let mut list = list.to_vec();
        list.sort_by(scalars::by_text);
        list
    };
    let (old_sorted, new_sorted) = (sorted(old), sorted(new));
    let (mut olds, mut news) = (old_sorted.iter().peekable(), new_sorted.iter().peekable());
    let (mut patch, mut deleted) = (Vec::new(), Vec::new());
    loop {
        let order = match (olds.peek(), news.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => scalars::by_text(old, new),
        };
        match order {
            Ordering::Equal => {
                olds.next();
                news.next();
            }
            Ordering::Greater => patch.extend(news.next().filter(|_| options.changes).cloned()),
            Ordering::Less => deleted.extend(olds.next().filter(|_| options.deletions).cloned()),
        }
    }
    let patch = scalars::sort_by_order(patch, new, "");
    let deleted = scalars::unique(deleted);
    let ordered = (options.deletions && !deleted.is_empty()) || (options.changes && old != new);
    let order = if options.set_order && ordered { new.to_vec() } else { Vec::new() };
    Lists { patch, deleted, order }
}
