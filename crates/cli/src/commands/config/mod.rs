//! `config`: the kubeconfig shown and changed.

mod credentials;
mod entries;

use std::path::PathBuf;

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::boxed;
use crate::command::{Command, Invocation};
use crate::config;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Groups, Kind, help, shared};
use crate::printers::{self, Format};
use crate::text::tabs::Remembered;

type Run = Option<for<'a> fn(&'a Invocation<'a>) -> crate::command::Outcome<'a>>;

const fn verb(name: &'static str, usage: &'static str, short: &'static str, run: Run) -> Command {
    Command { name, usage, short, run, ..Command::EMPTY }
}

const fn verb_with(flags: Groups, verb: Command) -> Command {
    Command { flags, ..verb }
}

/// The command.
pub const COMMAND: Command = Command {
    name: "config",
    usage: "config SUBCOMMAND",
    short: "Modify kubeconfig files",
    long: "Modify kubeconfig files. The file is the one of --kubeconfig, of $KUBECONFIG, or ~/.kube/config.",
    subcommands: &[
        verb("current-context", "current-context [flags]", "Display the current-context", boxed!(current)),
        verb(
            "delete-cluster",
            "delete-cluster NAME",
            "Delete the specified cluster from the kubeconfig",
            boxed!(entries::delete_cluster),
        ),
        verb(
            "delete-context",
            "delete-context NAME",
            "Delete the specified context from the kubeconfig",
            boxed!(delete_context),
        ),
        verb(
            "delete-user",
            "delete-user NAME",
            "Delete the specified user from the kubeconfig",
            boxed!(entries::delete_user),
        ),
        verb(
            "get-clusters",
            "get-clusters [flags]",
            "Display clusters defined in the kubeconfig",
            boxed!(get_clusters),
        ),
        verb_with(
            &[&[
                Flag::switch("no-headers", "Print no header line"),
                Flag::new("output", Kind::Text, "", "name").short('o'),
            ]],
            verb(
                "get-contexts",
                "get-contexts [(-o|--output=)name)]",
                "Describe one or many contexts",
                boxed!(get_contexts),
            ),
        ),
        verb("get-users", "get-users [flags]", "Display users defined in the kubeconfig", boxed!(get_users)),
        verb(
            "rename-context",
            "rename-context CONTEXT_NAME NEW_NAME",
            "Rename a context from the kubeconfig file",
            boxed!(entries::rename_context),
        ),
        Command {
            long: "Set an individual value in a kubeconfig file.\n\n PROPERTY_NAME is a path with dots: users.me.token, contexts.dev.namespace.",
            ..verb_with(
                &[&[Flag::switch(
                    "set-raw-bytes",
                    "Take the value of data as it is, without decoding base64",
                )]],
                verb(
                    "set",
                    "set PROPERTY_NAME PROPERTY_VALUE",
                    "Set an individual value in a kubeconfig file",
                    boxed!(entries::set),
                ),
            )
        },
        verb_with(
            &[&[
                Flag::new("certificate-authority", Kind::Text, "", "File with the certificate authority"),
                Flag::switch("embed-certs", "Put the certificate itself into the kubeconfig"),
                Flag::switch("insecure-skip-tls-verify", "Do not check the cluster's certificate: insecure"),
                Flag::new("proxy-url", Kind::Text, "", "Proxy on the way to the cluster"),
                Flag::new("server", Kind::Text, "", "Address of the cluster's API server"),
                Flag::new("tls-server-name", Kind::Text, "", "Name to check the certificate against"),
            ]],
            verb(
                "set-cluster",
                "set-cluster NAME [--server=server] [--certificate-authority=path/to/certificate/authority] [--insecure-skip-tls-verify=true] [--tls-server-name=example.com]",
                "Set a cluster entry in kubeconfig",
                boxed!(entries::set_cluster),
            ),
        ),
        verb_with(
            &[&[
                Flag::new("cluster", Kind::Text, "", "The context's cluster"),
                Flag::switch("current", "Modify the current context"),
                Flag::new("namespace", Kind::Text, "", "The context's namespace").short('n'),
                Flag::new("user", Kind::Text, "", "The context's user"),
            ]],
            verb(
                "set-context",
                "set-context [NAME | --current] [--cluster=cluster_nickname] [--user=user_nickname] [--namespace=namespace]",
                "Set a context entry in kubeconfig",
                boxed!(set_context),
            ),
        ),
        verb_with(
            &[credentials::FLAGS],
            verb(
                "set-credentials",
                "set-credentials NAME [--client-certificate=path/to/certfile] [--client-key=path/to/keyfile] [--token=bearer_token] [--username=basic_user] [--password=basic_password] [--auth-provider=provider_name] [--auth-provider-arg=key=value] [--exec-command=exec_command] [--exec-api-version=exec_api_version] [--exec-arg=arg] [--exec-env=key=value]",
                "Set a user entry in kubeconfig",
                boxed!(credentials::set),
            ),
        ),
        verb(
            "unset",
            "unset PROPERTY_NAME",
            "Unset an individual value in a kubeconfig file",
            boxed!(entries::unset),
        ),
        Command {
            aliases: &["use"],
            ..verb(
                "use-context",
                "use-context CONTEXT_NAME",
                "Set the current-context in a kubeconfig file",
                boxed!(use_context),
            )
        },
        verb_with(
            &[
                shared::OUTPUT_YAML,
                &[
                    Flag::switch("flatten", "Put the contents of files in place of their names"),
                    Flag::new("merge", Kind::Bool, "true", "Merge all files of $KUBECONFIG"),
                    Flag::switch("minify", "Only what the current context uses"),
                    Flag::switch("raw", "Show certificates and secrets"),
                ],
            ],
            verb(
                "view",
                "view [flags]",
                "Display merged kubeconfig settings or a specified kubeconfig file",
                boxed!(view),
            ),
        ),
    ],
    ..Command::EMPTY
};

/// Prints the command's help, as kubectl does where arguments are missing.
fn show_help(invocation: &Invocation<'_>) {
    let Invocation { context, command, path, .. } = invocation;
    context.out(&help::command(command, path, context.is_kubectl()));
}

/// The help, and then what is said about other arguments than there should be.
fn unexpected(invocation: &Invocation<'_>) -> Failure {
    show_help(invocation);
    message(format!("Unexpected args: [{}]", invocation.arguments().join(" ")))
}

async fn current(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let loaded = config::load(invocation.context, &invocation.values)?;
    if loaded.config.current_context.is_empty() {
        return Err(message("current-context is not set"));
    }
    invocation.context.out(&format!("{}\n", loaded.config.current_context));
    Ok(())
}

async fn get_clusters(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let loaded = config::load(invocation.context, &invocation.values)?;
    invocation.context.out("NAME\n");
    loaded.config.clusters.iter().for_each(|one| invocation.context.out(&format!("{}\n", one.name)));
    Ok(())
}

async fn get_users(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let loaded = config::load(invocation.context, &invocation.values)?;
    invocation.context.out("NAME\n");
    loaded.config.users.iter().for_each(|one| invocation.context.out(&format!("{}\n", one.name)));
    Ok(())
}

async fn get_contexts(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let config = config::load(invocation.context, values)?.config;
    let names = values.text("output") == "name";
    if !names && !values.text("output").is_empty() {
        return Err(message("output must be one of '' or 'name': ".to_owned() + values.text("output")));
    }
    let wanted = invocation.arguments();
    let mut failures = Vec::new();
    for name in wanted.iter().filter(|name| !config.contexts.iter().any(|one| one.name == **name)) {
        failures.push(message(format!("context {name} not found")));
    }
    let mut contexts: Vec<_> =
        config.contexts.iter().filter(|one| wanted.is_empty() || wanted.contains(&one.name)).collect();
    contexts.sort_by(|a, b| a.name.cmp(&b.name));
    if names {
        contexts.iter().for_each(|one| invocation.context.out(&format!("{}\n", one.name)));
        return crate::builder::gather(failures);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    if !values.on("no-headers") {
        rows.push(["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"].map(str::to_owned).to_vec());
    }
    for one in contexts {
        let mark = if one.name == config.current_context { "*" } else { "" };
        let namespace = one.context.namespace.clone().unwrap_or_default();
        rows.push(vec![
            mark.into(),
            one.name.clone(),
            one.context.cluster.clone(),
            one.context.user.clone(),
            namespace,
        ]);
    }
    invocation.context.out(&Remembered::default().align(&rows));
    crate::builder::gather(failures)
}

/// The file to change, as a tree: paths in it stay as they are written.
fn read(path: &PathBuf) -> Result<Value, Failure> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(
            json!({"apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": [], "current-context": ""}),
        );
    };
    let tree = crate::manifest::parse(&text);
    tree.map_err(|error| {
        message(format!("error loading config file {:?}: {error}", path.display().to_string()))
    })
}

/// Writes a file whole or not at all, for its owner only.
fn write(path: &PathBuf, tree: &Value) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |error: std::io::Error| message(format!("writing {}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut name = path.clone().into_os_string();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    file.write_all(crate::yaml::to_string(tree).as_bytes()).map_err(failed)?;
    // A link to the real file stays a link.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    std::fs::rename(&temporary, target).map_err(failed)
}

/// The file that holds a context, or else the first one.
fn file_of(paths: &[PathBuf], holds: impl Fn(&Value) -> bool) -> Result<(PathBuf, Value), Failure> {
    for path in paths.iter().filter(|path| path.exists()) {
        let tree = read(path)?;
        if holds(&tree) {
            return Ok((path.clone(), tree));
        }
    }
    let path = paths
        .first()
        .ok_or_else(|| message("no kubeconfig file: neither $KUBECONFIG nor a home directory is set"))?;
    Ok((path.clone(), read(path)?))
}

fn has_context(tree: &Value, name: &str) -> bool {
    tree.items(&["contexts"]).iter().any(|one| one.text(&["name"]) == name)
}

async fn use_context(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [name] = invocation.arguments() else { return Err(unexpected(invocation)) };
    let loaded = config::load(invocation.context, &invocation.values)?;
    if loaded.config.context(name).is_none() || name.is_empty() {
        return Err(message(format!("no context exists with the name: {name:?}")));
    }
    let (path, mut tree) = file_of(&loaded.paths, |tree| !tree.text(&["current-context"]).is_empty())?;
    tree["current-context"] = name.as_str().into();
    write(&path, &tree)?;
    invocation.context.out(&format!("Switched to context {name:?}.\n"));
    Ok(())
}

async fn set_context(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let loaded = config::load(invocation.context, values)?;
    let name = match (invocation.arguments(), values.on("current")) {
        ([name], false) => name.clone(),
        ([], true) if loaded.config.current_context.is_empty() => {
            return Err(message("no current context is set"));
        }
        ([], true) => loaded.config.current_context.clone(),
        ([_], true) => return Err(message("you cannot specify both a context name and --current")),
        ([], false) => return Err(message("you must specify a non-empty context name or --current")),
        _ => return Err(unexpected(invocation)),
    };
    let exists = loaded.config.context(&name).is_some();
    let (path, mut tree) = file_of(&loaded.paths, |tree| has_context(tree, &name))?;
    if !tree["contexts"].is_array() {
        tree["contexts"] = json!([]);
    }
    if !has_context(&tree, &name)
        && let Some(list) = tree["contexts"].as_array_mut()
    {
        list.push(json!({"name": name, "context": {"cluster": "", "user": ""}}));
    }
    for one in
        tree["contexts"].as_array_mut().into_iter().flatten().filter(|one| one["name"] == name.as_str())
    {
        for field in ["cluster", "user", "namespace"] {
            if values.given(field) {
                one["context"][field] = values.text(field).into();
            }
        }
    }
    write(&path, &tree)?;
    invocation.context.out(&format!("Context {name:?} {}.\n", if exists { "modified" } else { "created" }));
    Ok(())
}

async fn delete_context(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [name] = invocation.arguments() else { return Err(invocation.usage("context name is required")) };
    let loaded = config::load(invocation.context, &invocation.values)?;
    let (path, mut tree) = file_of(&loaded.paths, |tree| has_context(tree, name))?;
    if !has_context(&tree, name) {
        return Err(message(format!("cannot delete context {name}, not in {}", path.display())));
    }
    if loaded.config.current_context == *name {
        invocation.context.err(&format!("warning: this removed your active context, use \"{} config use-context\" to select a different one\n", invocation.context.program));
    }
    if let Some(list) = tree["contexts"].as_array_mut() {
        list.retain(|one| one["name"] != name.as_str());
    }
    write(&path, &tree)?;
    invocation.context.out(&format!("deleted context {name} from {}\n", path.display()));
    Ok(())
}

async fn view(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let mut config = config::load(invocation.context, values)?.config;
    if !values.on("merge") && values.global("kubeconfig").is_empty() {
        return Err(message("if merge==false a precise file must be specified"));
    }
    if values.on("flatten") {
        return Err(message("--flatten is not supported: certificates stay in their files"));
    }
    if values.on("minify") {
        let name = match values.text("context") {
            "" => config.current_context.clone(),
            name => name.to_owned(),
        };
        let chosen = config.context(&name).cloned();
        let chosen = chosen.ok_or_else(|| message(format!("cannot locate context {name}")))?;
        config.contexts.retain(|one| one.name == name);
        config.clusters.retain(|one| one.name == chosen.cluster);
        config.users.retain(|one| one.name == chosen.user);
        config.current_context = name;
    }
    config.api_version = "v1".into();
    config.kind = "Config".into();
    let mut tree = serde_json::to_value(&config).map_err(|error| message(error.to_string()))?;
    // What nobody sets any more is not shown.
    tree.unset(&["preferences"]);
    for (list, empty) in [
        ("clusters", config.clusters.is_empty()),
        ("contexts", config.contexts.is_empty()),
        ("users", config.users.is_empty()),
    ] {
        if empty {
            tree[list] = Value::Null;
        }
    }
    if !values.on("raw") {
        hide(&mut tree);
    }
    let text = match printers::outcome_format(values)? {
        Format::Human { .. } => crate::yaml::to_string(&tree),
        Format::Printer(printer) => printer.print(&tree)?,
    };
    invocation.context.out(&text);
    Ok(())
}

/// Puts words in place of what others must not see.
fn hide(tree: &mut Value) {
    for cluster in tree["clusters"].as_array_mut().into_iter().flatten() {
        if cluster["cluster"].get("certificate-authority-data").is_some() {
            cluster["cluster"]["certificate-authority-data"] = "DATA+OMITTED".into();
        }
    }
    for user in tree["users"].as_array_mut().into_iter().flatten() {
        for (field, words) in [
            ("client-certificate-data", "DATA+OMITTED"),
            ("client-key-data", "DATA+OMITTED"),
            ("token", "REDACTED"),
            ("password", "REDACTED"),
        ] {
            if user["user"].get(field).is_some() {
                user["user"][field] = words.into();
            }
        }
    }
}
