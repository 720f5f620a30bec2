//! `create quota`, `poddisruptionbudget`, `priorityclass` and `ingress`.

use serde_json::{Map, Value, json};

use super::generators::{Made, made_flags, name, send};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};

/// `create quota`.
pub const QUOTA: Command = Command {
    name: "quota",
    aliases: &["resourcequota"],
    usage: "quota NAME [--hard=key1=value1,key2=value2] [--scopes=Scope1,Scope2] [--dry-run=server|client|none]",
    short: "Create a quota with the specified name",
    flags: made_flags![
        Flag::new("hard", Kind::Text, "", "Hard limits (resource=quantity), comma-separated"),
        Flag::new("scopes", Kind::Text, "", "Scopes that objects must all be in, comma-separated"),
    ],
    run: boxed!(quota),
    ..Command::EMPTY
};

/// `create poddisruptionbudget`.
pub const DISRUPTION_BUDGET: Command = Command {
    name: "poddisruptionbudget",
    aliases: &["pdb"],
    usage: "poddisruptionbudget NAME --selector=SELECTOR --min-available=N [--dry-run=server|client|none]",
    short: "Create a pod disruption budget with the specified name",
    flags: made_flags![
        Flag::new("max-unavailable", Kind::Text, "", "How many Pods (or what percentage) may be away"),
        Flag::new("min-available", Kind::Text, "", "How many Pods (or what percentage) must be there"),
        Flag::new("selector", Kind::Text, "", "Label selector of the Pods"),
    ],
    run: boxed!(disruption_budget),
    ..Command::EMPTY
};

/// `create priorityclass`.
pub const PRIORITY_CLASS: Command = Command {
    name: "priorityclass",
    aliases: &["pc"],
    usage: "priorityclass NAME --value=VALUE --global-default=BOOL [--dry-run=server|client|none]",
    short: "Create a priority class with the specified name",
    flags: made_flags![
        Flag::new("description", Kind::Text, "", "When this class should be used"),
        Flag::switch("global-default", "Whether this is the class of Pods that name none"),
        Flag::new(
            "preemption-policy",
            Kind::Text,
            "PreemptLowerPriority",
            "Whether Pods of this class preempt others"
        ),
        Flag::new("value", Kind::Integer, "0", "The priority"),
    ],
    run: boxed!(priority_class),
    ..Command::EMPTY
};

/// `create ingress`.
pub const INGRESS: Command = Command {
    name: "ingress",
    aliases: &["ing"],
    usage: "ingress NAME --rule=host/path=service:port[,tls[=secret]] ",
    short: "Create an ingress with the specified name",
    flags: made_flags![
        Flag::new("annotation", Kind::Array, "", "Annotation (key=value); may be repeated"),
        Flag::new("class", Kind::Text, "", "Ingress class"),
        Flag::new("default-backend", Kind::Text, "", "Service for everything else (svcname:port)"),
        Flag::new(
            "rule",
            Kind::Array,
            "",
            "Rule host/path=service:port[,tls[=secret]]; a path that ends with * is a prefix"
        ),
    ],
    run: boxed!(ingress),
    ..Command::EMPTY
};

async fn quota(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let mut spec = Map::new();
    let hard = quantities(values.text("hard"))?;
    if !hard.is_empty() {
        spec.insert("hard".into(), hard.into());
    }
    let scopes = values.text("scopes");
    if !scopes.is_empty() {
        let scopes: Vec<&str> = scopes.split(',').collect();
        if scopes.contains(&"") {
            return Err(message("invalid resource quota scope \"\""));
        }
        spec.insert("scopes".into(), json!(scopes));
    }
    let object = json!({
        "kind": "ResourceQuota", "apiVersion": "v1", "metadata": {"name": name(invocation)?}, "spec": spec, "status": {},
    });
    send(invocation, object, Made::namespaced("", "resourcequotas", "failed to create quota:")).await
}

/// `cpu=1,memory=1Gi`, quantities in their canonical form.
pub fn quantities(text: &str) -> Result<Map<String, Value>, Failure> {
    let mut found = Map::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let [resource, quantity] = part.split('=').collect::<Vec<_>>()[..] else {
            return Err(message(format!("Invalid argument syntax {part}, expected <resource>=<value>")));
        };
        let quantity = model::quantity::canonical(quantity).map_err(|error| message(error.to_string()))?;
        found.insert(resource.to_owned(), quantity.into());
    }
    Ok(found)
}

async fn disruption_budget(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let name = name(invocation)?;
    let selector = values.text("selector");
    if selector.is_empty() {
        return Err(message("a selector must be specified"));
    }
    let (min, max) = (values.text("min-available"), values.text("max-unavailable"));
    if min.is_empty() && max.is_empty() {
        return Err(message("one of min-available or max-unavailable must be specified"));
    }
    if !min.is_empty() && !max.is_empty() {
        return Err(message("min-available and max-unavailable cannot be both specified"));
    }
    let mut spec = Map::new();
    for (flag, field, text) in
        [("min-available", "minAvailable", min), ("max-unavailable", "maxUnavailable", max)]
    {
        if text.is_empty() {
            continue;
        }
        let digits = text.strip_suffix('%').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(message(format!("invalid format specified for {flag}")));
        }
        spec.insert(field.into(), int_or_string(text));
    }
    spec.insert("selector".into(), label_selector(selector)?);
    let object = json!({
        "kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": name}, "spec": spec,
        "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0},
    });
    let made = Made::namespaced("policy", "poddisruptionbudgets", "failed to create poddisruptionbudgets:");
    send(invocation, object, made).await
}

/// A selector in writing as `matchLabels` and `matchExpressions`.
fn label_selector(text: &str) -> Result<Value, Failure> {
    use model::selector::{LabelSelector, Operator};
    let failed = |error: String| message(format!("couldn't parse the selector string {text:?}: {error}"));
    let selector = LabelSelector::parse(text).map_err(failed)?;
    let (mut labels, mut expressions) = (Map::new(), Vec::new());
    for requirement in selector.requirements() {
        let operator = match requirement.operator {
            Operator::Equals | Operator::DoubleEquals => {
                let value = requirement.values.first().cloned().unwrap_or_default();
                labels.insert(requirement.key.as_str().to_owned(), value.into());
                continue;
            }
            Operator::NotEquals | Operator::NotIn => "NotIn",
            Operator::In => "In",
            Operator::Exists => "Exists",
            Operator::DoesNotExist => "DoesNotExist",
            other => return Err(message(format!("{other:?} isn't supported in label selectors"))),
        };
        let mut expression = json!({"key": requirement.key.as_str(), "operator": operator});
        if !requirement.values.is_empty() {
            expression["values"] = json!(requirement.values);
        }
        expressions.push(expression);
    }
    let mut selector = Map::new();
    if !labels.is_empty() {
        selector.insert("matchLabels".into(), labels.into());
    }
    if !expressions.is_empty() {
        selector.insert("matchExpressions".into(), expressions.into());
    }
    Ok(selector.into())
}

/// A number where the text is one.
pub fn int_or_string(text: &str) -> Value {
    text.parse::<i32>().map_or_else(|_| text.into(), Value::from)
}

async fn priority_class(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let mut object = json!({
        "kind": "PriorityClass", "apiVersion": "scheduling.k8s.io/v1", "metadata": {"name": name(invocation)?},
        "value": values.integer("value"), "preemptionPolicy": values.text("preemption-policy"),
    });
    if values.on("global-default") {
        object["globalDefault"] = true.into();
    }
    if !values.text("description").is_empty() {
        object["description"] = values.text("description").into();
    }
    let made = Made::cluster("scheduling.k8s.io", "priorityclasses", Some("failed to create priorityclass:"));
    send(invocation, object, made).await
}

/// A rule of `--rule`.
struct Rule<'a> {
    host: &'a str,
    path: &'a str,
    backend: &'a str,
    /// The secret after `tls=`; empty for a bare `tls`.
    tls: Option<&'a str>,
}

impl<'a> Rule<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (rule, tls) = match text.split_once(',') {
            Some((rule, tls)) => (rule, Some(tls)),
            None => (text, None),
        };
        let tls = match tls {
            None => None,
            Some("tls") => Some(""),
            Some(other) => Some(
                other.strip_prefix("tls=").filter(|secret| !secret.is_empty() && !secret.contains(','))?,
            ),
        };
        let (place, backend) = rule.split_once('=')?;
        let (host, path) = place.split_once('/')?;
        let (service, port) = backend.split_once(':')?;
        let word = |text: &str| !text.is_empty() && !text.contains(['=', ':', '/', ' ']);
        (word(service) && word(port)).then_some(Self { host, path, backend, tls })
    }
}

async fn ingress(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let name = name(invocation)?;
    let (texts, default) = (values.texts("rule"), values.text("default-backend"));
    if texts.is_empty() && default.is_empty() {
        return Err(message(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        ));
    }
    let mut rules = Vec::new();
    for text in &texts {
        let wrong = || {
            message(format!(
                "rule {text} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"
            ))
        };
        rules.push(Rule::parse(text).ok_or_else(wrong)?);
    }
    let mut annotations = Map::new();
    for pair in values.texts("annotation") {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(message(format!("annotation {pair} is invalid and should be in format key=[value]")));
        };
        annotations.insert(key.to_owned(), value.into());
    }
    if !default.is_empty() && default.split(':').count() != 2 {
        return Err(message("default-backend should be in format servicename:serviceport"));
    }
    let mut spec = Map::new();
    if !values.text("class").is_empty() {
        spec.insert("ingressClassName".into(), values.text("class").into());
    }
    if !default.is_empty() {
        spec.insert("defaultBackend".into(), backend(default));
    }
    let tls = tls_of(&rules);
    if !tls.is_empty() {
        spec.insert("tls".into(), tls.into());
    }
    let by_host = by_host(&rules);
    if !by_host.is_empty() {
        spec.insert("rules".into(), by_host.into());
    }
    let mut object = json!({
        "kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": name}, "spec": spec,
        "status": {"loadBalancer": {}},
    });
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = annotations.into();
    }
    let made = Made::namespaced("networking.k8s.io", "ingresses", "failed to create ingress:");
    send(invocation, object, made).await
}

fn backend(text: &str) -> Value {
    let (service, port) = text.split_once(':').unwrap_or((text, ""));
    let port = match int_or_string(port) {
        Value::Number(number) => json!({"number": number}),
        name => json!({"name": name}),
    };
    json!({"service": {"name": service, "port": port}})
}

fn tls_of(rules: &[Rule<'_>]) -> Vec<Value> {
    let mut hosts: Vec<&str> = Vec::new();
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for rule in rules {
        let Some(secret) = rule.tls else { continue };
        if hosts.contains(&rule.host) {
            continue;
        }
        hosts.push(rule.host);
        match found.iter_mut().find(|(own, _)| *own == secret) {
            Some((_, list)) => list.push(rule.host),
            None if secret.is_empty() && rule.host.is_empty() => {}
            None => {
                found.push((secret, Some(rule.host).filter(|host| !host.is_empty()).into_iter().collect()))
            }
        }
    }
    found
        .into_iter()
        .map(|(secret, hosts)| {
            let mut one = Map::new();
            if !hosts.is_empty() {
                one.insert("hosts".into(), json!(hosts));
            }
            if !secret.is_empty() {
                one.insert("secretName".into(), secret.into());
            }
            one.into()
        })
        .collect()
}

fn by_host(rules: &[Rule<'_>]) -> Vec<Value> {
    let mut found: Vec<(&str, Vec<Value>)> = Vec::new();
    for rule in rules {
        let path = format!("/{}", rule.path);
        let (kind, path) = match path.strip_suffix('*') {
            Some(prefix) => ("Prefix", prefix.to_owned()),
            None => ("Exact", path),
        };
        let path = json!({"path": path, "pathType": kind, "backend": backend(rule.backend)});
        match found.iter_mut().find(|(host, _)| *host == rule.host) {
            Some((_, paths)) => paths.push(path),
            None => found.push((rule.host, vec![path])),
        }
    }
    let rule = |(host, paths): (&str, Vec<Value>)| {
        let mut rule = json!({"http": {"paths": paths}});
        if !host.is_empty() {
            rule["host"] = host.into();
        }
        rule
    };
    found.into_iter().map(rule).collect()
}
