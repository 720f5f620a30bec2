//! The one request pipeline: authenticate → authorize → decode → strict field validation → normalise and default →
//! admission → validate → store transaction → encode. Every verb of every kind passes it, in process or over HTTPS.

pub mod access;
pub mod answer;
pub mod context;
pub mod decode;
pub mod negotiate;
pub mod query;
pub mod route;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use client::Body;
use futures::FutureExt;
use http::header::{CACHE_CONTROL, WARNING};
use http::{HeaderValue, Request, Response};
use model::{Reason, Status, UserInfo};
use parking_lot::Mutex;
use stdx::entropy::Entropy;
use tokio::time::{Instant, timeout};

use crate::server::Server;
use crate::upgrade;
use context::Context;
use query::Query;
use route::Route;

/// Time for a request that is not long-running (upstream's `--request-timeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request may wait for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(15);

impl Server {
    /// Answers a request. `user` is set by trusted in-process callers only; otherwise authenticators find out.
    pub async fn handle(self: &Arc<Self>, request: Request<Body>, user: Option<UserInfo>) -> Response<Body> {
        let started = Instant::now();
        let audit_id =
            request.headers().get("audit-id").cloned().unwrap_or_else(|| audit_id(&self.options.entropy));
        let uri = request.uri();
        let query = Query::parse(uri.query());
        let route = Route::parse(&self.objects().routes(), request.method(), uri.path(), &query);
        let labels = self.metrics.labels(&route);
        let work = AssertUnwindSafe(answer(self, request, route, query, user)).catch_unwind();
        let mut response = work.await.unwrap_or_else(|panic| {
            tracing::error!(panic = panic_text(&*panic), "a request's handler panicked");
            let text = "This request caused apiserver to panic. Look in the logs for details.";
            answer::failure(None, &Status::new(500, Reason::InternalError, text))
        });
        self.metrics.observe(&labels, response.status().as_u16(), started.elapsed());
        let headers = response.headers_mut();
        headers.insert("audit-id", audit_id);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }
}

/// A random version 4 UUID, without a string on the way.
fn audit_id(entropy: &Entropy) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = [0; 16];
    entropy.fill(&mut random);
    random[6] = (random[6] & 0x0f) | 0x40;
    random[8] = (random[8] & 0x3f) | 0x80;
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|at| ![8, 13, 18, 23].contains(at));
    for (nibble, at) in places.enumerate() {
        let byte = random[nibble / 2];
        text[at] = DIGITS[usize::from(if nibble % 2 == 0 { byte >> 4 } else { byte & 15 })];
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown")
}

async fn answer(
    server: &Arc<Server>,
    mut request: Request<Body>,
    route: Route,
    query: Query,
    user: Option<UserInfo>,
) -> Response<Body> {
    let upgrade = upgrade::of_request(&mut request);
    let (parts, body) = request.into_parts();
    let user = match access::identify(server, &parts, user).await {
        Ok(user) => user,
        Err(status) => return answer::failure(None, &status),
    };
    let context = Context {
        server: Arc::clone(server),
        user,
        route,
        method: parts.method,
        raw_query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        query,
        warnings: Mutex::default(),
        body: Mutex::new(Some(body)),
        upgrade: Mutex::new(upgrade),
    };
    let context = Arc::new(context);
    let mut response = match within_bounds(&context).await {
        Ok(response) => response,
        Err(status) => answer::failure(Some(&context), &status),
    };
    for warning in context.warnings.lock().drain(..) {
        if let Ok(value) = HeaderValue::from_bytes(warning_header(&warning).as_bytes()) {
            response.headers_mut().append(WARNING, value);
        }
    }
    response
}

/// `299 - "text"`, RFC 7234.
fn warning_header(text: &str) -> String {
    let clean: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("299 - \"{}\"", clean.replace('\\', "\\\\").replace('"', "\\\""))
}

async fn within_bounds(context: &Arc<Context>) -> Result<Response<Body>, Status> {
    access::authorize(context).await?;
    if context.route.long_running() {
        return dispatch(context).await;
    }
    let server = &context.server;
    let turns = if context.route.mutating() { &server.mutating } else { &server.reading };
    let _turn = match turns.try_acquire() {
        Ok(turn) => turn,
        Err(_) => match timeout(QUEUE_TIMEOUT, turns.acquire()).await {
            Ok(Ok(turn)) => turn,
            _ => return Err(too_many_requests()),
        },
    };
    if !context.route.mutating() {
        return dispatch(context).await;
    }
    timeout(request_timeout(context), dispatch(context)).await.unwrap_or_else(|_| {
        let text = "Timeout: request did not complete within the allotted timeout";
        Err(Status::new(504, Reason::Timeout, text))
    })
}

fn request_timeout(context: &Context) -> Duration {
    let asked = context.query.get("timeout").and_then(|text| stdx::duration::parse_go(text).ok());
    asked.filter(|asked| !asked.is_zero()).map_or(REQUEST_TIMEOUT, |asked| asked.min(REQUEST_TIMEOUT))
}

fn too_many_requests() -> Status {
    let mut status = Status::new(429, Reason::TooManyRequests, "too many requests, please try again later");
    status.details = Some(Box::new(model::status::Details { retry_after_seconds: 1, ..Default::default() }));
    status
}

async fn dispatch(context: &Arc<Context>) -> Result<Response<Body>, Status> {
    let answer = if context.route.resource_request {
        crate::verbs::dispatch(context).await?
    } else {
        crate::paths::dispatch(context).await?
    };
    answer::respond(context, answer)
}
