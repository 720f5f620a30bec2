//! `set env`: variables of containers set, removed, listed, and taken from ConfigMaps and Secrets.

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::change::{self, Changer, change_all};
use super::{CONTAINERS, check_choice, containers};
use crate::builder::{self, Choice};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;

/// The command.
pub const COMMAND: Command = Command {
    name: "env",
    usage: "env RESOURCE/NAME KEY_1=VAL_1 ... KEY_N=VAL_N",
    short: "Update environment variables on a pod template",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::SELECTOR,
        &shared::manager("kubectl-set"),
        &[
            super::ALL,
            super::LOCAL,
            CONTAINERS,
            Flag::new("env", Kind::Array, "", "A variable (KEY=VALUE); may be repeated").short('e'),
            Flag::new("from", Kind::Text, "", "ConfigMap or Secret to take variables from (configmap/name)"),
            Flag::new("keys", Kind::Texts, "", "Only these keys of --from"),
            Flag::switch("list", "Show the variables"),
            Flag::new("overwrite", Kind::Bool, "true", "Change variables that are there already"),
            Flag::new("prefix", Kind::Text, "", "Put this in front of the variables' names"),
            Flag::switch("resolve", "With --list: values in place of references"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    check_choice(invocation)?;
    let is_variable = |word: &&String| word.find('=').is_some_and(|at| at > 0) || word.ends_with('-');
    let arguments = invocation.arguments();
    let at = arguments.iter().position(|word| is_variable(&word)).unwrap_or(arguments.len());
    let (resources, words) = arguments.split_at(at);
    if !words.iter().all(|word| is_variable(&word)) {
        return Err(message(format!(
            "all resources must be specified before environment changes: {}",
            arguments.join(" ")
        )));
    }
    if resources.is_empty() && Files::of(values)?.is_empty() {
        return Err(message(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    if values.on("list") && !values.text("output").is_empty() {
        return Err(message("--list and --output may not be specified together"));
    }
    if !values.texts("keys").is_empty() && values.text("from").is_empty() {
        return Err(message("when specifying --keys, a configmap or secret must be provided with --from"));
    }
    if values.on("resolve") {
        return Err(message("--resolve is not supported: references are listed as they are"));
    }
    let (mut set, remove) = variables(invocation, words)?;
    if !values.text("from").is_empty() {
        set.extend(imported(invocation).await?);
    }
    for variable in &mut set {
        let name = format!("{}{}", values.text("prefix"), variable.text(&["name"]));
        variable["name"] = name.into();
    }
    let changer =
        Changer { failed: "failed to patch env update to pod template:", ..Changer::new(resources) };
    let found = change::find(invocation, &changer).await?;
    if values.on("list") {
        return list(invocation, found, &set, &remove);
    }
    change_all(invocation, &changer, found, |target, spec| {
        let named = containers(spec, values.text("containers"));
        if named.is_empty() {
            invocation.context.err(&format!(
                "Warning: {}/{} does not have any containers matching {:?}\n",
                target.mapping.kind,
                target.name.as_deref().unwrap_or_default(),
                values.text("containers")
            ));
        }
        for container in named {
            if !values.on("overwrite") {
                refuse_overwrites(container, &set)?;
            }
            update(container, &set, &remove);
        }
        Ok(Vec::new())
    })
    .await
}

/// `A=b` and `A-`, and of standard input where `-` is given.
fn variables(invocation: &Invocation<'_>, words: &[String]) -> Result<(Vec<Value>, Vec<String>), Failure> {
    let (mut set, mut remove) = (Vec::new(), Vec::new());
    for word in invocation.values.texts("env").iter().chain(words) {
        if word == "-" {
            let text = invocation.context.read_stdin().map_err(|error| message(error.to_string()))?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
            set.extend(
                lines.filter_map(|line| line.split_once('=')).map(|(key, value)| variable(key, value)),
            );
        } else if let Some((key, value)) = word.split_once('=') {
            let problems = model::names::strict_env_name(key);
            if !problems.is_empty() {
                return Err(message(format!("{key:?} is not a valid key name: {}", problems.join(";"))));
            }
            set.push(variable(key, value));
        } else if let Some(key) = word.strip_suffix('-') {
            remove.push(key.to_owned());
        } else {
            return Err(message(format!("unknown environment variable: {word}")));
        }
    }
    if remove.iter().any(|key| set.iter().any(|own| own["name"] == key.as_str())) {
        return Err(message(
            "can not both modify and remove the same environment variable in the same command",
        ));
    }
    Ok((set, remove))
}

fn variable(key: &str, value: &str) -> Value {
    if value.is_empty() { json!({"name": key}) } else { json!({"name": key, "value": value}) }
}

/// The variables of `--from`.
async fn imported(invocation: &Invocation<'_>) -> Result<Vec<Value>, Failure> {
    let values = &invocation.values;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice { selector: String::new(), ..Choice::of(invocation)? };
    let keys = values.texts("keys");
    let mut found = Vec::new();
    for target in builder::from_arguments(&mapper, &choice, &[values.text("from").to_owned()])? {
        let object = api.get(&target.path()).await?;
        let field = match object.kind() {
            "ConfigMap" => "configMapKeyRef",
            "Secret" => "secretKeyRef",
            _ => return Err(message("unsupported resource specified in --from")),
        };
        for key in object["data"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            if !keys.is_empty() && !keys.contains(key) {
                continue;
            }
            let letter =
                |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_uppercase() } else { '_' };
            let name: String = key.chars().map(letter).collect();
            if name != *key {
                invocation.context.err(&format!("Warning: key {key} transferred to {name}\n"));
            }
            found.push(json!({"name": name, "valueFrom": {field: {"name": object.name(), "key": key}}}));
        }
    }
    Ok(found)
}

fn refuse_overwrites(container: &Value, set: &[Value]) -> Result<(), Failure> {
    for own in container.items(&["env"]) {
        let newer = set.iter().find(|one| one["name"] == own["name"]);
        if newer.is_some_and(|newer| newer.text(&["value"]) != own.text(&["value"])) {
            return Err(message(format!(
                "'{}' already has a value ({}), and --overwrite is false",
                own.text(&["name"]),
                own.text(&["value"])
            )));
        }
    }
    Ok(())
}

/// The container's variables after the change: those that stay in their places, new ones at the end.
fn update(container: &mut Value, set: &[Value], remove: &[String]) {
    let mut covered: Vec<String> = remove.to_vec();
    let mut out = Vec::new();
    let known: Vec<Value> = container.items(&["env"]).to_vec();
    for own in known.iter().chain(set) {
        let name = own.text(&["name"]).to_owned();
        if covered.contains(&name) {
            continue;
        }
        match set.iter().find(|one| one["name"] == own["name"]) {
            Some(newer) => {
                covered.push(name);
                out.push(newer.clone());
            }
            None => out.push(own.clone()),
        }
    }
    if out.is_empty() {
        container.unset(&["env"]);
    } else {
        container["env"] = out.into();
    }
}

fn list(
    invocation: &Invocation<'_>,
    found: Vec<Result<crate::builder::Target, Failure>>,
    set: &[Value],
    remove: &[String],
) -> Result<(), Failure> {
    for target in found {
        let mut object = target?.object.unwrap_or_default();
        let (kind, name) = (object.kind().to_owned(), object.name().to_owned());
        for container in containers(change::pod_spec(&mut object)?, invocation.values.text("containers")) {
            update(container, set, remove);
            invocation.context.out(&format!("# {kind} {name}, container {}\n", container.text(&["name"])));
            for one in container.items(&["env"]) {
                let name = one.text(&["name"]);
                invocation.context.out(&match one.get("valueFrom") {
                    None => format!("{name}={}\n", one.text(&["value"])),
                    Some(source) => format!("# {name} from {}\n", reference(source)),
                });
            }
        }
    }
    Ok(())
}

/// Where a variable's value comes from, in words.
fn reference(source: &Value) -> String {
    let text = |path: &[&str]| source.text(path).to_owned();
    for (field, what) in [("configMapKeyRef", "configmap"), ("secretKeyRef", "secret")] {
        if source.get(field).is_some() {
            return format!("{what} {}, key {}", text(&[field, "name"]), text(&[field, "key"]));
        }
    }
    if source.get("fieldRef").is_some() {
        return format!("field path {}", text(&["fieldRef", "fieldPath"]));
    }
    if source.get("resourceFieldRef").is_some() {
        let container = text(&["resourceFieldRef", "containerName"]);
        let prefix = if container.is_empty() { String::new() } else { format!("{container}/") };
        return format!("resource field {prefix}{}", text(&["resourceFieldRef", "resource"]));
    }
    "invalid valueFrom".into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_keep_their_places() {
        let mut container = json!({"env": [{"name": "A", "value": "1"}, {"name": "B"}, {"name": "C"}]});
        update(&mut container, &[variable("D", "4"), variable("A", "2")], &["B".into()]);
        assert_eq!(
            container["env"],
            json!([{"name": "A", "value": "2"}, {"name": "C"}, {"name": "D", "value": "4"}])
        );
        update(&mut container, &[], &["A".into(), "C".into(), "D".into()]);
        assert_eq!(container, json!({}));
    }
}
