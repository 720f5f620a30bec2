//! `create service`: a Service of each type.

use serde_json::{Value, json};

use super::generators::{Made, made_flags, name, send};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};

const TCP: Flag = Flag::new("tcp", Kind::Texts, "", "Ports as <port>:<targetPort>; may be repeated");

/// `create service`.
pub const SERVICE: Command = Command {
    name: "service",
    aliases: &["svc"],
    usage: "service [flags]",
    short: "Create a service using a specified subcommand",
    subcommands: &[
        Command {
            name: "clusterip",
            usage: "clusterip NAME [--tcp=<port>:<targetPort>] [--dry-run=server|client|none]",
            short: "Create a ClusterIP service",
            flags: made_flags![
                TCP,
                Flag::new(
                    "clusterip",
                    Kind::Text,
                    "",
                    "Address of your own; None makes the Service headless"
                )
            ],
            run: boxed!(cluster_ip),
            ..Command::EMPTY
        },
        Command {
            name: "externalname",
            usage: "externalname NAME --external-name external.name [--dry-run=server|client|none]",
            short: "Create an ExternalName service",
            flags: made_flags![
                TCP,
                Flag::new("external-name", Kind::Text, "", "External name of the Service")
            ],
            required: &["external-name"],
            run: boxed!(external_name),
            ..Command::EMPTY
        },
        Command {
            name: "loadbalancer",
            usage: "loadbalancer NAME [--tcp=port:targetPort] [--dry-run=server|client|none]",
            short: "Create a LoadBalancer service",
            flags: made_flags![TCP],
            run: boxed!(load_balancer),
            ..Command::EMPTY
        },
        Command {
            name: "nodeport",
            usage: "nodeport NAME [--tcp=port:targetPort] [--dry-run=server|client|none]",
            short: "Create a NodePort service",
            flags: made_flags![TCP, Flag::new("node-port", Kind::Integer, "0", "Port on every node")],
            run: boxed!(node_port),
            ..Command::EMPTY
        },
    ],
    ..Command::EMPTY
};

async fn cluster_ip(invocation: &Invocation<'_>) -> Result<(), Failure> {
    service(invocation, "ClusterIP", "failed to create ClusterIP service:").await
}

async fn external_name(invocation: &Invocation<'_>) -> Result<(), Failure> {
    service(invocation, "ExternalName", "failed to create ExternalName service:").await
}

async fn load_balancer(invocation: &Invocation<'_>) -> Result<(), Failure> {
    service(invocation, "LoadBalancer", "failed to create LoadBalancer service:").await
}

async fn node_port(invocation: &Invocation<'_>) -> Result<(), Failure> {
    service(invocation, "NodePort", "failed to create NodePort service:").await
}

async fn service(invocation: &Invocation<'_>, kind: &str, wrap: &'static str) -> Result<(), Failure> {
    let values = &invocation.values;
    let name = name(invocation)?;
    let ports = values.texts("tcp");
    let (address, external) = (values.text("clusterip"), values.text("external-name"));
    if address != "None" && ports.is_empty() && kind != "ExternalName" {
        return Err(message("at least one tcp port specifier must be provided"));
    }
    if kind == "ExternalName" && !model::names::dns_subdomain(external).is_empty() {
        return Err(message(format!("invalid service external name {external}")));
    }
    let ports: Result<Vec<Value>, Failure> =
        ports.iter().map(|text| port(text, values.integer("node-port"))).collect();
    let ports = ports?;
    let labels = json!({"app": name});
    let mut spec = json!({"selector": labels, "type": kind});
    if !ports.is_empty() {
        spec["ports"] = ports.into();
    }
    if !address.is_empty() {
        spec["clusterIP"] = address.into();
    }
    if !external.is_empty() {
        spec["externalName"] = external.into();
    }
    let object = json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "spec": spec,
        "status": {"loadBalancer": {}},
    });
    send(invocation, object, Made::namespaced("", "services", wrap)).await
}

/// `80`, `80:8080`, `80:web`.
fn port(text: &str, node_port: i64) -> Result<Value, Failure> {
    let mut parts = text.split(':');
    let own = parts.next().unwrap_or_default();
    let number: u16 = own.parse().map_err(|_| {
        let digits = !own.is_empty() && own.bytes().all(|byte| byte.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        message(format!("strconv.ParseUint: parsing {own:?}: {why}"))
    })?;
    let target: Value = match parts.next() {
        None => number.into(),
        Some(target) => match target.parse::<i64>() {
            Ok(target) => {
                refuse(&model::names::port_number(target))?;
                target.into()
            }
            Err(_) => {
                refuse(&model::names::port_name(target))?;
                target.into()
            }
        },
    };
    let mut port = json!({
        "name": text.replace(':', "-"), "protocol": "TCP", "port": number, "targetPort": target,
    });
    if node_port != 0 {
        port["nodePort"] = node_port.into();
    }
    Ok(port)
}

fn refuse(problems: &[String]) -> Result<(), Failure> {
    if problems.is_empty() { Ok(()) } else { Err(message(problems.join(","))) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::port;

    #[test]
    fn ports_are_read_as_kubectl_does() {
        for (text, want) in [
            ("80", json!({"name": "80", "protocol": "TCP", "port": 80, "targetPort": 80})),
            ("80:8080", json!({"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080})),
            ("80:web", json!({"name": "80-web", "protocol": "TCP", "port": 80, "targetPort": "web"})),
        ] {
            assert_eq!(port(text, 0).unwrap(), want, "{text}");
        }
        for (text, want) in [
            ("x", "strconv.ParseUint: parsing \"x\": invalid syntax"),
            ("65536", "strconv.ParseUint: parsing \"65536\": value out of range"),
            ("80:65536", "must be between 1 and 65535, inclusive"),
        ] {
            assert_eq!(port(text, 0).unwrap_err().words(), want, "{text}");
        }
    }
}
