//! `port-forward`: local ports whose connections come out in a Pod, over SPDY carried in a WebSocket.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::tree::TreeExt;
use serde_json::Value;
use streams::spdy::Connection;
use streams::tunnel::Tunnel;
use streams::websocket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{boxed, pods};
use crate::api::Api;
use crate::builder::{self, Choice};
use crate::command::{Command, Invocation};
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};
use crate::remote;

/// The command.
pub const COMMAND: Command = Command {
    name: "port-forward",
    usage: "port-forward TYPE/NAME [options] [LOCAL_PORT:]REMOTE_PORT [...[LOCAL_PORT_N:]REMOTE_PORT_N]",
    short: "Forward one or more local ports to a pod",
    long: "Forward one or more local ports to a pod, or to a Pod that a workload or Service selects. :PORT takes any free local port.",
    flags: &[&[
        Flag::new("address", Kind::Texts, "localhost", "Addresses to listen on: IP addresses or localhost"),
        Flag::new("pod-running-timeout", Kind::Duration, "1m0s", "How long to wait for a Pod to run"),
    ]],
    run: boxed!(run),
    ..Command::EMPTY
};

/// A local port and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Forward {
    local: u16,
    remote: u16,
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let Some((argument, ports)) = invocation.arguments().split_first().filter(|(_, ports)| !ports.is_empty())
    else {
        return Err(invocation.usage("TYPE/NAME and list of ports are required for port-forward"));
    };
    let api = invocation.api()?;
    let choice = Choice::of(invocation)?;
    let mapper = invocation.mapper(&api).await?;
    let pod = pods::resolve(&api, &mapper, &choice, argument).await?.remove(0);
    let service = service(&api, &mapper, &choice, argument).await?;
    let mut forwards = Vec::new();
    for port in ports {
        forwards.push(parse(&translated(port, service.as_ref(), &pod)?)?);
    }
    let phase = pod.text(&["status", "phase"]);
    if phase != "Running" {
        return Err(message(format!(
            "unable to forward port because pod is not running. Current status={phase}"
        )));
    }
    let path = client::Path::collection("", "v1", "pods", Some(pod.namespace()))
        .join(pod.name())
        .join("portforward");
    let (upgraded, _) = remote::upgrade(&api, path.as_str(), &[streams::PORT_FORWARD_TUNNEL])
        .await
        .map_err(|failure| failure.in_front("error upgrading connection"))?;
    let connection = Connection::client(Tunnel::new(websocket::client(upgraded.io).await));
    let addresses = match invocation.values.texts("address") {
        list if list.is_empty() => vec!["localhost".to_owned()],
        list => list,
    };
    let listeners = listen(invocation.context, &addresses, &forwards).await?;
    serve(invocation.context, connection, listeners).await
}

async fn service(
    api: &Api<'_>,
    mapper: &crate::mapping::Mapper,
    choice: &Choice,
    argument: &str,
) -> Result<Option<Value>, Failure> {
    let Some((kind, _)) = argument.split_once('/') else { return Ok(None) };
    if mapper.find(kind)?.kind != "Service" {
        return Ok(None);
    }
    let targets = builder::from_arguments(mapper, choice, &[argument.to_owned()])?;
    match targets.first() {
        Some(target) => api.get(&target.path()).await.map(Some),
        None => Ok(None),
    }
}

/// A port's words with names and a Service's ports made numbers of the Pod.
fn translated(text: &str, service: Option<&Value>, pod: &Value) -> Result<String, Failure> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let number = |port: &Value| port.integer(&["port"]);
    let remote_number = match service {
        None if remote.parse::<u16>().is_ok() => return Ok(text.to_owned()),
        None => container_port(pod, remote)
            .ok_or_else(|| message(format!("Pod '{}' does not have a named port '{remote}'", pod.name())))?,
        Some(service) => {
            let named = |port: &&Value| {
                port.text(&["name"]) == remote || number(port).is_some_and(|own| own.to_string() == remote)
            };
            let port = service.items(&["spec", "ports"]).iter().find(named).ok_or_else(|| {
                message(format!("Service {} does not have a service port {remote}", service.name()))
            })?;
            if service.text(&["spec", "clusterIP"]) == "None" {
                number(port).unwrap_or_default()
            } else {
                match port.at(&["targetPort"]) {
                    Some(Value::String(name)) => container_port(pod, name).ok_or_else(|| {
                        message(format!("Pod {:?} does not have a named port '{name}'", pod.name()))
                    })?,
                    Some(target) => target.as_i64().unwrap_or_default(),
                    None => number(port).unwrap_or_default(),
                }
            }
        }
    };
    let local = if text.contains(':') || local.parse::<u16>().is_ok() {
        local.to_owned()
    } else {
        remote_number.to_string()
    };
    Ok(format!("{local}:{remote_number}"))
}

fn container_port(pod: &Value, name: &str) -> Option<i64> {
    let ports = pod.items(&["spec", "containers"]).iter().flat_map(|container| container.items(&["ports"]));
    ports.into_iter().find(|port| port.text(&["name"]) == name)?.integer(&["containerPort"])
}

fn parse(text: &str) -> Result<Forward, Failure> {
    let parts: Vec<&str> = text.split(':').collect();
    let (local, remote) = match parts.as_slice() {
        [one] => (*one, *one),
        ["", remote] => ("0", *remote),
        [local, remote] => (*local, *remote),
        _ => return Err(message(format!("invalid port format '{text}'"))),
    };
    let number = |what: &str, text: &str| {
        text.parse::<u16>().map_err(|_| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let why = if digits { "value out of range" } else { "invalid syntax" };
            message(format!("error parsing {what} port '{text}': strconv.ParseUint: parsing {text:?}: {why}"))
        })
    };
    let forward = Forward { local: number("local", local)?, remote: number("remote", remote)? };
    if forward.remote == 0 { Err(message("remote port must be > 0")) } else { Ok(forward) }
}

async fn listen(
    context: &Context,
    addresses: &[String],
    forwards: &[Forward],
) -> Result<Vec<(TcpListener, Forward)>, Failure> {
    let mut listeners = Vec::new();
    for forward in forwards {
        let mut forward = *forward;
        let before = listeners.len();
        let mut errors = Vec::new();
        for address in addresses {
            let hosts: &[&str] =
                if address == "localhost" { &["127.0.0.1", "::1"] } else { &[address.as_str()] };
            for host in hosts {
                match TcpListener::bind((*host, forward.local)).await {
                    Ok(listener) => {
                        forward.local = listener.local_addr().map_or(forward.local, |address| address.port());
                        let shown = if host.contains(':') { format!("[{host}]") } else { (*host).to_owned() };
                        context.out(&format!(
                            "Forwarding from {shown}:{} -> {}\n",
                            forward.local, forward.remote
                        ));
                        listeners.push((listener, forward));
                    }
                    Err(error) => errors.push(listen_error(host, forward.local, &error)),
                }
            }
        }
        if listeners.len() == before {
            context.err(&format!(
                "Unable to listen on port {}: Listeners failed to create with the following errors: [{}]\n",
                forward.local,
                errors.join(" ")
            ));
        }
    }
    if listeners.is_empty() {
        let ports: Vec<String> =
            forwards.iter().map(|one| format!("{{{} {}}}", one.local, one.remote)).collect();
        return Err(message(format!(
            "unable to listen on any of the requested ports: [{}]",
            ports.join(" ")
        )));
    }
    Ok(listeners)
}

fn listen_error(host: &str, port: u16, error: &std::io::Error) -> String {
    let (network, shown) =
        if host.contains(':') { ("tcp6", format!("[{host}]")) } else { ("tcp4", host.to_owned()) };
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => "address already in use".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::AddrNotAvailable => "cannot assign requested address".into(),
        _ => error.to_string(),
    };
    format!("unable to create listener: Error listen {network} {shown}:{port}: bind: {why}")
}

async fn serve(
    context: &Context,
    mut connection: Connection,
    listeners: Vec<(TcpListener, Forward)>,
) -> Result<(), Failure> {
    let mut accepts: FuturesUnordered<_> =
        listeners.into_iter().map(|(listener, forward)| accept(listener, forward)).collect();
    let mut running = FuturesUnordered::new();
    let mut next_request = 0u32;
    loop {
        tokio::select! {
            // The other end opens no streams: this only tells that it is gone.
            gone = connection.accept() => if gone.is_none() {
                return Err(message("lost connection to pod"));
            },
            Some((accepted, listener, forward)) = accepts.next() => {
                accepts.push(accept(listener, forward));
                let Ok(stream) = accepted else { continue };
                context.out(&format!("Handling connection for {}\n", forward.local));
                let streams = open(&connection, next_request, forward.remote).await;
                next_request += 1;
                let (error, data) = streams.map_err(|_| message("lost connection to pod"))?;
                running.push(carry(stream, error, data, forward));
            }
            Some(told) = running.next(), if !running.is_empty() => if let Some(told) = told {
                context.err(&format!("error: {told}\n"));
                connection.close().await;
                return Err(message("lost connection to pod"));
            },
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

async fn accept(
    listener: TcpListener,
    forward: Forward,
) -> (std::io::Result<TcpStream>, TcpListener, Forward) {
    let accepted = listener.accept().await.map(|(stream, _)| stream);
    (accepted, listener, forward)
}

type Stream = streams::spdy::Stream;

async fn open(connection: &Connection, request: u32, remote: u16) -> std::io::Result<(Stream, Stream)> {
    let headers = |kind: &str| {
        let pairs = BTreeMap::from([
            ("streamtype", kind.to_owned()),
            ("port", remote.to_string()),
            ("requestid", request.to_string()),
        ]);
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Vec<_>>()
    };
    // Nothing is written to the error stream.
    let error = connection.open(headers("error"), true).await?;
    let data = connection.open(headers("data"), false).await?;
    Ok((error, data))
}

/// Carries one connection; gives what the Pod's side says went wrong.
async fn carry(stream: TcpStream, mut error: Stream, mut data: Stream, forward: Forward) -> Option<String> {
    let (mut reader, mut writer) = stream.into_split();
    let out = data.writer();
    let up = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => break out.close().await,
                Ok(count) => out.write(&buffer[..count]).await?,
                Err(error) => break Err(error),
            }
        }
    };
    let down = async {
        while let Some(bytes) = data.read().await {
            if writer.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = writer.shutdown().await;
    };
    tokio::pin!(up, down);
    tokio::select! {
        () = &mut down => {}
        sent = &mut up => if sent.is_ok() {
            down.await;
        },
    }
    // What was not sent is not wanted any more; without this the error stream may wait for it.
    let _ = out.reset().await;
    let mut told = Vec::new();
    while let Some(bytes) = error.read().await {
        told.extend_from_slice(&bytes);
    }
    let told = String::from_utf8_lossy(&told).into_owned();
    (!told.is_empty())
        .then(|| format!("an error occurred forwarding {} -> {}: {told}", forward.local, forward.remote))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_read_as_kubectl_does() {
        for (text, want) in [
            ("8080:80", Ok((8080, 80))),
            ("80", Ok((80, 80))),
            (":80", Ok((0, 80))),
            ("a:80", Err("error parsing local port 'a': strconv.ParseUint: parsing \"a\": invalid syntax")),
            (
                "80:70000",
                Err(
                    "error parsing remote port '70000': strconv.ParseUint: parsing \"70000\": value out of range",
                ),
            ),
            ("1:2:3", Err("invalid port format '1:2:3'")),
            ("80:0", Err("remote port must be > 0")),
        ] {
            let got =
                parse(text).map(|forward| (forward.local, forward.remote)).map_err(|failure| failure.words());
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn services_lead_to_container_ports() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}});
        for (text, with, want) in [
            ("80", Some(&service), "80:8080"),
            ("http", Some(&service), "8080:8080"),
            ("9000:http", Some(&service), "9000:8080"),
            ("web", None, "8080:8080"),
            ("5000:80", None, "5000:80"),
        ] {
            assert_eq!(translated(text, with, &pod).unwrap(), want, "{text}");
        }
    }
}
