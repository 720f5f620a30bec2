//! Entries of a kubeconfig made, changed and taken away: clusters, users, contexts, and single properties.

use std::path::PathBuf;

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{file_of, show_help, unexpected, write};
use crate::command::Invocation;
use crate::config::{self, Loaded};
use crate::failure::{Failure, message};

/// Whether a list of the tree has an entry of this name.
fn has(tree: &Value, list: &str, name: &str) -> bool {
    tree.items(&[list]).iter().any(|one| one.text(&["name"]) == name)
}

/// The one argument that names an entry; without it the help is shown, as kubectl does.
fn one_name<'a>(invocation: &'a Invocation<'_>) -> Option<&'a str> {
    if let [name] = invocation.arguments() {
        return Some(name);
    }
    show_help(invocation);
    None
}

pub(super) async fn delete_cluster(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let Some(name) = one_name(invocation) else { return Ok(()) };
    delete(invocation, "clusters", "cluster", name)
}

pub(super) async fn delete_user(invocation: &Invocation<'_>) -> Result<(), Failure> {
    match invocation.arguments() {
        [name] => delete(invocation, "users", "user", name),
        _ => Err(invocation.usage("user to delete is required")),
    }
}

fn delete(invocation: &Invocation<'_>, list: &str, what: &str, name: &str) -> Result<(), Failure> {
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, mut tree) = file_of(&loaded.paths, |tree| has(tree, list, name))?;
    if !has(&tree, list, name) {
        return Err(message(format!("cannot delete {what} {name}, not in {}", path.display())));
    }
    if let Some(list) = tree[list].as_array_mut() {
        list.retain(|one| one["name"] != name);
    }
    write(&path, &tree)?;
    invocation.context.out(&format!("deleted {what} {name} from {}\n", path.display()));
    Ok(())
}

pub(super) async fn rename_context(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [old, new] = invocation.arguments() else { return Err(unexpected(invocation)) };
    if new.is_empty() {
        return Err(message("You must specify a new non-empty context name"));
    }
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, mut tree) = file_of(&loaded.paths, |tree| has(tree, "contexts", old))?;
    if !has(&tree, "contexts", old) {
        let path = path.display();
        return Err(message(format!("cannot rename the context {old:?}, it's not in {path}")));
    }
    if loaded.config.contexts.iter().any(|one| one.name == *new) {
        return Err(message(format!(
            "cannot rename the context {old:?}, the context {new:?} already exists in {}",
            path.display()
        )));
    }
    for one in tree["contexts"].as_array_mut().into_iter().flatten() {
        if one["name"] == old.as_str() {
            one["name"] = new.as_str().into();
        }
    }
    if tree["current-context"] == old.as_str() {
        tree["current-context"] = new.as_str().into();
    }
    write(&path, &tree)?;
    invocation.context.out(&format!("Context {old:?} renamed to {new:?}.\n"));
    Ok(())
}

/// The file that has an entry, with the entry in it (made if there is none); `inner` is what it holds.
pub(super) fn entry(
    loaded: &Loaded,
    list: &str,
    inner: &str,
    name: &str,
) -> Result<(PathBuf, Value), Failure> {
    let (path, mut tree) = file_of(&loaded.paths, |tree| has(tree, list, name))?;
    if !tree[list].is_array() {
        tree[list] = json!([]);
    }
    if !has(&tree, list, name)
        && let Some(entries) = tree[list].as_array_mut()
    {
        entries.push(json!({"name": name, inner: {}}));
        entries.sort_by(|a, b| a.text(&["name"]).cmp(b.text(&["name"])));
    }
    Ok((path, tree))
}

/// The fields of an entry.
pub(super) fn fields<'a>(tree: &'a mut Value, list: &str, inner: &str, name: &str) -> Option<&'a mut Value> {
    let entries = tree[list].as_array_mut()?;
    let found = entries.iter_mut().find(|one| one["name"] == name)?;
    if !found[inner].is_object() {
        found[inner] = json!({});
    }
    Some(&mut found[inner])
}

/// A certificate or key by its path, or with `--embed-certs` by its bytes.
pub(super) fn file_field(invocation: &Invocation<'_>, own: &mut Value, flag: &str) -> Result<(), Failure> {
    use base64::Engine;
    let values = &invocation.values;
    if !values.given(flag) {
        return Ok(());
    }
    let path = values.text(flag);
    let data = format!("{flag}-data");
    if values.on("embed-certs") {
        let bytes = std::fs::read(path).map_err(|error| {
            let words = crate::text::io_words(&error);
            message(format!("could not stat {flag} file {path}: stat {path}: {words}"))
        })?;
        own[data.as_str()] = base64::engine::general_purpose::STANDARD.encode(bytes).into();
        own.unset(&[flag]);
        return Ok(());
    }
    let whole = std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string());
    own[flag] = whole.into();
    own.unset(&[data.as_str()]);
    Ok(())
}

pub(super) async fn set_cluster(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let [name] = invocation.arguments() else { return Err(unexpected(invocation)) };
    if name.is_empty() {
        return Err(message("you must specify a non-empty cluster name"));
    }
    let authority = values.text("certificate-authority");
    if values.on("insecure-skip-tls-verify") && !authority.is_empty() {
        return Err(message("you cannot specify a certificate authority and insecure mode at the same time"));
    }
    if values.on("embed-certs") && authority.is_empty() {
        return Err(message("you must specify a --certificate-authority to embed"));
    }
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, mut tree) = entry(&loaded, "clusters", "cluster", name)?;
    if let Some(own) = fields(&mut tree, "clusters", "cluster", name) {
        if values.given("insecure-skip-tls-verify") {
            own.unset(&["insecure-skip-tls-verify"]);
            if values.on("insecure-skip-tls-verify") {
                own["insecure-skip-tls-verify"] = true.into();
                own.unset(&["certificate-authority"]);
                own.unset(&["certificate-authority-data"]);
            }
        }
        for flag in ["server", "tls-server-name", "proxy-url"] {
            if values.given(flag) {
                own[flag] = values.text(flag).into();
            }
        }
        if values.given("certificate-authority") {
            own.unset(&["insecure-skip-tls-verify"]);
        }
        file_field(invocation, own, "certificate-authority")?;
    }
    write(&path, &tree)?;
    invocation.context.out(&format!("Cluster {name:?} set.\n"));
    Ok(())
}

/// Where a property stands: `users.me.token`.
enum Place<'a> {
    /// `current-context` and the like.
    Top(&'a str),
    /// A whole entry.
    Entry(&'static str, &'a str),
    /// A field of an entry.
    Field(&'static str, &'static str, &'a str, &'a str),
}

impl<'a> Place<'a> {
    fn of(property: &'a str) -> Result<Self, Failure> {
        let Some((list, rest)) = property.split_once('.') else { return Ok(Self::Top(property)) };
        let (list, inner) = match list {
            "clusters" => ("clusters", "cluster"),
            "users" => ("users", "user"),
            "contexts" => ("contexts", "context"),
            other => return Err(message(format!("unable to locate path {other:?} in a kubeconfig"))),
        };
        // Names may have dots: the longest known field at the end is the field.
        let field = rest.rsplit_once('.').filter(|(_, field)| FIELDS.contains(field));
        Ok(match field {
            Some((name, field)) => Self::Field(list, inner, name, field),
            None => Self::Entry(list, rest),
        })
    }
}

/// Fields of entries that can be set.
const FIELDS: [&str; 18] = [
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
    "client-certificate",
    "client-certificate-data",
    "client-key",
    "client-key-data",
    "token",
    "tokenFile",
    "username",
    "password",
    "cluster",
    "user",
    "namespace",
];

pub(super) async fn set(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [property, value] = invocation.arguments() else { return Err(unexpected(invocation)) };
    if value.is_empty() {
        return Err(message("you cannot use set to unset a property"));
    }
    if property.is_empty() {
        return Err(message("you must specify a property"));
    }
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, tree) = match Place::of(property)? {
        Place::Top("current-context") => {
            let (path, mut tree) =
                file_of(&loaded.paths, |tree| !tree.text(&["current-context"]).is_empty())?;
            tree["current-context"] = value.as_str().into();
            (path, tree)
        }
        Place::Field(list, inner, name, field) => {
            let (path, mut tree) = entry(&loaded, list, inner, name)?;
            if let Some(own) = fields(&mut tree, list, inner, name) {
                own[field] = match field {
                    "insecure-skip-tls-verify" | "disable-compression" => {
                        let known = crate::flags::parse::boolean(value);
                        let wrong =
                            || message(format!("strconv.ParseBool: parsing {value:?}: invalid syntax"));
                        known.ok_or_else(wrong)?.into()
                    }
                    field if field.ends_with("-data") => data(value, invocation.values.on("set-raw-bytes"))?,
                    _ => value.as_str().into(),
                };
            }
            (path, tree)
        }
        Place::Top(other) | Place::Entry(_, other) => {
            return Err(message(format!("{other:?} is no single value: name one of its fields")));
        }
    };
    write(&path, &tree)?;
    invocation.context.out(&format!("Property {property:?} set.\n"));
    Ok(())
}

/// Bytes as base64, given so or raw.
fn data(value: &str, raw: bool) -> Result<Value, Failure> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    if raw {
        return Ok(engine.encode(value).into());
    }
    match engine.decode(value) {
        Ok(_) => Ok(value.into()),
        Err(error) => Err(message(format!("error decoding input value: {error}"))),
    }
}

pub(super) async fn unset(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [property] = invocation.arguments() else { return Err(unexpected(invocation)) };
    if property.is_empty() {
        return Err(message("you must specify a property"));
    }
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, tree) = match Place::of(property)? {
        Place::Top(name @ ("current-context" | "clusters" | "users" | "contexts")) => {
            let (path, mut tree) = file_of(&loaded.paths, |tree| !tree[name].is_null())?;
            tree[name] = if name == "current-context" { "".into() } else { json!([]) };
            (path, tree)
        }
        Place::Top(other) => return Err(message(format!("unable to locate path {other:?} in a kubeconfig"))),
        Place::Entry(list, name) => {
            let (path, mut tree) = file_of(&loaded.paths, |tree| has(tree, list, name))?;
            if !has(&tree, list, name) {
                return Err(message(format!("current map key `{name}` is invalid")));
            }
            if let Some(entries) = tree[list].as_array_mut() {
                entries.retain(|one| one["name"] != name);
            }
            (path, tree)
        }
        Place::Field(list, inner, name, field) => {
            let (path, mut tree) = file_of(&loaded.paths, |tree| has(tree, list, name))?;
            if !has(&tree, list, name) {
                return Err(message(format!("current map key `{name}` is invalid")));
            }
            if let Some(own) = fields(&mut tree, list, inner, name) {
                own.unset(&[field]);
            }
            (path, tree)
        }
    };
    write(&path, &tree)?;
    invocation.context.out(&format!("Property {property:?} unset.\n"));
    Ok(())
}
