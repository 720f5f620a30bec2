//! `expose`: a Service for a Pod, a Service or a workload.

use http::Method;
use model::tree::TreeExt;
use serde_json::{Map, Value, json};

use super::boxed;
use super::create;
use super::create::policies::int_or_string;
use crate::api::Api;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;
use crate::printers;

/// The longest name that a Service may have.
const NAME_MAX: usize = 63;

/// The command.
pub const COMMAND: Command = Command {
    name: "expose",
    usage: "expose (-f FILENAME | TYPE NAME) [--port=port] [--protocol=TCP|UDP|SCTP] [--target-port=number-or-name] [--name=name] [--external-ip=external-ip-of-service] [--type=type]",
    short: "Take a replication controller, service, deployment or pod and expose it as a new Kubernetes service",
    long: "Expose a resource as a new Kubernetes service.\n\n The selector, the ports and the protocols are taken from the object unless flags say otherwise.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::SAVE_CONFIG,
        shared::OVERRIDES,
        &shared::manager("kubectl-expose"),
        &[
            Flag::new("cluster-ip", Kind::Text, "", "Address of your own; None makes the Service headless"),
            Flag::new("external-ip", Kind::Text, "", "Another address at which the Service is reached"),
            Flag::new("labels", Kind::Text, "", "Labels of the Service").short('l'),
            Flag::new("load-balancer-ip", Kind::Text, "", "Address for a load balancer"),
            Flag::new("name", Kind::Text, "", "Name of the Service"),
            Flag::new("port", Kind::Text, "", "Port of the Service; otherwise the object's"),
            Flag::new("protocol", Kind::Text, "", "Network protocol; TCP unless the object says otherwise"),
            Flag::new("selector", Kind::Text, "", "Labels of the Service's Pods; otherwise the object's"),
            Flag::new("session-affinity", Kind::Text, "", "None or ClientIP"),
            Flag::new("target-port", Kind::Text, "", "Number or name of the container's port"),
            Flag::new("type", Kind::Text, "", "ClusterIP, NodePort, LoadBalancer or ExternalName"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(&invocation.values)?;
    if invocation.arguments().is_empty() && Files::of(&invocation.values)?.is_empty() {
        return Err(message(builder::NOTHING_NAMED));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    // --selector is the Service's here.
    let choice = Choice { selector: String::new(), ..Choice::of(invocation)? };
    let mut failures = Vec::new();
    for target in builder::objects(invocation, &api, &mapper, &choice).await? {
        let made = match target {
            Ok(target) => expose(invocation, &api, &choice, &target, dry_run).await,
            Err(failure) => Err(failure),
        };
        match made {
            Ok(service) => {
                printers::outcome(invocation, &format, &service, &format!("exposed{}", dry_run.suffix()))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

async fn expose(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    choice: &Choice,
    target: &Target,
    dry_run: DryRun,
) -> Result<Value, Failure> {
    let (kind, group) = (target.mapping.kind.as_str(), target.mapping.group.as_str());
    if !matches!(
        (group, kind),
        ("", "Pod" | "Service" | "ReplicationController") | ("apps", "Deployment" | "ReplicaSet")
    ) {
        let name = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        return Err(message(format!("cannot expose a {name}")));
    }
    let object = target.object.clone().unwrap_or_default();
    let mut service = super::run::overridden_as(
        invocation,
        service(invocation, &object)?,
        "io.k8s.api.core.v1.Service",
        "Service",
    )?;
    if dry_run == DryRun::Client {
        if choice.explicit {
            service["metadata"]["namespace"] = choice.namespace.as_str().into();
        }
        return Ok(service);
    }
    if invocation.values.on("save-config") {
        create::annotate(&mut service);
    }
    let path = client::Path::collection("", "v1", "services", Some(&choice.namespace));
    let path = with_query(path.as_str(), &create::write_query(invocation, dry_run, "", "kubectl-expose"));
    api.write(Method::POST, &path, &service).await
}

/// The Service as flags and object make it.
fn service(invocation: &Invocation<'_>, object: &Value) -> Result<Value, Failure> {
    let text = |flag: &str| invocation.values.text(flag);
    let selector = match text("selector") {
        "" => selector(object)
            .map_err(|words| {
                message(format!("couldn't retrieve selectors via --selector flag or introspection: {words}"))
            })?
            .clone(),
        text => labels(text)?,
    };
    let ports: Vec<String> = match text("port") {
        "" => ports(object).into_iter().map(|(port, _)| port).collect(),
        port => port.split(',').map(str::to_owned).collect(),
    };
    if ports.is_empty() && text("cluster-ip") != "None" {
        return Err(message("couldn't find port via --port flag or introspection"));
    }
    let mut metadata = Map::new();
    let own: String = object.name().chars().take(NAME_MAX).collect();
    metadata
        .insert("name".into(), if text("name").is_empty() { own } else { text("name").to_owned() }.into());
    let given = match text("labels") {
        "" => object.at(&["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default(),
        text => labels(text)?,
    };
    if !given.is_empty() {
        metadata.insert("labels".into(), given.into());
    }
    let mut spec = Map::new();
    spec.insert("selector".into(), selector.into());
    let ports = service_ports(invocation, object, &ports)?;
    if !ports.is_empty() {
        spec.insert("ports".into(), ports.into());
    }
    if !text("external-ip").is_empty() {
        spec.insert("externalIPs".into(), json!([text("external-ip")]));
    }
    match text("session-affinity") {
        "" | "None" | "ClientIP" => {}
        other => return Err(message(format!("unknown session affinity: {other}"))),
    }
    for (flag, field) in
        [("type", "type"), ("session-affinity", "sessionAffinity"), ("cluster-ip", "clusterIP")]
    {
        if !text(flag).is_empty() {
            spec.insert(field.into(), text(flag).into());
        }
    }
    if text("type") == "LoadBalancer" && !text("load-balancer-ip").is_empty() {
        spec.insert("loadBalancerIP".into(), text("load-balancer-ip").into());
    }
    Ok(json!({
        "kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}},
    }))
}

fn service_ports(
    invocation: &Invocation<'_>,
    object: &Value,
    numbers: &[String],
) -> Result<Vec<Value>, Failure> {
    let (protocol, target) = (invocation.values.text("protocol"), invocation.values.text("target-port"));
    let known = ports(object);
    let mut made = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        let port: i64 = number
            .parse()
            .map_err(|_| message(format!("strconv.Atoi: parsing {number:?}: invalid syntax")))?;
        let own = known.iter().find(|(port, _)| port == number).map(|(_, protocols)| protocols.clone());
        let protocols = match (protocol, own) {
            ("", Some(own)) => own,
            ("", None) => vec!["TCP".to_owned()],
            (protocol, _) => vec![protocol.to_owned()],
        };
        for one in &protocols {
            let name = match (protocols.len(), numbers.len()) {
                (1, 1) => None,
                (1, _) => Some(format!("port-{}", at + 1)),
                _ => Some(format!("port-{}-{}", at + 1, one.to_lowercase())),
            };
            let target = if target.is_empty() { port.into() } else { int_or_string(target) };
            let mut port = json!({"protocol": one, "port": port, "targetPort": target});
            if let Some(name) = name {
                port["name"] = name.into();
            }
            made.push(port);
        }
    }
    Ok(made)
}

/// The labels that a Service of the object chooses by.
fn selector(object: &Value) -> Result<&Map<String, Value>, &'static str> {
    let (path, missing): (&[&str], _) = match object.kind() {
        "Pod" => (&["metadata", "labels"], "the pod has no labels and cannot be exposed"),
        "Service" => (&["spec", "selector"], "the service has no pod selector set"),
        "ReplicationController" => (&["spec", "selector"], "the replication controller has no selector"),
        "Deployment" => (
            &["spec", "selector", "matchLabels"],
            "invalid deployment: no selectors, therefore cannot be exposed",
        ),
        _ => (
            &["spec", "selector", "matchLabels"],
            "invalid replicaset: no selectors, therefore cannot be exposed",
        ),
    };
    object.at(path).and_then(Value::as_object).filter(|map| !map.is_empty()).ok_or(missing)
}

/// The ports that the object tells of, each with its protocols, in their order.
fn ports(object: &Value) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |port: &Value, field: &str| {
        let number = port.integer(&[field]).unwrap_or_default().to_string();
        let protocol =
            Some(port.text(&["protocol"])).filter(|own| !own.is_empty()).unwrap_or("TCP").to_owned();
        match found.iter_mut().find(|(own, _)| *own == number) {
            Some((_, protocols)) if protocols.contains(&protocol) => {}
            Some((_, protocols)) => protocols.push(protocol),
            None => found.push((number, vec![protocol])),
        }
    };
    if object.kind() == "Service" {
        object.items(&["spec", "ports"]).iter().for_each(|port| add(port, "port"));
        return found;
    }
    let path: &[&str] = match object.kind() {
        "Pod" => &["spec", "containers"],
        _ => &["spec", "template", "spec", "containers"],
    };
    for container in object.items(path) {
        container.items(&["ports"]).iter().for_each(|port| add(port, "containerPort"));
    }
    found
}

/// `a=b,c=d`.
fn labels(text: &str) -> Result<Map<String, Value>, Failure> {
    let mut found = Map::new();
    for pair in text.split(',') {
        match pair.split('=').collect::<Vec<_>>().as_slice() {
            ["", _] => return Err(message("unexpected empty label key")),
            [key, value] => found.insert((*key).to_owned(), (*value).into()),
            _ => return Err(message(format!("unexpected label spec: {pair}"))),
        };
    }
    Ok(found)
}
