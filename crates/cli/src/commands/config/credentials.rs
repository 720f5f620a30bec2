//! `config set-credentials`: how a user of the kubeconfig proves who it is.

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::entries::{entry, fields, file_field};
use super::write;
use crate::command::Invocation;
use crate::config;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, Values};

/// Its flags.
pub const FLAGS: &[Flag] = &[
    Flag::new("auth-provider", Kind::Text, "", "Name of an authentication provider"),
    Flag::new("auth-provider-arg", Kind::Texts, "", "key=value for the provider; key- takes one away"),
    Flag::new("client-certificate", Kind::Text, "", "File with the client certificate"),
    Flag::new("client-key", Kind::Text, "", "File with the client key"),
    Flag::switch("embed-certs", "Put certificate and key themselves into the kubeconfig"),
    Flag::new("exec-api-version", Kind::Text, "", "API version that the exec plugin speaks"),
    Flag::new("exec-arg", Kind::Texts, "", "Argument of the exec plugin; may be repeated"),
    Flag::new("exec-command", Kind::Text, "", "Program that gets the credentials"),
    Flag::new("exec-env", Kind::Array, "", "key=value for the plugin's environment; key- takes one away"),
    Flag::new("exec-interactive-mode", Kind::Text, "", "Never, IfAvailable or Always"),
    Flag::switch("exec-provide-cluster-info", "Tell the plugin about the cluster"),
    Flag::new("password", Kind::Text, "", "Password for basic authentication"),
    Flag::new("token", Kind::Text, "", "Bearer token"),
    Flag::new("username", Kind::Text, "", "Name for basic authentication"),
];

/// What is set and what is taken away.
type Pairs<'a> = (Vec<(&'a str, &'a str)>, Vec<&'a str>);

/// `set-credentials`.
pub async fn set(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let name = check(invocation).inspect_err(|_| super::show_help(invocation))?;
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
    let loaded = config::load(invocation.context, values)?;
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
        set_provider(values, own)?;
        set_plugin(values, own)?;
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

/// The user's name. What is wrong with the arguments is told after the help, as kubectl does.
fn check<'a>(invocation: &'a Invocation<'_>) -> Result<&'a str, Failure> {
    let [name] = invocation.arguments() else {
        return Err(message(format!("unexpected args: [{}]", invocation.arguments().join(" "))));
    };
    for flag in ["auth-provider-arg", "exec-env"] {
        pairs(&invocation.values.texts(flag), flag)?;
    }
    Ok(name)
}

/// `key=value` sets, `key-` takes away.
fn pairs<'a>(texts: &'a [String], flag: &str) -> Result<Pairs<'a>, Failure> {
    let (mut set, mut removed) = (Vec::new(), Vec::new());
    for text in texts {
        match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) if !key.is_empty() => set.push((key, value)),
            (None, Some(key)) if !key.is_empty() => removed.push(key),
            _ => return Err(message(format!("invalid {flag} format: {text}"))),
        }
    }
    Ok((set, removed))
}

fn set_provider(values: &Values, own: &mut Value) -> Result<(), Failure> {
    let texts = values.texts("auth-provider-arg");
    let (set, removed) = pairs(&texts, "auth-provider-arg")?;
    let name = values.text("auth-provider");
    if values.given("auth-provider") && own["auth-provider"]["name"] != name {
        own["auth-provider"] = json!({"config": {}, "name": name});
    }
    // Arguments of no provider are nothing.
    if !own["auth-provider"].is_object() {
        own.unset(&["auth-provider"]);
        return Ok(());
    }
    removed.iter().for_each(|key| drop(own.unset(&["auth-provider", "config", key])));
    for (key, value) in set {
        own["auth-provider"]["config"][key] = value.into();
    }
    Ok(())
}

fn set_plugin(values: &Values, own: &mut Value) -> Result<(), Failure> {
    let texts = values.texts("exec-env");
    let (set, removed) = pairs(&texts, "exec-env")?;
    if values.given("exec-command") {
        let known = own["exec"].is_object();
        if !known {
            own["exec"] = json!({"args": null, "env": null, "provideClusterInfo": false});
        }
        own["exec"]["command"] = values.text("exec-command").into();
        own["exec"]["args"] = Value::Null;
    }
    // What is said about a plugin that is not there is passed over, as kubectl does.
    if !own["exec"].is_object() {
        own.unset(&["exec"]);
        return Ok(());
    }
    let plugin = &mut own["exec"];
    for (flag, field) in [("exec-api-version", "apiVersion"), ("exec-interactive-mode", "interactiveMode")] {
        if values.given(flag) {
            plugin[field] = values.text(flag).into();
        }
    }
    if values.given("exec-arg") {
        plugin["args"] = json!(values.texts("exec-arg"));
    }
    if values.given("exec-provide-cluster-info") {
        plugin["provideClusterInfo"] = values.on("exec-provide-cluster-info").into();
    }
    let mut variables = plugin["env"].as_array().cloned().unwrap_or_default();
    variables.retain(|one| !removed.contains(&one.text(&["name"])));
    for (name, value) in set {
        match variables.iter_mut().find(|one| one.text(&["name"]) == name) {
            Some(one) => one["value"] = value.into(),
            None => variables.push(json!({"name": name, "value": value})),
        }
    }
    if !variables.is_empty() || plugin["env"].is_array() {
        plugin["env"] = variables.into();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::parse;

    #[test]
    fn plugins_and_providers_are_set_and_changed() {
        let mut own = json!({});
        let steps: [(&[&str], Value); 4] = [
            (&["--exec-env=A=b"], json!({})),
            (
                &["--exec-command=get", "--exec-arg=a,b", "--exec-env=A=b", "--exec-api-version=v1"],
                json!({"exec": {
                    "apiVersion": "v1", "args": ["a", "b"], "command": "get", "env": [{"name": "A", "value": "b"}],
                    "provideClusterInfo": false,
                }}),
            ),
            (
                &["--exec-env=A-", "--exec-env=C=d", "--exec-command=got", "--exec-interactive-mode=Never"],
                json!({"exec": {
                    "apiVersion": "v1", "args": null, "command": "got", "env": [{"name": "C", "value": "d"}],
                    "interactiveMode": "Never", "provideClusterInfo": false,
                }}),
            ),
            (
                &["--auth-provider=oidc", "--auth-provider-arg=a=b,c=d", "--auth-provider-arg=c-"],
                json!({"auth-provider": {"config": {"a": "b", "c": "d"}, "name": "oidc"}}),
            ),
        ];
        for (line, want) in steps {
            let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            let values = parse(&[&[FLAGS]], &line).unwrap();
            set_provider(&values, &mut own).unwrap();
            set_plugin(&values, &mut own).unwrap();
            for (field, value) in want.as_object().unwrap() {
                assert_eq!(own[field], *value, "{line:?}");
            }
        }
        assert!(pairs(&["=".to_owned()], "exec-env").is_err());
    }
}
