//! Exec and attach over every protocol.

use bytes::Bytes;
use serde_json::Value;
use streams::channels::{self, Codec, ERROR, Input, RESIZE, STDERR, STDIN, STDOUT};
use streams::spdy::Connection;

use super::support::{Harness, spdy_headers, websocket_headers};

const ALL: &str = "/exec/n/p/c?command=sh&command=7&input=1&output=1&error=1";

/// What a client saw: stdout, stderr, status.
type Seen = (String, String, String);

async fn over_channels(it: &Harness, path: &str, protocols: &[&str], input: &str) -> Seen {
    let (io, headers) = it.upgrade(path, websocket_headers(protocols)).await;
    let chosen = headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(chosen.as_deref(), protocols.first().copied());
    let base64 = protocols.first().is_some_and(|protocol| protocol.contains("base64"));
    let codec = if base64 { Codec::Base64 } else { Codec::Binary };
    let (mut sender, mut receiver) = channels::split_as(streams::websocket::client(io).await, codec);
    if path.contains("tty") {
        sender.send(RESIZE, br#"{"Width":80,"Height":24}"#).await.unwrap();
    }
    if path.contains("input") {
        sender.send(STDIN, input.as_bytes()).await.unwrap();
        sender.close_channel(STDIN).await.unwrap();
    }
    let mut seen: [Vec<u8>; 4] = Default::default();
    while let Some(next) = receiver.next().await {
        let Input::Data(channel, data) = next else { panic!("the server closes no channel") };
        seen[usize::from(channel)].extend_from_slice(&data);
    }
    let text = |channel: u8| String::from_utf8(seen[usize::from(channel)].clone()).unwrap();
    (text(STDOUT), text(STDERR), text(ERROR))
}

fn status(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("no status: {text:?}"))
}

#[tokio::test]
async fn commands_stream_over_channels() {
    let it = Harness::new();
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let path =
            if protocol.starts_with("v4.base64") { ALL.replace("input=1&", "") } else { ALL.to_owned() };
        let (stdout, stderr, told) = over_channels(&it, &path, &[protocol], "hello\n").await;
        let expected = if path.contains("input") { "out\nhello\nlast\n" } else { "out\nlast\n" };
        assert_eq!((stdout.as_str(), stderr.as_str()), (expected, "err\n"), "{protocol}");
        let told = status(&told);
        assert_eq!(told["reason"], "NonZeroExitCode", "{protocol}");
        assert_eq!(told["details"]["causes"][0]["message"], "7", "{protocol}");
    }
    let plain = "/exec/n/p/u/c?command=true&output=1";
    let (stdout, _, told) = over_channels(&it, plain, &["v4.channel.k8s.io"], "").await;
    assert_eq!((stdout.as_str(), told.as_str()), ("out\nlast\n", r#"{"metadata":{},"status":"Success"}"#));
    let (_, _, told) = over_channels(&it, plain, &[], "").await;
    assert_eq!(told, "", "older clients are told of failures only");
}

#[tokio::test]
async fn terminals_have_sizes() {
    let it = Harness::new();
    let path = "/exec/n/p/c?command=sh&input=1&output=1&tty=1";
    let (stdout, _, _) = over_channels(&it, path, &["v5.channel.k8s.io"], "x").await;
    assert_eq!(stdout, "out\nxlast\n");
    assert_eq!(it.runtime.sizes.lock()[0], cri::runtime::TerminalSize { width: 80, height: 24 });
}

#[tokio::test]
async fn what_cannot_run_is_told_on_the_error_channel() {
    let it = Harness::new();
    let path = "/exec/n/p/c?command=missing&output=1";
    let once = "Internal error occurred: error executing command in container: failed to exec in container: no such file";
    let (_, _, told) = over_channels(&it, path, &["v4.channel.k8s.io"], "").await;
    assert_eq!(status(&told)["message"], once);
    let (_, _, told) = over_channels(&it, path, &["v5.channel.k8s.io"], "").await;
    assert_eq!(status(&told)["message"], format!("Internal error occurred: {once}"));
    let (_, _, told) = over_channels(&it, path, &["channel.k8s.io"], "").await;
    assert_eq!(told, once);
}

async fn over_spdy(it: &Harness, path: &str, input: &'static [u8]) -> Seen {
    let (io, headers) = it.upgrade(path, spdy_headers(&["v4.channel.k8s.io", "v3.channel.k8s.io"])).await;
    assert_eq!(headers["x-stream-protocol-version"], "v4.channel.k8s.io");
    let client = Connection::client(io);
    let open = |kind: &str| client.open(vec![("streamtype".into(), kind.into())], false);
    let mut error = open("error").await.unwrap();
    let stdin = open("stdin").await.unwrap();
    let mut stdout = open("stdout").await.unwrap();
    let mut stderr = open("stderr").await.unwrap();
    stdin.writer().write(input).await.unwrap();
    stdin.writer().close().await.unwrap();
    let (mut seen, mut errors, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let all = |into: &mut Vec<u8>, data: Bytes| into.extend_from_slice(&data);
    while let Some(data) = stdout.read().await {
        all(&mut seen, data);
    }
    while let Some(data) = stderr.read().await {
        all(&mut errors, data);
    }
    while let Some(data) = error.read().await {
        all(&mut told, data);
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(seen), text(errors), text(told))
}

#[tokio::test]
async fn commands_stream_over_spdy() {
    let it = Harness::new();
    let (stdout, stderr, told) = over_spdy(&it, ALL, b"hello\n").await;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("out\nhello\nlast\n", "err\n"));
    let expected = "command terminated with non-zero exit code: error executing command [sh 7], exit code 7";
    assert_eq!(status(&told)["message"], expected);
    let (stdout, _, told) = over_spdy(&it, "/attach/n/p/c?input=1&output=1&error=1", b"hi").await;
    assert_eq!((stdout.as_str(), status(&told)["status"].as_str()), ("out\nhilast\n", Some("Success")));
}

#[tokio::test]
async fn a_client_that_leaves_closes_the_input() {
    let it = Harness::new();
    let (io, _) = it.upgrade(ALL, websocket_headers(&["v5.channel.k8s.io"])).await;
    let (mut sender, receiver) = channels::split(streams::websocket::client(io).await);
    sender.send(STDIN, b"x").await.unwrap();
    drop((sender, receiver));
    let ended = async {
        while it.runtime.ended.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.expect("the input ends");
    assert_eq!(it.runtime.ended.lock()[0], "sh 7");
}
