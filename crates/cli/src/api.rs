//! Requests to the API server: answers as trees, the server's warnings on standard error, failures in kubectl's words.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::transport::Upgraded;
use client::typed::read_bytes;
use client::{Body, Transport, watch};
use futures::Stream;
use http::{Method, Request, Response};
use model::{Reason, Status};
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::Values;

/// Plain objects.
pub const JSON: &str = "application/json";
/// Tables where the server makes them.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// A connection to the API server.
pub struct Api<'a> {
    context: &'a Context,
    transport: Arc<dyn Transport>,
    timeout: Option<Duration>,
    warned: Mutex<BTreeSet<String>>,
}

impl<'a> Api<'a> {
    /// The server that the configuration leads to.
    pub fn new(context: &'a Context, values: &Values) -> Result<Self, Failure> {
        let timeout = values.duration("request-timeout");
        let text = values.text("request-timeout");
        if timeout.is_zero() && !matches!(text, "" | "0" | "0s") {
            return Err(message(format!(
                "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h): {text}"
            )));
        }
        Ok(Self {
            context,
            transport: crate::config::transport(context, values)?,
            timeout: (!timeout.is_zero()).then_some(timeout),
            warned: Mutex::default(),
        })
    }

    /// Its address.
    pub fn server(&self) -> String {
        self.transport.server()
    }

    fn connection(&self, error: client::transport::Error) -> Failure {
        match error {
            client::transport::Error::Config(text) => message(text),
            error => {
                let server = self.transport.server();
                let host = server.split_once("://").map_or(server.as_str(), |(_, rest)| rest);
                Failure::Connection { host: host.split('/').next().unwrap_or(host).to_owned(), error }
            }
        }
    }

    fn show_warnings(&self, response: &Response<Body>) {
        for value in response.headers().get_all("warning") {
            let Ok(text) = value.to_str() else { continue };
            let Some(text) = warning_text(text) else { continue };
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert(text.clone()) {
                self.context.warnings.fetch_add(1, Ordering::Relaxed);
                self.context.err(&format!("Warning: {text}\n"));
            }
        }
    }

    /// Sends a request; the body of the answer may stream. Answers of 400 and above are failures.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(http::header::ACCEPT, accept);
        let mut bytes = Bytes::new();
        if let Some((content_type, content)) = body {
            request = request.header(http::header::CONTENT_TYPE, content_type);
            bytes = content.into();
        }
        let request = request.body(bytes).map_err(|error| message(format!("{path}: {error}")))?;
        let answer = self.transport.send(request);
        let response = match self.timeout {
            Some(timeout) => tokio::time::timeout(timeout, answer).await.map_err(|_| {
                let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                self.connection(client::transport::Error::Connect(text.into()))
            })?,
            None => answer.await,
        };
        let response = response.map_err(|error| self.connection(error))?;
        self.show_warnings(&response);
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        Err(Failure::Server(refusal(response).await))
    }

    /// Sends a request and reads the answer as a tree.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, Vec<u8>)>,
    ) -> Result<Value, Failure> {
        let response = self.send(method, path, accept, body).await?;
        let bytes = read_bytes(response.into_body()).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| message(format!("reading the answer of {path}: {error}")))
    }

    /// Gets a tree.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, JSON, None).await
    }

    /// Sends a tree.
    pub async fn write(&self, method: Method, path: &str, object: &Value) -> Result<Value, Failure> {
        self.call(method, path, JSON, Some((JSON, object.to_string().into_bytes()))).await
    }

    /// Sends a patch.
    pub async fn patch(&self, path: &str, content_type: &str, patch: Vec<u8>) -> Result<Value, Failure> {
        self.call(Method::PATCH, path, JSON, Some((content_type, patch))).await
    }

    /// Reads an answer's bytes as they are.
    pub async fn raw(&self, path: &str) -> Result<Bytes, Failure> {
        let response = self.send(Method::GET, path, "application/json, */*", None).await?;
        Ok(read_bytes(response.into_body()).await?)
    }

    /// Watches a collection; `path` carries the query.
    pub async fn watch(
        &self,
        path: &str,
        accept: &str,
    ) -> Result<impl Stream<Item = Result<client::WatchEvent<Value>, Status>> + Send + Unpin + use<>, Failure>
    {
        let response = self.send(Method::GET, path, accept, None).await?;
        Ok(watch::events(response.into_body()))
    }

    /// Upgrades a connection; a refusal is a failure.
    pub async fn upgrade(&self, request: Request<Bytes>) -> Result<Upgraded, Failure> {
        match self.transport.upgrade(request).await.map_err(|error| self.connection(error))? {
            Ok(upgraded) => Ok(upgraded),
            Err(response) => {
                self.show_warnings(&response);
                Err(Failure::Server(refusal(response).await))
            }
        }
    }
}

/// The text of `299 - "text"` (RFC 7234).
fn warning_text(header: &str) -> Option<String> {
    let start = header.find('"')?;
    let mut text = String::new();
    let mut chars = header[start + 1..].chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Some(text),
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    None
}

/// The status that an answer of 400 and above stands for.
async fn refusal(response: Response<Body>) -> Status {
    let code = response.status().as_u16();
    let bytes = match read_bytes(response.into_body()).await {
        Ok(bytes) => bytes,
        Err(status) => return status,
    };
    let status = serde_json::from_slice::<Value>(&bytes).ok().and_then(|value| Status::from_value(&value));
    status.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        match code {
            400 => Status::new(code, Reason::BadRequest, text),
            401 => Status::new(code, Reason::Unauthorized, text),
            403 => Status::new(code, Reason::Forbidden, text),
            404 => Status::new(code, Reason::NotFound, "the server could not find the requested resource"),
            405 => Status::new(
                code,
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            ),
            500 => Status::new(
                code,
                Reason::InternalError,
                format!("an error on the server ({text:?}) has prevented the request from succeeding"),
            ),
            503 => Status::new(
                code,
                Reason::ServiceUnavailable,
                if text.is_empty() {
                    "the server is currently unable to handle the request".into()
                } else {
                    text
                },
            ),
            _ => Status::new(code, Reason::Unknown, text),
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn warnings_are_unquoted() {
        assert_eq!(super::warning_text("299 - \"a \\\"b\\\"\"").as_deref(), Some("a \"b\""));
        assert_eq!(super::warning_text("299 - x"), None);
    }
}
