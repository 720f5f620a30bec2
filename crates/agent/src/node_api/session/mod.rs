//! `/exec` and `/attach`: a command in a container, or the container's own process, with its streams over WebSocket
//! channels or SPDY (k8s.io/cri-streaming/pkg/streaming/remotecommand).

mod channels;
mod pump;
mod remote;
mod spdy;
mod status;

use std::sync::Arc;

use cri::runtime::{ExecRequest, StreamSession};
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use streams::{CHANNEL_PROTOCOLS, OLD_CHANNEL_PROTOCOLS, REMOTE_COMMAND_PROTOCOLS};

use self::remote::{Remote, Wanted};
use self::status::{Form, Outcome, Task};
use super::answer::{Answer, bad_request, not_found, text};
use super::query::Query;
use super::route::Target;
use super::serve::Server;
use super::upgrade::{self, Io, Kind};
use crate::seams::{ContainerHandle, LookupError};

/// Reads which streams are wanted.
///
/// # Errors
/// Upstream's text when there are none.
fn wanted(query: &Query) -> Result<Wanted, &'static str> {
    let tty = query.switch(["tty", "tty"]);
    let wanted = Wanted {
        stdin: query.switch(["input", "stdin"]),
        stdout: query.switch(["output", "stdout"]),
        // A terminal has one output.
        stderr: query.switch(["error", "stderr"]) && !tty,
        tty,
    };
    let any = wanted.stdin || wanted.stdout || wanted.stderr;
    if any { Ok(wanted) } else { Err("you must specify at least 1 of stdin, stdout, stderr") }
}

/// The running container meant, or the answer that there is none.
async fn find(server: &Server, target: &Target, task: Task) -> Result<ContainerHandle, Box<Answer>> {
    let Target { namespace, pod, container, .. } = target;
    if server.backend.find_pod(namespace, pod, None).is_none() {
        return Err(Box::new(not_found("pod does not exist")));
    }
    let missing = || {
        let message = match task {
            Task::Exec => format!("container not found ({container:?})"),
            Task::Attach => format!("container {container} not found in pod {pod}_{namespace}"),
        };
        Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, message))
    };
    if target.uid.as_deref().is_some_and(|uid| server.backend.find_pod(namespace, pod, Some(uid)).is_none()) {
        return Err(missing());
    }
    match server.backend.find_container(namespace, pod, container, false).await {
        Ok(handle) if handle.running => Ok(handle),
        Err(LookupError::PodNotFound) => Err(Box::new(not_found("pod does not exist"))),
        _ => Err(missing()),
    }
}

/// `/exec`.
pub async fn exec(
    server: &Arc<Server>,
    target: &Target,
    query: &Query,
    request: Request<Incoming>,
) -> Answer {
    let command = query.all("command").map(str::to_owned).collect();
    start(server, target, query, request, Task::Exec, command).await
}

/// `/attach`.
pub async fn attach(
    server: &Arc<Server>,
    target: &Target,
    query: &Query,
    request: Request<Incoming>,
) -> Answer {
    start(server, target, query, request, Task::Attach, Vec::new()).await
}

async fn start(
    server: &Arc<Server>,
    target: &Target,
    query: &Query,
    request: Request<Incoming>,
    task: Task,
    command: Vec<String>,
) -> Answer {
    let mut wanted = match wanted(query) {
        Ok(wanted) => wanted,
        Err(message) => return bad_request(message),
    };
    let handle = match find(server, target, task).await {
        Ok(handle) => handle,
        Err(answer) => return *answer,
    };
    if task == Task::Attach {
        // The process has its terminal, or none, since it was started.
        wanted.tty = handle.tty;
        wanted.stderr &= !handle.tty;
    }
    let (headers, transport) = match negotiate(request.headers()) {
        Ok(agreed) => agreed,
        Err(answer) => return *answer,
    };
    let exec = ExecRequest {
        container_id: handle.id,
        command,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let worker = Arc::clone(server);
    let started = server.spawn(async move {
        if let Some(io) = upgrade::upgraded(request).await {
            serve(&worker, io, transport, task, &exec, wanted).await;
        }
    });
    match started {
        Ok(()) => upgrade::switching(headers),
        Err(answer) => *answer,
    }
}

/// What both ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Channels(streams::channels::Codec, Form),
    /// With whether terminals can be resized.
    Spdy(Form, bool),
}

fn negotiate(headers: &HeaderMap) -> Result<(HeaderMap, Transport), Box<Answer>> {
    match upgrade::kind(headers)? {
        Kind::WebSocket => {
            let supported: Vec<&'static str> =
                CHANNEL_PROTOCOLS.into_iter().chain(OLD_CHANNEL_PROTOCOLS).collect();
            let (answer, protocol) = streams::websocket::accept(headers, &supported)
                .map_err(|refusal| Box::new(upgrade::refused(&refusal)))?;
            Ok((answer, Transport::Channels(channels::codec(protocol), Form::of(protocol))))
        }
        Kind::Spdy => {
            let protocol = upgrade::spdy_protocol(headers, &REMOTE_COMMAND_PROTOCOLS)?;
            let resizes = protocol.starts_with("v4.") || protocol.starts_with("v3.");
            Ok((upgrade::spdy_headers(protocol), Transport::Spdy(Form::of(protocol), resizes)))
        }
    }
}

async fn serve(
    server: &Server,
    io: Io,
    transport: Transport,
    task: Task,
    exec: &ExecRequest,
    wanted: Wanted,
) {
    let (remote, form) = match transport {
        Transport::Channels(codec, form) => (channels::remote(io, codec, wanted).await, form),
        Transport::Spdy(form, resizes) => match spdy::remote(io, resizes, wanted).await {
            Some(remote) => (remote, form),
            None => return,
        },
    };
    let runtime = server.backend.runtime();
    let session = match task {
        Task::Exec => runtime.exec(exec).await,
        Task::Attach => runtime.attach(exec).await,
    };
    run(session, remote, task, form, &exec.command).await;
}

async fn run(
    session: cri::Result<StreamSession>,
    mut remote: Remote,
    task: Task,
    form: Form,
    command: &[String],
) {
    let outcome = match session {
        Ok(session) => pump::run(session, &mut remote, task).await,
        Err(error) => Outcome::Failed(error.message),
    };
    remote.finish(&status::message(task, form, command, &outcome)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_read_from_parameters() {
        let check = |text: &str, expected: Option<[bool; 4]>| {
            let found = wanted(&Query::parse(Some(text))).ok();
            assert_eq!(found.map(|own| [own.stdin, own.stdout, own.stderr, own.tty]), expected, "{text}");
        };
        check("output=1&error=1", Some([false, true, true, false]));
        check("input=1&output=1&error=1&tty=1", Some([true, true, false, true]));
        check("stdin=true&stdout=true", Some([true, true, false, false]));
        check("output=0", None);
        check("tty=1&error=1", None);
    }
}
