//! The server: what it is made of, and the checks that say whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Status;
use parking_lot::RwLock;
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::seams::{Admission, AllowAll, Authenticator, Authorizer, NodeConnector, TokenIssuer};
use crate::service_ip::ServiceAddresses;

/// What `/version` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `v1.36.0+carob1`.
    pub git_version: String,
    /// Commit, or empty.
    pub git_commit: String,
    /// Build date, RFC 3339, or empty.
    pub build_date: String,
    /// What built it.
    pub compiler: String,
    /// `linux/amd64`.
    pub platform: String,
}

impl Default for Version {
    fn default() -> Self {
        Self {
            git_version: format!("v1.36.0+carob{}", env!("CARGO_PKG_VERSION")),
            git_commit: String::new(),
            build_date: "1970-01-01T00:00:00Z".into(),
            compiler: "rustc".into(),
            platform: format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
        }
    }
}

/// What a server is made of.
#[derive(Clone)]
pub struct Options {
    /// Objects, with their table and store.
    pub objects: Arc<Objects>,
    /// Wall clock.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Asked in order; nobody knows the caller: anonymous.
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Decides.
    pub authorizer: Arc<dyn Authorizer>,
    /// In upstream's order.
    pub admission: Vec<Arc<dyn Admission>>,
    /// Reaches nodes; without it `log`, `exec` and the like answer 503.
    pub nodes: Option<Arc<dyn NodeConnector>>,
    /// Signs service-account tokens; without it `token` answers 404.
    pub tokens: Option<Arc<dyn TokenIssuer>>,
    /// Ranges of service addresses, one per family, the primary first (`10.43.0.0/16`).
    pub service_cidrs: Vec<String>,
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// `host:port` that clients are told to use.
    pub advertise: String,
    /// What `/version` says.
    pub version: Version,
}

impl Options {
    /// A server of these objects that lets everybody do everything: set the rest.
    pub fn new(objects: Arc<Objects>, clock: Clock, entropy: Entropy) -> Self {
        Self {
            objects,
            clock,
            entropy,
            authenticators: Vec::new(),
            authorizer: Arc::new(AllowAll),
            admission: Vec::new(),
            nodes: None,
            tokens: None,
            service_cidrs: vec!["10.43.0.0/16".into()],
            node_ports: (30_000, 32_767),
            advertise: "127.0.0.1:6443".into(),
            version: Version::default(),
        }
    }
}

/// A named condition of `/readyz` and `/livez`; the error says what is wrong.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Requests that may be at work at once: upstream's `--max-requests-inflight` and
/// `--max-mutating-requests-inflight`.
pub(crate) const READING_MAX: usize = 400;
pub(crate) const MUTATING_MAX: usize = 200;

/// The API server. Requests come in by [`Server::handle`].
pub struct Server {
    /// What it is made of.
    pub options: Options,
    /// Counters.
    pub metrics: Metrics,
    /// Addresses and ports of services.
    pub services: ServiceAddresses,
    pub(crate) reading: Semaphore,
    pub(crate) mutating: Semaphore,
    pub(crate) documents: crate::discovery::Documents,
    checks: RwLock<Vec<(String, Check)>>,
    draining: AtomicBool,
    drain: tokio::sync::Notify,
}

impl Server {
    /// Opens a server: reads which service addresses are taken.
    ///
    /// # Errors
    /// When the store cannot be read or the options contradict themselves.
    pub async fn open(options: Options) -> Result<Arc<Self>, Status> {
        let services =
            ServiceAddresses::open(&options.objects, &options.service_cidrs, options.node_ports).await?;
        Ok(Arc::new(Self {
            options,
            metrics: Metrics::new(),
            services,
            reading: Semaphore::new(READING_MAX),
            mutating: Semaphore::new(MUTATING_MAX),
            documents: crate::discovery::Documents::default(),
            checks: RwLock::default(),
            draining: AtomicBool::new(false),
            drain: tokio::sync::Notify::new(),
        }))
    }

    /// The objects.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.options.objects
    }

    /// Adds a condition to `/readyz` (e.g. `poststarthook/rbac/bootstrap-roles`).
    pub fn add_check(&self, name: impl Into<String>, check: Check) {
        self.checks.write().push((name.into(), check));
    }

    /// The conditions.
    pub fn checks(&self) -> Vec<(String, Check)> {
        self.checks.read().clone()
    }

    /// Whether every condition holds and the server is not going down.
    ///
    /// # Errors
    /// Names of those that fail, with their words.
    pub fn ready(&self) -> Result<(), Vec<(String, String)>> {
        let mut failed: Vec<(String, String)> = self
            .checks()
            .into_iter()
            .filter_map(|(name, check)| check().err().map(|error| (name, error)))
            .collect();
        if self.is_draining() {
            failed.push(("shutdown".into(), "process is shutting down".into()));
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Begins to go down: watches end, `/readyz` fails, listeners close.
    pub fn shut_down(&self) {
        self.draining.store(true, Ordering::Release);
        self.drain.notify_waiters();
    }

    /// Whether [`Server::shut_down`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits for [`Server::shut_down`].
    pub async fn drained(&self) {
        let notified = self.drain.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_draining() {
            notified.await;
        }
    }
}
