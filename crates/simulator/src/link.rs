//! One component's way to the API server, which delays, loses and breaks; and which is dead for ever once its component
//! was restarted: what an earlier life had begun never arrives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use apiserver::{InProcess, Server};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use client::{Body, Client, Error, Transport, Upgraded};
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use model::UserInfo;
use model::tree::TreeExt;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::Notify;

use crate::audit::Audit;
use crate::faults::Faults;
use crate::trace::Trace;

/// What all links share.
pub struct Net {
    /// The server of the moment.
    pub server: RwLock<Arc<Server>>,
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// What happens.
    pub trace: Arc<Trace>,
    /// What must not be.
    pub audit: Arc<Audit>,
    cut: Mutex<BTreeSet<String>>,
    changed: Notify,
}

impl Net {
    /// A net in which everybody reaches the server.
    pub fn new(server: Arc<Server>, faults: Arc<Faults>, trace: Arc<Trace>, audit: Arc<Audit>) -> Arc<Self> {
        Arc::new(Self {
            server: RwLock::new(server),
            faults,
            trace,
            audit,
            cut: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Cuts a component off, or lets it in again.
    pub fn cut(&self, who: &str, cut: bool) {
        let mut all = self.cut.lock();
        if cut {
            all.insert(who.to_owned())
        } else {
            all.remove(who)
        };
        drop(all);
        self.changed.notify_waiters();
    }

    /// Whether a component is cut off.
    pub fn is_cut(&self, who: &str) -> bool {
        self.cut.lock().contains(who)
    }
}

/// A link.
#[derive(Clone)]
pub struct Link {
    net: Arc<Net>,
    who: Arc<str>,
    user: UserInfo,
    alive: Arc<AtomicBool>,
    perfect: bool,
}

impl Link {
    /// A component's link, as a user.
    pub fn new(net: &Arc<Net>, who: &str, user: UserInfo) -> Self {
        Self {
            net: net.clone(),
            who: who.into(),
            user,
            alive: Arc::new(AtomicBool::new(true)),
            perfect: false,
        }
    }

    /// A link on which nothing goes wrong.
    pub fn perfect(net: &Arc<Net>) -> Self {
        let user = UserInfo::authenticated("user", &["system:masters"]);
        Self { perfect: true, ..Self::new(net, "user", user) }
    }

    /// The same component as another user.
    #[must_use]
    pub fn as_user(&self, user: UserInfo) -> Self {
        Self { user, ..self.clone() }
    }

    /// A client over it.
    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()))
    }

    /// Ends it for ever.
    pub fn kill(&self) {
        self.alive.store(false, Ordering::Relaxed);
        self.net.changed.notify_waiters();
    }

    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Waits for ever if the component is dead.
    async fn live(&self) {
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for a random while, and for ever if the component is dead.
    pub async fn delay(&self) {
        if !self.perfect {
            self.net.faults.delay().await;
        }
        self.live().await;
    }

    /// Throws the dice for one kind of fault.
    pub fn happens(&self, chance: impl Fn(&crate::faults::Chances) -> u64) -> bool {
        !self.perfect && self.net.faults.happens(chance)
    }

    fn watch(&self, response: Response<Body>, query: &str) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let resumes = query
            .split('&')
            .any(|part| part.strip_prefix("resourceVersion=").is_some_and(|text| !matches!(text, "" | "0")));
        let watch = Watch {
            link: self.clone(),
            body,
            order: Order { last: 0, listed: resumes, rest: BytesMut::new(), query: query.to_owned() },
        };
        let frames = futures::stream::unfold(watch, |mut watch| async move {
            let bytes = watch.next().await?;
            Some((Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(bytes)), watch))
        });
        Response::from_parts(parts, StreamBody::new(frames).boxed_unsync())
    }
}

/// A watch on its way.
struct Watch {
    link: Link,
    body: Body,
    order: Order,
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        let link = self.link.clone();
        loop {
            link.live().await;
            let changed = link.net.changed.notified();
            if link.net.is_cut(&link.who) {
                return None;
            }
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = changed => continue,
            };
            let bytes = frame?.ok()?.into_data().ok()?;
            if let Some(text) = self.order.check(&bytes) {
                link.net.audit.violation(format!("a watch of {}: {text}", link.who));
            }
            link.delay().await;
            if link.net.is_cut(&link.who) || link.happens(|chances| chances.watch_ends) {
                return None;
            }
            return Some(bytes);
        }
    }
}

/// Whether a watch's versions only grow.
struct Order {
    last: u64,
    /// What was there at the beginning has been told.
    listed: bool,
    rest: BytesMut,
    query: String,
}

impl Order {
    fn check(&mut self, bytes: &[u8]) -> Option<String> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(end + 1);
            let Ok(event) = serde_json::from_slice::<Value>(&line) else {
                return Some(format!("not JSON: {}", String::from_utf8_lossy(&line)));
            };
            if event["type"] == "ERROR" {
                continue;
            }
            let version = event["object"].resource_version().parse::<u64>().unwrap_or(0);
            let bookmark = event["type"] == "BOOKMARK";
            if self.listed && (version < self.last || version == self.last && !bookmark) {
                return Some(format!("version {version} after {} ({})", self.last, self.query));
            }
            if self.listed || bookmark {
                self.last = version;
            }
            self.listed |= bookmark;
        }
        None
    }
}

fn refused() -> Error {
    Error::Connect("dial tcp 127.0.0.1:6443: connect: connection refused".into())
}

#[async_trait]
impl Transport for Link {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let net = &self.net;
        let rivals = net.faults.rivals();
        let binds = request.uri().path().ends_with("/binding");
        if rivals && binds && !self.perfect {
            // What is on its way arrives, even if who sent it is no more.
            net.faults.delay().await;
        } else {
            self.delay().await;
        }
        if net.is_cut(&self.who) || self.happens(|chances| chances.refused) {
            // Nobody asks again at once, for ever.
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            self.live().await;
            return Err(refused());
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let query = uri.query().unwrap_or_default().to_owned();
        let mut too_early = None;
        if &*self.who == "garbage" && matches!(method, Method::DELETE | Method::PATCH) {
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            if method == Method::DELETE {
                net.audit.check_garbage(body.text(&["preconditions", "uid"]));
            } else {
                too_early = net.audit.check_release(&body);
            }
        }
        let server = net.server.read().clone();
        let response = InProcess::new(server, self.user.clone()).send(request).await?;
        net.trace.add(&format!("{} {method} {uri} {}", self.who, response.status().as_u16()));
        if let Some(text) = too_early.filter(|_| response.status().is_success()) {
            net.audit.violation(text);
        }
        if query.contains("watch=true") {
            return Ok(self.watch(response, &query));
        }
        if (rivals || !binds) && self.happens(|chances| chances.unanswered) {
            return Err(Error::Broken("EOF".into()));
        }
        self.delay().await;
        Ok(response)
    }

    async fn upgrade(&self, _: Request<Bytes>) -> Result<Result<Upgraded, Response<Body>>, Error> {
        Err(Error::Broken("nothing is upgraded here".into()))
    }

    fn server(&self) -> String {
        "simulated".into()
    }
}
