//! Entries of a kubeconfig made, changed and taken away: clusters, users, contexts, and single properties.

use std::path::PathBuf;

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{file_of, write};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::config::{self, Loaded};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, help};

/// `delete-cluster`.
pub const DELETE_CLUSTER: Command = Command {
    name: "delete-cluster",
    usage: "delete-cluster NAME",
    short: "Delete the specified cluster from the kubeconfig",
    run: boxed!(delete_cluster),
    ..Command::EMPTY
};

/// `delete-user`.
pub const DELETE_USER: Command = Command {
    name: "delete-user",
    usage: "delete-user NAME",
    short: "Delete the specified user from the kubeconfig",
    run: boxed!(delete_user),
    ..Command::EMPTY
};

/// `rename-context`.
pub const RENAME_CONTEXT: Command = Command {
    name: "rename-context",
    usage: "rename-context CONTEXT_NAME NEW_NAME",
    short: "Rename a context from the kubeconfig file",
    run: boxed!(rename_context),
    ..Command::EMPTY
};

/// `set`.
pub const SET: Command = Command {
    name: "set",
    usage: "set PROPERTY_NAME PROPERTY_VALUE",
    short: "Set an individual value in a kubeconfig file",
    long: "Set an individual value in a kubeconfig file.\n\n PROPERTY_NAME is a path with dots: users.me.token, contexts.dev.namespace.",
    flags: &[&[Flag::switch("set-raw-bytes", "Take the value of data as it is, without decoding base64")]],
    run: boxed!(set),
    ..Command::EMPTY
};

/// `set-cluster`.
pub const SET_CLUSTER: Command = Command {
    name: "set-cluster",
    usage: "set-cluster NAME [--server=server] [--certificate-authority=path/to/certificate/authority] [--insecure-skip-tls-verify=true] [--tls-server-name=example.com]",
    short: "Set a cluster entry in kubeconfig",
    flags: &[&[
        Flag::switch("embed-certs", "Put the certificate itself into the kubeconfig"),
        Flag::new("proxy-url", Kind::Text, "", "Proxy on the way to the cluster"),
    ]],
    run: boxed!(set_cluster),
    ..Command::EMPTY
};

/// `set-credentials`.
pub const SET_CREDENTIALS: Command = Command {
    name: "set-credentials",
    usage: "set-credentials NAME [--client-certificate=path/to/certfile] [--client-key=path/to/keyfile] [--token=bearer_token] [--username=basic_user] [--password=basic_password] [--auth-provider=provider_name] [--auth-provider-arg=key=value] [--exec-command=exec_command] [--exec-api-version=exec_api_version] [--exec-arg=arg] [--exec-env=key=value]",
    short: "Set a user entry in kubeconfig",
    flags: &[&[Flag::switch("embed-certs", "Put certificate and key themselves into the kubeconfig")]],
    run: boxed!(set_credentials),
    ..Command::EMPTY
};

/// `unset`.
pub const UNSET: Command = Command {
    name: "unset",
    usage: "unset PROPERTY_NAME",
    short: "Unset an individual value in a kubeconfig file",
    run: boxed!(unset),
    ..Command::EMPTY
};

/// Whether a list of the tree has an entry of this name.
fn has(tree: &Value, list: &str, name: &str) -> bool {
    tree.items(&[list]).iter().any(|one| one.text(&["name"]) == name)
}

/// The one argument that names an entry; without it the help is shown, as kubectl does.
fn one_name<'a>(invocation: &'a Invocation<'_>) -> Option<&'a str> {
    if let [name] = invocation.arguments() {
        return Some(name);
    }
    invocation.context.out(&help::command(
        invocation.command,
        &invocation.path,
        invocation.context.is_kubectl(),
    ));
    None
}

async fn delete_cluster(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let Some(name) = one_name(invocation) else { return Ok(()) };
    delete(invocation, "clusters", "cluster", name)
}

async fn delete_user(invocation: &Invocation<'_>) -> Result<(), Failure> {
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

async fn rename_context(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [old, new] = invocation.arguments() else {
        let words = invocation.arguments().join(" ");
        return Err(invocation.usage(&format!("Unexpected args: [{words}]")));
    };
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
fn entry(loaded: &Loaded, list: &str, inner: &str, name: &str) -> Result<(PathBuf, Value), Failure> {
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
fn fields<'a>(tree: &'a mut Value, list: &str, inner: &str, name: &str) -> Option<&'a mut Value> {
    let entries = tree[list].as_array_mut()?;
    let found = entries.iter_mut().find(|one| one["name"] == name)?;
    if !found[inner].is_object() {
        found[inner] = json!({});
    }
    Some(&mut found[inner])
}

/// A certificate or key by its path, or with `--embed-certs` by its bytes.
fn file_field(invocation: &Invocation<'_>, own: &mut Value, flag: &str) -> Result<(), Failure> {
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

async fn set_cluster(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let [name] = invocation.arguments() else {
        let words = invocation.arguments().join(" ");
        return Err(invocation.usage(&format!("Unexpected args: [{words}]")));
    };
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

async fn set_credentials(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let [name] = invocation.arguments() else {
        return Err(message(format!("unexpected args: [{}]", invocation.arguments().join(" "))));
    };
    if name.is_empty() {
        return Err(message("you must specify a non-empty user name"));
    }
    let text = |flag: &str| values.text(flag);
    let basic = !text("username").is_empty() || !text("password").is_empty();
    if basic && !text("token").is_empty() {
        return Err(message(
            "you cannot specify more than one authentication method at the same time: --token, --username/--password",
        ));
    }
    if values.on("embed-certs") && text("client-certificate").is_empty() && text("client-key").is_empty() {
        return Err(message("you must specify a --client-certificate or --client-key to embed"));
    }
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, mut tree) = entry(&loaded, "users", "user", name)?;
    if let Some(own) = fields(&mut tree, "users", "user", name) {
        for flag in ["client-certificate", "client-key"] {
            file_field(invocation, own, flag)?;
        }
        for flag in ["token", "username", "password"] {
            if values.given(flag) {
                own[flag] = text(flag).into();
            }
        }
        // One way of proving who one is replaces the other.
        if values.given("token") {
            own.unset(&["username"]);
            own.unset(&["password"]);
        }
        if basic {
            own.unset(&["token"]);
        }
    }
    write(&path, &tree)?;
    invocation.context.out(&format!("User {name:?} set.\n"));
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

async fn set(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [property, value] = invocation.arguments() else {
        let words = invocation.arguments().join(" ");
        return Err(invocation.usage(&format!("Unexpected args: [{words}]")));
    };
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

async fn unset(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [property] = invocation.arguments() else {
        let words = invocation.arguments().join(" ");
        return Err(invocation.usage(&format!("Unexpected args: [{words}]")));
    };
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
