//! Load: many connections, each with one request after the other, HTTP/1.1 over TLS with a token. Requests and answers are
//! bytes: a client library would take the cores from the server that shares them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::{NAMESPACE, User};

/// Seconds of a sample, and how many are taken.
const SAMPLE: Duration = Duration::from_secs(4);
const SAMPLES: usize = 3;
/// ConfigMaps that are made, and then listed.
const OBJECTS: u64 = 19_500;
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// GET of one Pod, 16 connections: requests per second.
pub async fn gets(user: &User, pod: &str) -> anyhow::Result<Vec<f64>> {
    let request = request(user, "GET", &format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}"), "");
    sampled(user, 16, &request, 200).await
}

/// Durable creates of ConfigMaps, 16 connections: requests per second, a sample for each third.
pub async fn creates(user: &User) -> anyhow::Result<Vec<f64>> {
    let body = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"load-"}},"data":{{"k":"{}"}}}}"#,
        "x".repeat(200)
    );
    let request = request(user, "POST", &format!("/api/v1/namespaces/{NAMESPACE}/configmaps"), &body);
    let mut rates = Vec::new();
    for _ in 0..SAMPLES {
        let share = OBJECTS / SAMPLES as u64;
        rates.push(run(user, 16, &request, 201, Limit::Requests(share)).await?);
    }
    Ok(rates)
}

/// LIST of the first 500 of all ConfigMaps, 4 connections: requests per second.
pub async fn lists(user: &User) -> anyhow::Result<Vec<f64>> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?limit=500");
    sampled(user, 4, &request(user, "GET", &path, ""), 200).await
}

/// The scheduler's own bench on simulated nodes: Pods per second.
pub fn schedule(program: &Path) -> anyhow::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..SAMPLES {
        let output = std::process::Command::new(program).args(["5000", "10000"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.starts_with("plain:")).with_context(|| text.clone())?;
        let rate = line.rsplit(' ').next().and_then(|word| word.strip_suffix("/s")).context("a rate")?;
        rates.push(rate.parse()?);
    }
    Ok(rates)
}

fn request(user: &User, method: &str, path: &str, body: &str) -> Arc<[u8]> {
    let length = body.len();
    let content = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {length}\r\n")
    };
    let (host, token) = (&user.address, &user.token);
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n");
    format!("{head}Accept: application/json\r\n{content}\r\n{body}").into_bytes().into()
}

/// When a run ends.
#[derive(Clone, Copy)]
enum Limit {
    Time(Duration),
    Requests(u64),
}

async fn sampled(
    user: &User,
    connections: usize,
    request: &Arc<[u8]>,
    code: u16,
) -> anyhow::Result<Vec<f64>> {
    // The first moments fill caches and are not counted.
    run(user, connections, request, code, Limit::Time(Duration::from_secs(1))).await?;
    let mut rates = Vec::new();
    for _ in 0..SAMPLES {
        rates.push(run(user, connections, request, code, Limit::Time(SAMPLE)).await?);
    }
    Ok(rates)
}

/// Requests per second of so many connections, all opened before the first request.
async fn run(
    user: &User,
    connections: usize,
    request: &Arc<[u8]>,
    code: u16,
    limit: Limit,
) -> anyhow::Result<f64> {
    let opened = (0..connections).map(|_| Connection::open(user));
    let opened: Vec<Connection> = futures::future::try_join_all(opened).await?;
    let begin = tokio::time::Instant::now();
    let asked = Arc::new(AtomicU64::new(0));
    let tasks = opened.into_iter().map(|mut connection| {
        let (request, asked) = (request.clone(), asked.clone());
        tokio::spawn(async move {
            let mut done = 0u64;
            loop {
                let goes_on = match limit {
                    Limit::Time(time) => begin.elapsed() < time,
                    Limit::Requests(count) => asked.fetch_add(1, Ordering::Relaxed) < count,
                };
                if !goes_on {
                    return anyhow::Ok(done);
                }
                connection.ask(&request, code).await?;
                done += 1;
            }
        })
    });
    let mut total = 0;
    for done in futures::future::join_all(tasks).await {
        total += done??;
    }
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

/// A connection with the bytes that were read and not used.
struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(user: &User) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(&user.address).await.with_context(|| user.address.clone())?;
        tcp.set_nodelay(true)?;
        let host = user.address.rsplit_once(':').map_or(user.address.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(user.tls.clone()).connect(name, tcp).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    /// One request and its whole answer, which must have this code.
    async fn ask(&mut self, request: &[u8], code: u16) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        if text.split(' ').nth(1).and_then(|word| word.parse().ok()) != Some(code) {
            let _ = self.more().await;
            bail!("wanted {code}: {}", String::from_utf8_lossy(&self.buffer));
        }
        match header(&text, "content-length").map(str::parse::<usize>) {
            Some(length) => self.take(head + length?).await,
            None if header(&text, "transfer-encoding") == Some("chunked") => self.take_chunks(head).await,
            None => bail!("an answer without a length: {text}"),
        }
    }

    /// Uses up so many bytes.
    async fn take(&mut self, end: usize) -> anyhow::Result<()> {
        while self.buffer.len() < end {
            self.more().await?;
        }
        self.buffer.drain(..end);
        Ok(())
    }

    async fn take_chunks(&mut self, mut at: usize) -> anyhow::Result<()> {
        loop {
            let line = loop {
                if let Some(length) = find(&self.buffer[at..], b"\r\n") {
                    break length;
                }
                self.more().await?;
            };
            let text = std::str::from_utf8(&self.buffer[at..at + line])?;
            let size = usize::from_str_radix(text.split(';').next().unwrap_or_default().trim(), 16)?;
            at += line + 2 + size + 2;
            if size == 0 {
                return self.take(at).await;
            }
            while self.buffer.len() < at {
                self.more().await?;
            }
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        if self.buffer.len() > ANSWER_BYTES_MAX || self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection ended in an answer");
        }
        Ok(())
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
