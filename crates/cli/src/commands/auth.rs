//! `auth`: who one is, and what one may do.

use http::Method;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::boxed;
use crate::command::{Command, Invocation};
use crate::describe::rules;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers::{self, Format};
use crate::text::tabs::Remembered;

/// The command.
pub const COMMAND: Command = Command {
    name: "auth",
    usage: "auth [flags]",
    short: "Inspect authorization",
    subcommands: &[
        Command {
            name: "can-i",
            usage: "can-i VERB [TYPE | TYPE/NAME | NONRESOURCEURL]",
            short: "Check whether an action is allowed",
            flags: &[
                shared::ALL_NAMESPACES,
                &[
                    Flag::switch("list", "List everything that is allowed"),
                    Flag::switch("no-headers", "Print no header line"),
                    Flag::switch("quiet", "Only the exit code tells").short('q'),
                    Flag::new("subresource", Kind::Text, "", "A subresource, such as log or status"),
                ],
            ],
            run: boxed!(can_i),
            ..Command::EMPTY
        },
        Command {
            name: "whoami",
            usage: "whoami",
            short: "Experimental: Check self subject attributes",
            flags: &[shared::OUTPUT],
            run: boxed!(who_am_i),
            ..Command::EMPTY
        },
    ],
    ..Command::EMPTY
};

async fn can_i(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let api = invocation.api()?;
    let (namespace, _) = invocation.namespace()?;
    let namespace = if values.on("all-namespaces") { String::new() } else { namespace };
    if values.on("list") {
        if !invocation.arguments().is_empty() {
            return Err(message("list option must be specified with no arguments"));
        }
        return list(invocation, &api, &namespace).await;
    }
    let [verb, what] = invocation.arguments() else {
        return Err(message(
            "you must specify two arguments: verb resource or verb resource/resourceName.\nSee 'kubectl auth can-i -h' for help and examples.",
        ));
    };
    let spec = if what.starts_with('/') {
        json!({"nonResourceAttributes": {"verb": verb, "path": what}})
    } else {
        let (kind, name) = what.split_once('/').unwrap_or((what, ""));
        let (group, resource) = match invocation.mapper(&api).await?.find(kind) {
            Ok(mapping) => {
                if !mapping.namespaced && !values.on("all-namespaces") {
                    let scope = if mapping.group.is_empty() {
                        String::new()
                    } else {
                        format!(" in group '{}'", mapping.group)
                    };
                    invocation.context.err(&format!(
                        "Warning: resource '{}' is not namespace scoped{scope}\n\n",
                        mapping.plural
                    ));
                }
                (mapping.group.clone(), mapping.plural.clone())
            }
            Err(_) => {
                if kind != "*" {
                    invocation
                        .context
                        .err(&format!("Warning: the server doesn't have a resource type '{kind}'\n\n"));
                }
                let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
                (group.to_owned(), resource.to_owned())
            }
        };
        json!({"resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name,
            "subresource": values.text("subresource"),
        }})
    };
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let answer = api.write(Method::POST, path, &review).await?;
    let status = &answer["status"];
    let allowed = status["allowed"] == true;
    if !values.on("quiet") {
        let mut text = if allowed { "yes".to_owned() } else { "no".to_owned() };
        if !allowed {
            for field in ["reason", "evaluationError"] {
                let more = status.text(&[field]);
                if !more.is_empty() {
                    text.push_str(&format!(" - {more}"));
                }
            }
        }
        invocation.context.out(&format!("{text}\n"));
    }
    if allowed { Ok(()) } else { Err(Failure::Exit(1)) }
}

async fn list(
    invocation: &Invocation<'_>,
    api: &crate::api::Api<'_>,
    namespace: &str,
) -> Result<(), Failure> {
    let review = json!({
        "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
        "spec": {"namespace": namespace},
    });
    let answer =
        api.write(Method::POST, "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review).await?;
    let mut rules = answer.items(&["status", "resourceRules"]).to_vec();
    rules.extend(answer.items(&["status", "nonResourceRules"]).iter().cloned());
    let mut rows: Vec<Vec<String>> = rules::rows(&rules).into_iter().map(Vec::from).collect();
    if !invocation.values.on("no-headers") {
        rows.insert(0, rules::TITLES.map(str::to_owned).to_vec());
    }
    invocation.context.out(&Remembered::default().align(&rows));
    Ok(())
}

async fn who_am_i(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let review =
        json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}});
    let format = printers::outcome_format(&invocation.values)?;
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let answer = invocation.api()?.write(Method::POST, path, &review).await?;
    if let Format::Printer(printer) = format {
        invocation.context.out(&printer.print(&answer)?);
        return Ok(());
    }
    let user = &answer["status"]["userInfo"];
    let words = |list: &Value| {
        let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("[{}]", words.join(" "))
    };
    let mut rows = vec![vec!["ATTRIBUTE".to_owned(), "VALUE".to_owned()]];
    for (title, field) in [("Username", "username"), ("UID", "uid")] {
        if !user.text(&[field]).is_empty() {
            rows.push(vec![title.to_owned(), user.text(&[field]).to_owned()]);
        }
    }
    if !user.items(&["groups"]).is_empty() {
        rows.push(vec!["Groups".to_owned(), words(&user["groups"])]);
    }
    for (key, list) in user["extra"].as_object().into_iter().flatten() {
        rows.push(vec![format!("Extra: {key}"), words(list)]);
    }
    invocation.context.out(&Remembered::default().align(&rows));
    Ok(())
}
