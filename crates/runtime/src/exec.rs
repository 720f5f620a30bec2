//! Commands in containers, attaching, and connections into Pods.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use cri::runtime::{ContainerState, ExecOutput, ExecRequest, Reader, StreamSession, TerminalSize, Writer};
use cri::{Error, ErrorKind, Result};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::client::Client;
use crate::container::state_name;
use crate::daemon::{Container, Runtime};
use crate::protocol::{Answer, RequestBody};
use crate::spec::{ContainerSpec, ExecSpec};
use crate::streams::Stream;

/// Output kept of a command that is run to its end; the rest is read and dropped.
const OUTPUT_BYTES_MAX: usize = 16 << 20;
/// Waiting terminal sizes; only the last one matters.
const RESIZE_QUEUE: usize = 8;

/// Streams handed over for a command or an attachment.
#[derive(Default)]
struct Streams {
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
}

fn unwrap_streams(answer: &Answer, descriptors: Vec<OwnedFd>) -> Result<Streams> {
    let Answer::Streams { stdin, stdout, stderr, terminal } = answer else {
        return Err(Error::unknown("the pod's process gave an unexpected answer"));
    };
    let mut descriptors = descriptors.into_iter().map(Stream::new);
    let mut next = || descriptors.next().transpose().map_err(|error| Error::unknown(error.to_string()));
    if *terminal {
        let terminal = next()?;
        return Ok(Streams { stdin: terminal.clone(), stdout: terminal, stderr: None });
    }
    let mut take = |wanted: bool| if wanted { next() } else { Ok(None) };
    Ok(Streams { stdin: take(*stdin)?, stdout: take(*stdout)?, stderr: take(*stderr)? })
}

fn reader(stream: Option<Stream>) -> Option<Reader> {
    stream.map(|stream| Box::pin(stream) as Reader)
}

fn writer(stream: Option<Stream>) -> Option<Writer> {
    stream.map(|stream| Box::pin(stream) as Writer)
}

impl Runtime {
    fn running(&self, id: &str) -> Result<(Arc<Container>, Arc<Client>)> {
        let container = self.container(id)?;
        if container.state() != ContainerState::Running {
            return Err(Error::new(
                ErrorKind::FailedPrecondition,
                format!("container is in {} state", state_name(container.state())),
            ));
        }
        let client = self.sandbox(&container.sandbox())?.client()?;
        Ok((container, client))
    }

    /// Starts a command; the receiver gets its exit code.
    async fn launch(
        &self,
        request: &ExecRequest,
    ) -> Result<(String, Arc<Client>, Streams, oneshot::Receiver<i32>)> {
        let in_exec =
            |error: Error| Error::new(error.kind, format!("failed to exec in container: {}", error.message));
        let (container, client) = self.running(&request.container_id).map_err(in_exec)?;
        let id = self.options.entropy.hex(64);
        let spec = self.exec_spec(&container, &id, request).map_err(in_exec)?;
        let (sender, ended) = oneshot::channel();
        self.commands.lock().insert(id.clone(), (container.sandbox(), sender));
        match client.call(RequestBody::Exec(Box::new(spec))).await {
            Ok((answer, descriptors)) => Ok((id, client, unwrap_streams(&answer, descriptors)?, ended)),
            Err(error) => {
                self.commands.lock().remove(&id);
                Err(Error::new(
                    error.kind,
                    format!(
                        "failed to exec in container: failed to start exec {id:?}: OCI runtime exec failed: exec \
                         failed: unable to start container process: {}",
                        error.message
                    ),
                ))
            }
        }
    }

    fn exec_spec(&self, container: &Container, id: &str, request: &ExecRequest) -> Result<ExecSpec> {
        if request.command.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "no command specified"));
        }
        // Read when needed: it is large and most containers never see a command.
        let path = self.records.spec_path(&container.sandbox(), &container.id);
        let text = std::fs::read(&path)
            .map_err(|error| Error::unknown(format!("read {}: {error}", path.display())))?;
        let spec: ContainerSpec = serde_json::from_slice(&text)
            .map_err(|error| Error::unknown(format!("read {}: {error}", path.display())))?;
        let mut process = spec.process;
        process.arguments.clone_from(&request.command);
        process.terminal = request.tty;
        process.stdin = request.stdin;
        if request.tty && !process.environment.iter().any(|entry| entry.starts_with("TERM=")) {
            process.environment.push("TERM=xterm".to_owned());
        }
        Ok(ExecSpec {
            id: id.to_owned(),
            container: container.id.clone(),
            user: spec.user,
            process,
            stdout: request.stdout,
            stderr: request.stderr && !request.tty,
        })
    }

    /// See [`cri::runtime::RuntimeService::exec`].
    pub(crate) async fn run_exec(&self, request: &ExecRequest) -> Result<StreamSession> {
        let (_, _, streams, ended) = self.launch(request).await?;
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(RESIZE_QUEUE);
        // Only the terminal's descriptor is needed; when the session is dropped, so is this.
        if let Some(terminal) = streams.stdout.clone().filter(|_| request.tty) {
            tokio::spawn(async move {
                while let Some(size) = sizes.recv().await {
                    let _ = sys::pty::resize(terminal.get().as_fd(), size.width, size.height);
                }
            });
        }
        let (sender, exit) = oneshot::channel();
        tokio::spawn(async move {
            let code =
                ended.await.map_err(|_| Error::new(ErrorKind::Unavailable, "the pod's process is gone"));
            let _ = sender.send(code);
        });
        Ok(StreamSession {
            stdin: writer(streams.stdin.filter(|_| request.stdin)),
            stdout: reader(streams.stdout),
            stderr: reader(streams.stderr),
            resize: request.tty.then_some(resize),
            exit,
        })
    }

    /// See [`cri::runtime::RuntimeService::exec_sync`].
    pub(crate) async fn run_exec_sync(
        &self,
        container: &str,
        command: &[String],
        timeout_ms: u64,
    ) -> Result<ExecOutput> {
        let request = ExecRequest {
            container_id: container.to_owned(),
            command: command.to_vec(),
            stdout: true,
            stderr: true,
            ..ExecRequest::default()
        };
        let (id, client, streams, ended) = self.launch(&request).await?;
        let all = async {
            // The output ends with its last writer, which may be a process that the command left behind; what counts
            // is the command itself.
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let code = {
                let outputs = async {
                    tokio::join!(collect(streams.stdout, &mut stdout), collect(streams.stderr, &mut stderr));
                };
                tokio::pin!(outputs, ended);
                tokio::select! {
                    () = &mut outputs => (&mut ended).await,
                    code = &mut ended => {
                        let _ = tokio::time::timeout(LEFTOVER_OUTPUT, &mut outputs).await;
                        code
                    }
                }
            };
            let exit_code =
                code.map_err(|_| Error::new(ErrorKind::Unavailable, "the pod's process is gone"))?;
            Ok(ExecOutput { stdout, stderr, exit_code })
        };
        if timeout_ms == 0 {
            return all.await;
        }
        let Ok(output) = tokio::time::timeout(Duration::from_millis(timeout_ms), all).await else {
            self.commands.lock().remove(&id);
            let _ = client.call(RequestBody::KillExec { exec: id }).await;
            let shown = duration_words(timeout_ms);
            return Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("command timed out: {:?} timed out after {shown}", command.join(" ")),
            ));
        };
        output
    }

    /// See [`cri::runtime::RuntimeService::attach`].
    pub(crate) async fn run_attach(&self, request: &ExecRequest) -> Result<StreamSession> {
        let in_attach = |error: Error| {
            Error::new(error.kind, format!("failed to attach to container: {}", error.message))
        };
        let (container, client) = self.running(&request.container_id).map_err(in_attach)?;
        let id = container.id.clone();
        let call = client.call(RequestBody::Attach {
            container: id.clone(),
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
        });
        let (answer, descriptors) = call.await.map_err(in_attach)?;
        let streams = unwrap_streams(&answer, descriptors)?;
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(RESIZE_QUEUE);
        if request.tty {
            tokio::spawn(async move {
                while let Some(size) = sizes.recv().await {
                    let _ = client.call(RequestBody::Resize { container: id.clone(), size }).await;
                }
            });
        }
        let (sender, exit) = oneshot::channel();
        tokio::spawn(async move {
            container.wait_ended().await;
            let code = container.run.lock().1.exit_code;
            let _ = sender.send(Ok(code));
        });
        Ok(StreamSession {
            stdin: writer(streams.stdin),
            stdout: reader(streams.stdout),
            stderr: reader(streams.stderr),
            resize: request.tty.then_some(resize),
            exit,
        })
    }

    /// See [`cri::runtime::RuntimeService::port_forward`].
    pub(crate) async fn connect(&self, sandbox_id: &str, port: u16) -> Result<(Reader, Writer)> {
        let sandbox = self.sandbox(sandbox_id)?;
        let client = sandbox.client()?;
        let mut reasons = Vec::new();
        for ipv6 in [false, true] {
            let (_, mut descriptors) = client.call(RequestBody::Socket { ipv6 }).await?;
            let Some(descriptor) = descriptors.pop() else { continue };
            // Made in the Pod's network namespace, it connects there from anywhere.
            let socket = TcpSocket::from_std_stream(descriptor.into());
            let address = if ipv6 {
                SocketAddr::from((Ipv6Addr::LOCALHOST, port))
            } else {
                SocketAddr::from((Ipv4Addr::LOCALHOST, port))
            };
            match socket.connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    let (read, write) = stream.into_split();
                    return Ok((Box::pin(read), Box::pin(write)));
                }
                Err(error) => {
                    let kind = if ipv6 { "tcp6" } else { "tcp4" };
                    let words = crate::shim::init::words(&error);
                    reasons.push(format!("dial {kind} {address}: connect: {words}"));
                }
            }
        }
        Err(Error::unknown(format!(
            "failed to execute portforward in network namespace \"/proc/{}/ns/net\": failed to connect to \
             localhost:{port} inside namespace {sandbox_id:?}, IPv4: {} IPv6 {} ",
            client.pid,
            reasons.first().map_or("", String::as_str),
            reasons.get(1).map_or("", String::as_str),
        )))
    }
}

/// How long output is awaited that a process left behind by a command still holds open.
const LEFTOVER_OUTPUT: Duration = Duration::from_millis(500);

async fn collect(stream: Option<Stream>, output: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count) = stream.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        let room = OUTPUT_BYTES_MAX.saturating_sub(output.len());
        output.extend_from_slice(&buffer[..count.min(room)]);
    }
}

/// A duration as upstream's language writes it.
fn duration_words(ms: u64) -> String {
    if ms.is_multiple_of(1000) && ms >= 60_000 {
        return format!("{}m{}s", ms / 60_000, ms / 1000 % 60);
    }
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{}s", ms as f64 / 1000.0) }
}
