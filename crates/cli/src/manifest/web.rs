//! Manifests out of the web: `-f https://…`. The machine's own list of authorities says whom to trust.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use client::kubeconfig::{self, Cluster, User};
use client::transport::Error as TransportError;
use client::{Transport, typed};
use http::{Request, Response, StatusCode};

use crate::context::Context;
use crate::failure::{Failure, message};

/// How often a server that has trouble is asked.
const TRIES: usize = 3;
/// How many redirections are followed, as Go does.
const REDIRECTIONS_MAX: usize = 10;
/// Where distributions keep the authorities that they trust.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whether a name is an address of the web.
pub fn is_address(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// Reads a manifest. The thread waits, so that reading files and addresses is alike for callers.
pub fn read(context: &Context, address: &str) -> Result<Vec<u8>, Failure> {
    let authorities = authorities(context);
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| message(format!("reading {address}: {error}")))?;
        runtime.block_on(get(authorities, address))
    };
    // A runtime cannot wait inside of another one: the thread is for that.
    let joined = std::thread::scope(|scope| scope.spawn(work).join());
    joined.unwrap_or_else(|_| Err(message(format!("reading {address} failed"))))
}

fn authorities(context: &Context) -> Option<PathBuf> {
    let own = context.variable("SSL_CERT_FILE").map(PathBuf::from);
    own.or_else(|| AUTHORITIES.iter().map(PathBuf::from).find(|path| Path::exists(path)))
}

async fn get(authorities: Option<PathBuf>, address: &str) -> Result<Vec<u8>, Failure> {
    let mut left = TRIES;
    loop {
        let response = follow(authorities.clone(), address).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(typed::read_bytes(response.into_body()).await?.to_vec());
        }
        left -= 1;
        if !status.is_server_error() || left == 0 {
            let (code, words) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
            return Err(message(format!(
                "unable to read URL {address:?}, server reported {code} {words}, status code={code}"
            )));
        }
    }
}

async fn follow(
    authorities: Option<PathBuf>,
    address: &str,
) -> Result<Response<client::body::Body>, Failure> {
    let mut address = address.to_owned();
    for _ in 0..=REDIRECTIONS_MAX {
        let (server, path) = split(&address);
        let cluster = Cluster {
            server: server.to_owned(),
            certificate_authority: authorities.clone(),
            ..Cluster::default()
        };
        let request = Request::builder().uri(path.as_str()).body(Bytes::new());
        let request = request.map_err(|error| message(format!("the URL {address:?} is invalid: {error}")))?;
        let host = server.split_once("://").map_or(server, |(_, host)| host).to_owned();
        let failed = |error: TransportError| match error {
            TransportError::Config(text) => message(text),
            error => Failure::Connection { host: host.clone(), error },
        };
        let transport =
            kubeconfig::transport(&cluster, &User::default(), http::HeaderMap::new()).map_err(failed)?;
        let response = transport.send(request).await.map_err(failed)?;
        let to = response.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok());
        match to.filter(|_| response.status().is_redirection()) {
            Some(to) if is_address(to) => address = to.to_owned(),
            Some(to) if to.starts_with('/') => address = format!("{server}{to}"),
            _ => return Ok(response),
        }
    }
    Err(message(format!("Get {address:?}: stopped after {REDIRECTIONS_MAX} redirects")))
}

/// Scheme and host; path and query.
fn split(address: &str) -> (&str, String) {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    let rest = address[end..].split('#').next().unwrap_or_default();
    (&address[..end], if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use stdx::clock::Clock;

    use super::*;

    fn context() -> Context {
        Context::with_streams(
            "kubectl",
            Clock::system(),
            Box::new(std::io::sink()),
            Box::new(std::io::sink()),
            Box::new(std::io::empty()),
        )
    }

    #[test]
    fn addresses_are_taken_apart() {
        for (address, server, path) in [
            ("https://x.example/a/b.yaml?c#d", "https://x.example", "/a/b.yaml?c"),
            ("http://x:1", "http://x:1", "/"),
            ("http://x?y", "http://x", "/?y"),
        ] {
            assert_eq!(split(address), (server, path.to_owned()));
        }
    }

    #[test]
    fn manifests_are_read_through_redirections_and_trouble() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let answers = [
            "302 Found\r\nlocation: /there",
            "503 Service Unavailable",
            "302 Found\r\nlocation: /there",
            "200 OK",
            "404 Not Found",
        ];
        let serving = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut seen = Vec::new();
                let mut byte = [0];
                while !seen.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                    seen.push(byte[0]);
                }
                let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody");
                stream.write_all(head.as_bytes()).unwrap();
            }
        });
        let context = context();
        assert_eq!(read(&context, &format!("{server}/here")).unwrap(), b"body");
        let refused = read(&context, &format!("{server}/gone")).unwrap_err().words();
        assert!(refused.ends_with("server reported 404 Not Found, status code=404"), "{refused}");
        serving.join().unwrap();
        let refused = read(&context, &server).unwrap_err().text();
        assert!(refused.contains("was refused - did you specify the right host or port?"), "{refused}");
    }
}
