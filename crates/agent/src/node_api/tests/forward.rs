//! Port-forward over its three carriers.

use std::future::Future;

use streams::channels::{self, Input};
use streams::spdy::{Connection, Stream};
use streams::tunnel::Tunnel;
use streams::{PORT_FORWARD, PORT_FORWARD_TUNNEL};

use super::support::{Harness, spdy_headers, websocket_headers};

async fn open(client: &Connection, kind: &str, port: &str, id: &str) -> Stream {
    let headers = [("streamtype", kind), ("port", port), ("requestid", id)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    client.open(headers, false).await.unwrap()
}

async fn text(mut stream: Stream) -> String {
    let mut bytes = Vec::new();
    while let Some(data) = stream.read().await {
        bytes.extend_from_slice(&data);
    }
    String::from_utf8(bytes).unwrap()
}

/// Two connections at once, and one that is refused.
async fn exercise(client: Connection) {
    let echo = |id: &'static str| {
        let client = &client;
        async move {
            let error = open(client, "error", "80", id).await;
            let data = open(client, "data", "80", id).await;
            data.writer().write(id.as_bytes()).await.unwrap();
            data.writer().close().await.unwrap();
            assert_eq!(text(data).await, id);
            assert_eq!(text(error).await, "");
        }
    };
    tokio::join!(echo("0"), echo("1"));
    let (data, error) = (open(&client, "data", "81", "2").await, open(&client, "error", "81", "2").await);
    let expected = "error forwarding port 81 to pod s, uid : failed to execute portforward: dial tcp4 127.0.0.1:81: connection refused";
    assert_eq!(text(error).await, expected);
    assert_eq!(text(data).await, "");
    // A stream that makes no sense is reset; the connection goes on.
    let odd = open(&client, "data", "0", "3").await;
    assert_eq!(text(odd).await, "");
    echo("4").await;
}

async fn in_time(work: impl Future<Output = ()>) {
    tokio::time::timeout(std::time::Duration::from_secs(20), work).await.expect("nothing hangs");
}

#[tokio::test]
async fn over_spdy() {
    let it = Harness::new();
    let (io, headers) = it.upgrade("/portForward/n/p", spdy_headers(&[PORT_FORWARD])).await;
    assert_eq!(headers["x-stream-protocol-version"], PORT_FORWARD);
    in_time(exercise(Connection::client(io))).await;
}

#[tokio::test]
async fn over_a_tunnel() {
    let it = Harness::new();
    let (io, _) = it.upgrade("/portForward/n/p/u?ports=80", websocket_headers(&[PORT_FORWARD_TUNNEL])).await;
    let socket = streams::websocket::client(io).await;
    in_time(exercise(Connection::client(Tunnel::new(socket)))).await;
}

#[tokio::test]
async fn over_channels() {
    let it = Harness::new();
    let headers = websocket_headers(&["v4.channel.k8s.io"]);
    let (io, _) = it.upgrade("/portForward/n/p?ports=80,81", headers).await;
    let (mut sender, mut receiver) = channels::split(streams::websocket::client(io).await);
    sender.send(0, b"hello").await.unwrap();
    let mut seen: [Vec<u8>; 4] = Default::default();
    in_time(async {
        while seen[0].len() < 7 || seen[3].len() < 3 {
            let Some(Input::Data(channel, data)) = receiver.next().await else {
                panic!("ended early: {seen:?}")
            };
            seen[usize::from(channel)].extend_from_slice(&data);
        }
    })
    .await;
    assert_eq!(seen[0], b"\x50\0hello", "the port, then what came back");
    assert_eq!(seen[1], b"\x50\0");
    assert_eq!(seen[2], b"\x51\0");
    assert!(seen[3].starts_with(b"\x51\0error forwarding port 81 to pod s, uid : "));
}
