//! A node with one Pod, and clients.

use std::path::PathBuf;
use std::sync::Arc;

use ::http::{HeaderMap, Method, Request, Response};
use async_trait::async_trait;
use bytes::Bytes;
use cri::runtime::{
    ContainerConfig, ContainerState, ContainerStats, ContainerStatus, Event, ExecOutput, ExecRequest, Reader,
    RuntimeService, StreamSession, TerminalSize, Writer,
};
use cri::sandbox::{LinuxContainerResources, PodSandboxConfig, PodSandboxState, PodSandboxStatus};
use cri::{Error, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::node_api::serve::{Server, connection};
use crate::node_api::{Access, AccessRequest, Refusal};
use crate::seams::{ContainerHandle, LookupError, NodeApiBackend};

/// Lets everybody in but those whose token says otherwise.
struct Door;

#[async_trait]
impl Access for Door {
    async fn check(&self, request: &AccessRequest<'_>) -> std::result::Result<(), Refusal> {
        match request.headers.get("authorization").and_then(|value| value.to_str().ok()) {
            Some("nobody") => Err(Refusal::unauthorized()),
            Some("somebody") => Err(Refusal::forbidden("somebody", request)),
            _ => Ok(()),
        }
    }
}

/// A runtime with one container `c`.
#[derive(Clone)]
pub struct FakeStreams {
    log: PathBuf,
    pub running: Arc<Mutex<bool>>,
    events: Arc<Mutex<Option<mpsc::Sender<Event>>>>,
    /// Sizes that the terminal was given.
    pub sizes: Arc<Mutex<Vec<TerminalSize>>>,
    /// Commands whose standard input ended.
    pub ended: Arc<Mutex<Vec<String>>>,
}

impl FakeStreams {
    /// Ends the container.
    pub async fn end(&self) {
        *self.running.lock() = false;
        let sender = self.events.lock().clone().expect("the server listens");
        let event = Event::ContainerStopped {
            sandbox_id: "s".into(),
            container_id: "id".into(),
            pod_uid: "u".into(),
        };
        sender.send(event).await.expect("the server listens");
    }

    fn status(&self) -> ContainerStatus {
        let labels = [
            (podlogic::labels::POD_NAME, "p"),
            (podlogic::labels::POD_NAMESPACE, "n"),
            (podlogic::labels::POD_UID, "u"),
        ];
        let running = *self.running.lock();
        ContainerStatus {
            id: "id".into(),
            pod_sandbox_id: "s".into(),
            metadata: cri::runtime::ContainerMetadata { name: "c".into(), attempt: 0 },
            state: if running { ContainerState::Running } else { ContainerState::Exited },
            created_at_ns: 0,
            started_at_ns: 1,
            finished_at_ns: 0,
            exit_code: 0,
            image: "i".into(),
            image_id: String::new(),
            image_ref: String::new(),
            reason: String::new(),
            message: String::new(),
            labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            annotations: Default::default(),
            mounts: Vec::new(),
            log_path: self.log.display().to_string(),
            resources: LinuxContainerResources::default(),
            user: None,
            pid: 1,
        }
    }

    /// Says `out` and `err`, repeats its input, and exits with the number in its last word.
    fn play(&self, request: &ExecRequest) -> StreamSession {
        let (input, mut stdin) = tokio::io::duplex(64);
        let (stdout, mut out) = tokio::io::duplex(64);
        let (stderr, mut err) = tokio::io::duplex(64);
        let (resize, mut sizes) = mpsc::channel::<TerminalSize>(4);
        let (exited, exit) = oneshot::channel();
        let (seen, ended) = (Arc::clone(&self.sizes), Arc::clone(&self.ended));
        let (tty, has_stdin, name) = (request.tty, request.stdin, request.command.join(" "));
        let code = request.command.last().and_then(|word| word.parse().ok()).unwrap_or(0);
        tokio::spawn(async move {
            // Streams that nobody asked for are closed.
            let _ = out.write_all(b"out\n").await;
            let _ = err.write_all(b"err\n").await;
            drop(err);
            if tty {
                let size = sizes.recv().await.unwrap();
                seen.lock().push(size);
            }
            if has_stdin {
                let mut buffer = [0; 16];
                loop {
                    let count = stdin.read(&mut buffer).await.unwrap();
                    if count == 0 {
                        break;
                    }
                    // The client may have left.
                    let _ = out.write_all(&buffer[..count]).await;
                }
            }
            ended.lock().push(name);
            // Output that is still on its way when the exit is known must not be lost.
            let _ = exited.send(Ok(code));
            let _ = out.write_all(b"last\n").await;
        });
        StreamSession {
            stdin: request.stdin.then(|| -> Writer { Box::pin(input) }),
            stdout: request.stdout.then(|| -> Reader { Box::pin(stdout) }),
            stderr: request.stderr.then(|| -> Reader { Box::pin(stderr) }),
            resize: tty.then_some(resize),
            exit,
        }
    }
}

fn unused<T>() -> Result<T> {
    Err(Error::unknown("not played here"))
}

#[async_trait]
impl RuntimeService for FakeStreams {
    fn version(&self) -> (String, String) {
        ("carob".into(), "0".into())
    }
    async fn run_pod_sandbox(&self, _: &PodSandboxConfig, _: &str) -> Result<String> {
        unused()
    }
    async fn stop_pod_sandbox(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn remove_pod_sandbox(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn pod_sandbox_status(&self, _: &str) -> Result<PodSandboxStatus> {
        unused()
    }
    async fn list_pod_sandboxes(&self, _: Option<PodSandboxState>) -> Result<Vec<PodSandboxStatus>> {
        unused()
    }
    async fn create_container(&self, _: &str, _: &ContainerConfig, _: &PodSandboxConfig) -> Result<String> {
        unused()
    }
    async fn start_container(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn stop_container(&self, _: &str, _: i64) -> Result<()> {
        unused()
    }
    async fn remove_container(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn container_status(&self, id: &str) -> Result<ContainerStatus> {
        if id == "id" { Ok(self.status()) } else { Err(Error::not_found("no such container")) }
    }
    async fn list_containers(&self, _: Option<&str>) -> Result<Vec<ContainerStatus>> {
        Ok(vec![self.status()])
    }
    async fn update_container_resources(&self, _: &str, _: &LinuxContainerResources) -> Result<()> {
        unused()
    }
    async fn reopen_container_log(&self, _: &str) -> Result<()> {
        unused()
    }
    async fn list_container_stats(&self, _: Option<&str>) -> Result<Vec<ContainerStats>> {
        let stats = ContainerStats {
            id: "id".into(),
            name: "c".into(),
            timestamp_ns: 2_000_000_000,
            cpu_usage_ns: 1_500_000_000,
            memory_working_set_bytes: 10,
            memory_usage_bytes: 20,
        };
        Ok(vec![stats])
    }
    async fn exec_sync(&self, _: &str, command: &[String], _: u64) -> Result<ExecOutput> {
        Ok(ExecOutput { stdout: command.join("|").into(), stderr: Vec::new(), exit_code: 0 })
    }
    async fn exec(&self, request: &ExecRequest) -> Result<StreamSession> {
        if request.command == ["missing"] {
            return Err(Error::unknown("failed to exec in container: no such file"));
        }
        Ok(self.play(request))
    }
    async fn attach(&self, request: &ExecRequest) -> Result<StreamSession> {
        Ok(self.play(request))
    }
    async fn port_forward(&self, sandbox: &str, port: u16) -> Result<(Reader, Writer)> {
        if port != 80 {
            let reason =
                format!("failed to execute portforward: dial tcp4 127.0.0.1:{port}: connection refused");
            return Err(Error::unknown(reason));
        }
        assert_eq!(sandbox, "s");
        let (near, far) = tokio::io::duplex(64);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(far);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let (read, write) = tokio::io::split(near);
        Ok((Box::pin(read), Box::pin(write)))
    }
    fn events(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(8);
        *self.events.lock() = Some(sender);
        receiver
    }
}

/// Knows Pod `n/p` with container `c`.
struct Backend(FakeStreams);

#[async_trait]
impl NodeApiBackend for Backend {
    fn node_name(&self) -> &str {
        "node"
    }
    fn node(&self) -> Option<Arc<Node>> {
        None
    }
    fn pods(&self) -> Vec<Pod> {
        self.find_pod("n", "p", None).into_iter().collect()
    }
    fn find_pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Pod> {
        let state = if *self.0.running.lock() {
            json!({"running": {}})
        } else {
            json!({"terminated": {"exitCode": 0, "containerID": "carob://id"}})
        };
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "waits", "image": "i"}]},
        "status": {"containerStatuses": [
            {"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": "carob://id", "state": state},
            {"name": "waits", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ContainerCreating"}}},
        ]}});
        let known = (namespace, name) == ("n", "p") && uid.is_none_or(|uid| uid == "u");
        known.then(|| serde_json::from_value(pod).unwrap())
    }
    async fn find_container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        _: bool,
    ) -> std::result::Result<ContainerHandle, LookupError> {
        self.find_pod(namespace, pod, None).ok_or(LookupError::PodNotFound)?;
        if container != "c" {
            return Err(LookupError::NoSuchContainer { container: container.into(), pod: pod.into() });
        }
        Ok(ContainerHandle {
            id: "id".into(),
            sandbox_id: "s".into(),
            log_path: self.0.log.clone(),
            running: *self.0.running.lock(),
            tty: false,
        })
    }
    async fn find_sandbox(&self, _: &str, _: &str) -> std::result::Result<String, LookupError> {
        Ok("s".into())
    }
    fn runtime(&self) -> Arc<dyn RuntimeService> {
        Arc::new(self.0.clone())
    }
}

/// The server, its runtime and its log folder.
pub struct Harness {
    pub runtime: FakeStreams,
    pub folder: tempfile::TempDir,
    server: Arc<Server>,
    tasks: Mutex<JoinSet<()>>,
}

impl Harness {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = FakeStreams {
            log: folder.path().join("0.log"),
            running: Arc::new(Mutex::new(true)),
            events: Arc::default(),
            sizes: Arc::default(),
            ended: Arc::default(),
        };
        let server = Server::new(Arc::new(Backend(runtime.clone())), Arc::new(Door));
        let mut tasks = JoinSet::new();
        server.start(&mut tasks);
        Self { runtime, folder, server, tasks: Mutex::new(tasks) }
    }

    /// What the agent would give the server.
    pub fn backend(&self) -> Arc<dyn NodeApiBackend> {
        Arc::new(Backend(self.runtime.clone()))
    }

    fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = Arc::clone(&self.server);
        self.tasks.lock().spawn(async move {
            // Clients of tests hang up as they like.
            let _ = connection(server, far, Vec::new()).await;
        });
        near
    }

    /// Sends a request; the body is not read yet.
    pub async fn send(&self, method: Method, path: &str, headers: HeaderMap) -> Response<Incoming> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.connect())).await.unwrap();
        self.tasks.lock().spawn(async move {
            let _ = connection.with_upgrades().await;
        });
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        *request.headers_mut() = headers;
        request.headers_mut().insert("host", "node".parse().unwrap());
        sender.send_request(request).await.unwrap()
    }

    /// Sends a request and reads the answer.
    pub async fn call(&self, method: Method, path: &str, headers: HeaderMap) -> (u16, String) {
        let answer = self.send(method, path, headers).await;
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> (u16, String) {
        self.call(Method::GET, path, HeaderMap::new()).await
    }

    /// Upgrades a connection; also gives the answer's headers.
    pub async fn upgrade(
        &self,
        path: &str,
        headers: HeaderMap,
    ) -> (TokioIo<hyper::upgrade::Upgraded>, HeaderMap) {
        let answer = self.send(Method::POST, path, headers).await;
        assert_eq!(answer.status().as_u16(), 101, "{path}");
        let headers = answer.headers().clone();
        (TokioIo::new(hyper::upgrade::on(answer).await.unwrap()), headers)
    }
}

/// Headers of a SPDY client.
pub fn spdy_headers(protocols: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("connection", "Upgrade".parse().unwrap());
    headers.insert("upgrade", "SPDY/3.1".parse().unwrap());
    for protocol in protocols {
        headers.append("x-stream-protocol-version", protocol.parse().unwrap());
    }
    headers
}

/// Headers of a WebSocket client.
pub fn websocket_headers(protocols: &[&str]) -> HeaderMap {
    streams::websocket::request("dGhlIHNhbXBsZSBub25jZQ==", protocols)
}
