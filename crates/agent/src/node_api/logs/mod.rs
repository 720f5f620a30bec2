//! `/containerLogs/NAMESPACE/POD/CONTAINER`: a container's log file, filtered, and followed until the container ended
//! (k8s.io/cri-client/pkg/logs, pkg/kubelet/kubelet_pods.go).

mod find;
mod follow;
mod format;
mod line;
mod options;
mod tail;
mod watcher;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use podlogic::pod;
use tokio::sync::mpsc;

use self::format::Formatter;
use self::options::{Options, Which};
pub use self::watcher::Watcher;
use super::answer::{Answer, bad_request, not_found, text};
use super::query::Query;
use super::route::Target;
use super::serve::Server;

/// Chunks that wait for a slow client.
const CHUNKS_MAX: usize = 8;

/// Answers with a container's log.
pub async fn answer(server: &Arc<Server>, target: &Target, query: &Query) -> Answer {
    let options = match Options::parse(query, server.clock.now()) {
        Ok(options) => options,
        Err(options::Fault::Undecodable) => return bad_request(r#"{"message": "Unable to decode query."}"#),
        Err(options::Fault::Invalid) => {
            return text(StatusCode::UNPROCESSABLE_ENTITY, r#"{"message": "Invalid request."}"#);
        }
    };
    let Some(found) = server.backend.find_pod(&target.namespace, &target.pod, None) else {
        return not_found(format!("pod {:?} does not exist", target.pod));
    };
    if pod::find_container(&found, &target.container).is_none() {
        return not_found(format!("container {:?} not found in pod {:?}", target.container, target.pod));
    }
    let id = match find::container_id(&found, &target.container, options.previous) {
        Ok(id) => id,
        Err(message) => return bad_request(message),
    };
    stream(server, id, options)
}

/// A body that is written while it is read.
fn stream(server: &Arc<Server>, id: String, options: Options) -> Answer {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(CHUNKS_MAX);
    let worker = Arc::clone(server);
    let started = server.spawn(async move {
        if let Err(message) = write(&worker, &id, &options, &sender).await {
            // The answer has begun; as upstream, its body says what went wrong.
            let _ = sender.send(message.into()).await;
        }
    });
    if let Err(answer) = started {
        return *answer;
    }
    let chunks = futures::stream::poll_fn(move |context| {
        receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    });
    let mut answer = text(StatusCode::OK, "");
    answer.headers_mut().remove(http::header::CONTENT_TYPE);
    *answer.body_mut() = StreamBody::new(chunks).boxed_unsync();
    answer
}

/// Where the reader is told what changed.
pub(super) struct Source {
    /// Container.
    pub id: String,
    /// Its log file.
    pub path: PathBuf,
}

async fn write(
    server: &Server,
    id: &str,
    options: &Options,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let status = server.backend.runtime().container_status(id).await;
    let status = status.map_err(|_| format!("unable to retrieve container logs for carob://{id}"))?;
    let source = Source { id: id.to_owned(), path: PathBuf::from(status.log_path) };
    follow::write(server, &source, options, Formatter::new(options), sender).await
}

/// Which streams of a container's output are wanted.
fn wants(which: Which, stream: line::Stream) -> bool {
    match which {
        Which::All => true,
        Which::Stdout => stream == line::Stream::Stdout,
        Which::Stderr => stream == line::Stream::Stderr,
    }
}
