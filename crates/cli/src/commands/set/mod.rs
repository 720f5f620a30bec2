//! `set`: what containers of Pods and Pod templates are made of, changed by flags.

mod change;
mod environment;
mod references;

pub use change::{Changer, change_objects, find};

use change::change_all;

use serde_json::Value;

use super::boxed;
use super::create::policies::quantities;
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};

const ALL: Flag = Flag::switch("all", "All objects of the types in the namespace");
const LOCAL: Flag = Flag::switch("local", "Change the object of the file and print it: no server is asked");

/// The command.
pub const COMMAND: Command = Command {
    name: "set",
    usage: "set SUBCOMMAND",
    short: "Set specific features on objects",
    long: "Configure application resources.\n\n These commands help you make changes to existing application resources.",
    subcommands: &[
        environment::COMMAND,
        Command {
            name: "image",
            usage: "image (-f FILENAME | TYPE NAME) CONTAINER_NAME_1=CONTAINER_IMAGE_1 ... CONTAINER_NAME_N=CONTAINER_IMAGE_N",
            short: "Update the image of a pod template",
            flags: &[
                shared::FILES,
                shared::OUTPUT,
                shared::DRY_RUN,
                shared::SELECTOR,
                &shared::manager("kubectl-set"),
                &[ALL, LOCAL],
            ],
            run: boxed!(image),
            ..Command::EMPTY
        },
        Command {
            name: "resources",
            usage: "resources (-f FILENAME | TYPE NAME)  ([--limits=LIMITS & --requests=REQUESTS]",
            short: "Update resource requests/limits on objects with pod templates",
            flags: &[
                shared::FILES,
                shared::OUTPUT,
                shared::DRY_RUN,
                shared::SELECTOR,
                &shared::manager("kubectl-set"),
                &[
                    ALL,
                    LOCAL,
                    CONTAINERS,
                    Flag::new("limits", Kind::Text, "", "Limits (cpu=100m,memory=256Mi)"),
                    Flag::new("requests", Kind::Text, "", "Requests (cpu=100m,memory=256Mi)"),
                ],
            ],
            run: boxed!(resource_limits),
            ..Command::EMPTY
        },
        references::SELECTOR,
        Command {
            name: "serviceaccount",
            aliases: &["sa"],
            usage: "serviceaccount (-f FILENAME | TYPE NAME) SERVICE_ACCOUNT",
            short: "Update the service account of a resource",
            flags: &[
                shared::FILES,
                shared::OUTPUT,
                shared::DRY_RUN,
                &shared::manager("kubectl-set"),
                &[ALL, LOCAL],
            ],
            run: boxed!(service_account),
            ..Command::EMPTY
        },
        references::SUBJECT,
    ],
    ..Command::EMPTY
};

/// `-c` of the commands that change several containers.
const CONTAINERS: Flag =
    Flag::new("containers", Kind::Text, "*", "Names of the containers to change; * stands for any letters")
        .short('c');

/// Whether a name fits a text with `*`.
fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, "")) => name.starts_with(head),
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(&rest[at..], tail))
        }),
    }
}

/// The containers of a Pod's specification that `pattern` names: the main ones, then those of initialisation.
fn containers<'a>(spec: &'a mut Value, pattern: &str) -> Vec<&'a mut Value> {
    let Some(spec) = spec.as_object_mut() else { return Vec::new() };
    let (mut main, mut init) = (Vec::new(), Vec::new());
    for (key, list) in spec.iter_mut() {
        let place = match key.as_str() {
            "containers" => &mut main,
            "initContainers" => &mut init,
            _ => continue,
        };
        let named = |one: &&mut Value| one["name"].as_str().is_some_and(|name| fits(name, pattern));
        place.extend(list.as_array_mut().into_iter().flatten().filter(named));
    }
    main.append(&mut init);
    main
}

/// Types and names first, then pairs.
fn divide<'a>(arguments: &'a [String], what: &str) -> Result<(&'a [String], &'a [String]), Failure> {
    let is_pair =
        |word: &str| (word.contains('=') && !word.starts_with('=')) || (word.ends_with('-') && word != "-");
    let at = arguments.iter().position(|word| is_pair(word)).unwrap_or(arguments.len());
    let (resources, pairs) = arguments.split_at(at);
    match pairs.iter().find(|word| !is_pair(word)) {
        Some(stray) => {
            Err(message(format!("all resources must be specified before {what} changes: {stray}")))
        }
        None => Ok((resources, pairs)),
    }
}

/// What every command of this kind refuses.
fn check_local(invocation: &Invocation<'_>) -> Result<(), Failure> {
    if invocation.values.on("local") && invocation.dry_run()? == DryRun::Server {
        return Err(message("cannot specify --local and --dry-run=server - did you mean --dry-run=client?"));
    }
    Ok(())
}

/// What those refuse that take objects by label.
fn check_choice(invocation: &Invocation<'_>) -> Result<(), Failure> {
    check_local(invocation)?;
    if invocation.values.on("all") && !invocation.values.text("selector").is_empty() {
        return Err(message("cannot set --all and --selector at the same time"));
    }
    Ok(())
}

async fn image(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let (resources, pairs) = divide(invocation.arguments(), "image")?;
    let mut images: Vec<(String, String)> = Vec::new();
    let mut wrong = Vec::new();
    for pair in pairs {
        match pair.split_once('=') {
            Some((name, image)) => {
                images.retain(|(own, _)| own != name);
                images.push((name.to_owned(), image.to_owned()));
            }
            None => wrong.push(pair.as_str()),
        }
    }
    if !wrong.is_empty() {
        return Err(message(format!("invalid image format: {}", wrong.join(", "))));
    }
    let changer =
        Changer { failed: "failed to patch image update to pod template:", ..Changer::new(resources) };
    let found = change::find(invocation, &changer).await?;
    check_choice(invocation)?;
    let files = crate::manifest::Files::of(&invocation.values)?;
    let mut problems = Vec::new();
    if resources.is_empty() && files.is_empty() {
        problems.push("one or more resources must be specified as <resource> <name> or <resource>/<name>");
    }
    if images.is_empty() {
        problems.push("at least one image update is required");
    } else if images.len() > 1 && images.iter().any(|(name, _)| name == "*") {
        problems.push("all containers are already specified by *, but saw more than one container_name=container_image pairs");
    }
    match problems.as_slice() {
        [] => {}
        [one] => return Err(message(*one)),
        many => return Err(Failure::Plain(many.iter().map(|text| format!("error: {text}\n")).collect())),
    }
    change_all(invocation, &changer, found, |_, spec| {
        let mut problems = Vec::new();
        for (name, image) in &images {
            let named = containers(spec, if name == "*" { "*" } else { name });
            if named.is_empty() {
                problems.push(message(format!("error: unable to find container named {name:?}")));
            }
            named.into_iter().for_each(|container| container["image"] = image.as_str().into());
        }
        Ok(problems)
    })
    .await
}

async fn resource_limits(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let changer = Changer {
        failed: "failed to patch resources update to pod template",
        ..Changer::new(invocation.arguments())
    };
    let found = change::find(invocation, &changer).await?;
    check_choice(invocation)?;
    let texts = [("limits", values.text("limits")), ("requests", values.text("requests"))];
    if texts.iter().all(|(_, text)| text.is_empty()) {
        return Err(message(
            "you must specify an update to requests or limits (in the form of --requests/--limits)",
        ));
    }
    let mut wanted = Vec::new();
    for (field, text) in texts {
        wanted.push((field, quantities(text)?));
    }
    let pattern = values.text("containers");
    change_all(invocation, &changer, found, |_, spec| {
        let named = containers(spec, pattern);
        if named.is_empty() {
            return Ok(vec![message(format!("error: unable to find container named {pattern}"))]);
        }
        for container in named {
            for (field, quantities) in &wanted {
                for (resource, quantity) in quantities {
                    container["resources"][*field][resource.as_str()] = quantity.clone();
                }
            }
        }
        Ok(Vec::new())
    })
    .await
}

async fn service_account(invocation: &Invocation<'_>) -> Result<(), Failure> {
    check_local(invocation)?;
    let Some((account, resources)) = invocation.arguments().split_last() else {
        return Err(message("serviceaccount is required"));
    };
    let changer = Changer {
        failed: "failed to patch ServiceAccountName",
        even_without_change: true,
        ..Changer::new(resources)
    };
    let found = change::find(invocation, &changer).await?;
    change_all(invocation, &changer, found, |_, spec| {
        spec["serviceAccountName"] = account.as_str().into();
        Ok(Vec::new())
    })
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (name, pattern, want) in [
            ("web", "*", true),
            ("web", "web", true),
            ("web", "w*b", true),
            ("web", "w*x", false),
            ("web", "we", false),
        ] {
            assert_eq!(fits(name, pattern), want, "{name} {pattern}");
        }
    }

    #[test]
    fn init_containers_come_last() {
        let mut spec =
            json!({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "c"}]});
        let names: Vec<String> = containers(&mut spec, "*")
            .into_iter()
            .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
