//! A request on its way through the pipeline.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use client::Body;
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use model::{Reason, Status, UserInfo};
use parking_lot::Mutex;

use super::negotiate::{self, Accepted, Offer};
use super::query::Query;
use super::route::Route;
use crate::objects::ResourceCache;
use crate::routes::Served;
use crate::server::Server;
use crate::upgrade::Upgrade;

/// Longest request body: upstream's 3 MiB.
pub const BODY_BYTES_MAX: usize = 3 << 20;

/// What handlers know of a request.
pub struct Context {
    /// The server.
    pub server: Arc<Server>,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// What is asked.
    pub route: Route,
    /// Method.
    pub method: http::Method,
    /// Headers.
    pub headers: HeaderMap,
    /// Parameters.
    pub query: Query,
    /// Query as sent.
    pub raw_query: Option<String>,
    /// Texts for `Warning:` headers.
    pub warnings: Mutex<Vec<String>>,
    /// The body, until it is read.
    pub body: Mutex<Option<Body>>,
    /// The connection, if it may be taken over.
    pub upgrade: Mutex<Option<Upgrade>>,
}

impl Context {
    /// The resource asked for.
    ///
    /// # Errors
    /// 404 when it is not served.
    pub fn served(&self) -> Result<&Arc<Served>, Status> {
        self.route.served.as_ref().ok_or_else(Status::no_such_resource)
    }

    /// The cache of the resource asked for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cache(&self) -> Result<Arc<ResourceCache>, Status> {
        self.server.objects().cache(&self.served()?.prefix).await
    }

    /// The key of the object asked for.
    ///
    /// # Errors
    /// 404 when the resource is not served.
    pub fn key(&self) -> Result<String, Status> {
        let served = self.served()?;
        Ok(crate::objects::object_key(&served.prefix, self.namespace(), &self.route.name))
    }

    /// The object's namespace: empty for cluster-wide resources (also for `namespaces`, whose route carries one).
    pub fn namespace(&self) -> &str {
        match &self.route.served {
            Some(served) if served.row.namespaced() => &self.route.namespace,
            _ => "",
        }
    }

    /// 404 of the object asked for.
    pub fn not_found(&self) -> Status {
        match &self.route.served {
            Some(served) => Status::not_found(&served.resource, &self.route.name),
            None => Status::no_such_resource(),
        }
    }

    /// Reads the body, within bounds.
    ///
    /// # Errors
    /// 413, or 400 when it breaks off.
    pub async fn read_body(&self) -> Result<Bytes, Status> {
        let Some(body) = self.body.lock().take() else { return Ok(Bytes::new()) };
        let too_large = || {
            let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            Status::new(413, Reason::RequestEntityTooLarge, text)
        };
        let announced = self.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if announced.and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length > BODY_BYTES_MAX)
        {
            return Err(too_large());
        }
        let mut body = body;
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|error| Status::bad_request(format!("unable to read the request body: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            if whole.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    /// Adds a text for a `Warning:` header.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The form of answer the client takes.
    ///
    /// # Errors
    /// 406.
    pub fn accepted(&self) -> Result<Accepted, Status> {
        let custom = self.route.served.as_ref().is_some_and(|served| served.definition.is_none());
        let offer = if custom { Offer::CustomShapes } else { Offer::Shapes };
        negotiate::accept(&self.headers, &self.query, offer)
    }

    /// A header's text, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
