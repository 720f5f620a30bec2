//! Fields that the schema does not have: misspelt, or right but somewhere else.

use resources::schema::{Definition, Type};

use super::{Hint, Subject, nearest};
use crate::manifest::locate::{self, Node, Place, Shape, Step};

/// How far below a place a misplaced field is looked for.
const LEVELS_BELOW: usize = 3;

/// About a field: `path` as the server tells it (`spec.containers[0].imag`).
pub fn unknown(subject: &Subject<'_>, path: &str) -> Hint {
    let steps = locate::steps(path);
    let found = locate::find(subject.root, &steps);
    let (name, parents) = split(&steps);
    if let Some(hint) = invisible(found.place, &name) {
        return hint;
    }
    let owner = subject.definition.and_then(|definition| owner(definition, parents));
    let known = |definition: &'static Definition| definition.fields.iter().map(|field| field.name);
    let near = owner.and_then(|owner| nearest(&name, known(owner)));
    let same = near.filter(|near| near.eq_ignore_ascii_case(&name));
    let elsewhere = |levels: usize| {
        subject.definition.and_then(|definition| elsewhere(subject, definition, parents, &name, levels))
    };
    let mend = if let Some(near) = same {
        format!("did you mean {near:?}? Capital letters matter")
    } else if let Some(place) = elsewhere(1) {
        belongs(subject, &name, &place)
    } else if let Some(near) = near {
        format!("did you mean {near:?}?")
    } else if let Some(place) = elsewhere(LEVELS_BELOW) {
        belongs(subject, &name, &place)
    } else {
        let explain = subject.explain(&path_of(parents));
        format!("no field {name:?} is known here: remove it; `{explain}` shows what is known")
    };
    Hint::new(found.place, mend)
}

fn split(steps: &[Step]) -> (String, &[Step]) {
    let (last, parents) = steps.split_last().map_or((None, steps), |(last, parents)| (Some(last), parents));
    let name = match last {
        Some(Step::Key(name)) => name.clone(),
        Some(Step::Index(index)) => index.to_string(),
        None => String::new(),
    };
    (name, parents)
}

/// A key with a character in it that looks like none.
fn invisible(place: Place, name: &str) -> Option<Hint> {
    let odd =
        name.chars().find(|c| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200f}'))?;
    Some(Hint::new(
        place,
        format!(
            "the key has a character in it that looks like nothing or a space (U+{:04X}): type the line again",
            u32::from(odd)
        ),
    ))
}

fn owner(definition: &'static Definition, parents: &[Step]) -> Option<&'static Definition> {
    let mut ty = None;
    for step in parents {
        let Step::Key(name) = step else { continue };
        ty = Some(match ty {
            Some(Type::Map(of)) => *of,
            other => innermost_list(other).map_or(Some(definition), Type::definition)?.field(name)?.ty,
        });
    }
    match ty {
        None => Some(definition),
        Some(ty) => ty.innermost(),
    }
}

fn innermost_list(ty: Option<Type>) -> Option<Type> {
    match ty {
        Some(Type::List(of)) => innermost_list(Some(*of)),
        other => other,
    }
}

/// A place where a field of this name is known: upwards first, then so many levels below, nearest first; of places on
/// one level, one that is in the file.
fn elsewhere(
    subject: &Subject<'_>,
    definition: &'static Definition,
    parents: &[Step],
    name: &str,
    levels: usize,
) -> Option<Vec<Step>> {
    for length in (0..parents.len()).rev() {
        if matches!(parents[length], Step::Index(_)) {
            continue;
        }
        let own = owner(definition, &parents[..length])?;
        if own.field(name).is_some() {
            return Some(parents[..length].to_vec());
        }
    }
    let own = owner(definition, parents)?;
    let mut now = vec![(parents.to_vec(), own)];
    for _ in 0..levels {
        let mut next = Vec::new();
        let mut known: Vec<Vec<Step>> = Vec::new();
        for (path, definition) in now {
            for field in definition.fields.iter().filter(|field| field.name != "status") {
                let Some(inner) = field.ty.innermost() else { continue };
                let mut path = path.clone();
                path.push(Step::Key(field.name.to_owned()));
                if matches!(field.ty, Type::List(_)) {
                    path.push(Step::Index(0));
                }
                if inner.field(name).is_some() {
                    known.push(path.clone());
                }
                next.push((path, inner));
            }
        }
        let there = known.iter().find(|path| locate::find(subject.root, path).missing == 0);
        if let Some(path) = there.or(known.first()) {
            return Some(path.clone());
        }
        now = next;
    }
    None
}

/// Steps as a path.
pub fn path_of(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(name) if path.is_empty() => path.push_str(name),
            Step::Key(name) => path.push_str(&format!(".{name}")),
            Step::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// Where it belongs, and how far it is to be indented if that place is in the file.
fn belongs(subject: &Subject<'_>, name: &str, steps: &[Step]) -> String {
    let path = path_of(steps);
    let place = if path.is_empty() { "at the top level".to_owned() } else { format!("under {path}") };
    let found = locate::find(subject.root, steps);
    let column = match (&found.node.shape, found.missing) {
        (Shape::Map(entries), 0) => entries.first().map(|(_, place, _)| place.column),
        _ => None,
    };
    match column {
        Some(1) => format!("{name:?} belongs {place}: do not indent it"),
        Some(column) => format!("{name:?} belongs {place}: indent it by {} spaces", column - 1),
        None => format!("{name:?} belongs {place}"),
    }
}

/// The keys of a map.
pub fn keys(node: &Node) -> Vec<&str> {
    match &node.shape {
        Shape::Map(entries) => entries.iter().map(|(key, _, _)| key.as_str()).collect(),
        _ => Vec::new(),
    }
}
