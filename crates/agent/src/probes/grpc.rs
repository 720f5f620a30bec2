//! gRPC probes: `grpc.health.v1.Health/Check` over clear-text HTTP/2. Two messages of one field each are written and
//! read by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use stdx::duration::format_go;
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, timeout_at};

use crate::probes::attempt::Attempt;

/// `UNIMPLEMENTED`.
const CODE_UNIMPLEMENTED: u32 = 12;
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// First pause between two attempts to connect, and how it grows (gRPC's connection back-off).
const RECONNECT: Duration = Duration::from_secs(1);
const RECONNECT_GROWTH: f64 = 1.6;

/// How the call ended.
enum Ended {
    /// `HealthCheckResponse.status`.
    Status(u64),
    /// gRPC code and message.
    Code(u32, String),
    /// Something below gRPC.
    Broken(String),
}

/// Asks a server about a service.
pub async fn check(address: &str, service: &str, limit: Duration) -> Attempt {
    let within = format_go(limit);
    let end = Instant::now() + limit;
    let Ok(stream) = timeout_at(end, connect(address)).await else {
        return Attempt::Failure(format!(
            "timeout: failed to connect service {address:?} within {within}: context deadline exceeded"
        ));
    };
    let ended = match timeout_at(end, call(stream, address, service)).await {
        Ok(Ok(ended) | Err(ended)) => ended,
        Err(_) => return Attempt::Failure(format!("timeout: health rpc did not complete within {within}")),
    };
    match ended {
        Ended::Status(1) => Attempt::Success,
        Ended::Status(status) => {
            let name = match status {
                0 => "UNKNOWN",
                2 => "NOT_SERVING",
                3 => "SERVICE_UNKNOWN",
                _ => "UNRECOGNIZED",
            };
            Attempt::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Ended::Code(CODE_UNIMPLEMENTED, message) => Attempt::Failure(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Ended::Code(code, message) => Attempt::Failure(format!(
            "error: health rpc probe failed: rpc error: code = {} desc = {message}",
            code_name(code)
        )),
        Ended::Broken(error) => Attempt::Failure(format!("error: health rpc probe failed: {error}")),
    }
}

/// Connects, as upstream's client does: again and again.
async fn connect(address: &str) -> TcpStream {
    let mut pause = RECONNECT;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return stream,
            // Nothing tells when somebody begins to listen there.
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = pause.mul_f64(RECONNECT_GROWTH);
    }
}

fn code_name(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    name.map_or_else(|| format!("Code({code})"), |name| (*name).to_owned())
}

/// `HealthCheckRequest { service }` with gRPC's prefix.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or(0));
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.extend_from_slice(&message);
    framed.freeze()
}

/// `HealthCheckResponse.status`, of a message with gRPC's prefix.
fn decode(framed: &[u8]) -> Option<u64> {
    let message = framed.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, rest @ ..] => {
            let mut value = 0u64;
            for (index, byte) in rest.iter().take(9).enumerate() {
                value |= u64::from(byte & 0x7f) << (7 * index);
                if byte & 0x80 == 0 {
                    return Some(value);
                }
            }
            None
        }
        _ => None,
    }
}

async fn call(stream: TcpStream, address: &str, service: &str) -> Result<Ended, Ended> {
    let broken = |error: hyper::Error| Ended::Broken(error.to_string());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .header(http::header::USER_AGENT, "kube-probe/1.36")
        .body(Full::new(encode(service)))
        .map_err(|error| Ended::Broken(error.to_string()))?;
    let outcome = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let mut head = response.headers().clone();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame.map_err(broken)?.into_data() {
                Ok(data) if bytes.len() + data.len() <= ANSWER_BYTES_MAX => bytes.extend_from_slice(&data),
                Ok(_) => return Err(Ended::Broken("answer too long".into())),
                Err(frame) => head.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        let text = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
        match text("grpc-status").and_then(|code| code.parse().ok()) {
            Some(0) => {
                decode(&bytes).map(Ended::Status).ok_or_else(|| Ended::Broken("unreadable answer".into()))
            }
            Some(code) => Ok(Ended::Code(code, text("grpc-message").unwrap_or_default().to_owned())),
            None => Err(Ended::Broken("the answer has no grpc-status".into())),
        }
    }
    .await;
    connection.abort();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of one connection after the other that gives this answer: body, trailers.
    async fn serve(listener: tokio::net::TcpListener, answer: &'static [u8], code: &'static str) {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let service =
                hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(request.headers()["te"], "trailers");
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static(code));
                    trailers.insert("grpc-message", http::HeaderValue::from_static("because"));
                    let body = Full::new(Bytes::from_static(answer))
                        .with_trailers(std::future::ready(Some(Ok(trailers))));
                    Ok::<_, std::convert::Infallible>(http::Response::new(body))
                });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    }

    #[tokio::test]
    async fn answers_read_as_upstream_says() {
        const LIMIT: Duration = Duration::from_secs(20);
        let failure = |text: &str| Attempt::Failure(text.to_owned());
        // Answer, gRPC's code, what comes of it.
        let rows: [(&[u8], &str, Attempt); 5] = [
            (&[0, 0, 0, 0, 2, 8, 1], "0", Attempt::Success),
            (&[0, 0, 0, 0, 2, 8, 2], "0", failure("service unhealthy (responded with \"NOT_SERVING\")")),
            (&[0, 0, 0, 0, 0], "0", failure("service unhealthy (responded with \"UNKNOWN\")")),
            (
                &[],
                "12",
                failure(
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): because",
                ),
            ),
            (&[], "5", failure("error: health rpc probe failed: rpc error: code = NotFound desc = because")),
        ];
        for (answer, code, expected) in rows {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("bound").to_string();
            let server = tokio::spawn(serve(listener, answer, code));
            assert_eq!(check(&address, "a.service", LIMIT).await, expected, "{code}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn nobody_there_is_a_timeout() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        drop(listener);
        let text =
            format!("timeout: failed to connect service {address:?} within 100ms: context deadline exceeded");
        assert_eq!(check(&address, "", Duration::from_millis(100)).await, Attempt::Failure(text));
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = silent.local_addr().expect("bound").to_string();
        let text = "timeout: health rpc did not complete within 100ms".to_owned();
        assert_eq!(check(&address, "", Duration::from_millis(100)).await, Attempt::Failure(text));
    }

    #[test]
    fn messages_are_protobuf() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(decode(&[0, 0]), None);
    }
}
