//! The cluster: what runs in it, how it is restarted, and one run from its seed to its verdict.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use apiserver::authorization::NodeAndRbac;
use apiserver::seams::ObjectReader;
use apiserver::{Objects, Server, admission, bootstrap};
use client::{Client, ListOptions, Path};
use controllers::node_addresses::Cidr;
use engine::Informer;
use engine::run::Context;
use http::Method;
use jiff::Timestamp;
use model::UserInfo;
use model::tree::TreeExt;
use serde_json::Value;
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use store::Store;
use store::memory::MemoryStore;
use tokio::task::JoinHandle;

use crate::audit::{Audit, Counts};
use crate::faults::{Faults, FaultyStore};
use crate::link::{Link, Net};
use crate::nodes::Node;
use crate::panics;
use crate::settled;
use crate::trace::Trace;
use crate::workload;

/// When every run begins.
const START: &str = "2026-01-01T00:00:00Z";
/// Nodes at the beginning.
const NODES: u8 = 3;
/// Virtual time in which everything that is deleted has to go once nothing goes wrong any more.
const ENDS_WITHIN: Duration = Duration::from_secs(40 * 60);

/// Everything that is restarted by itself, besides nodes and the API server.
pub const COMPONENTS: [&str; 7] =
    ["scheduler", "service-accounts", "namespaces", "node-addresses", "node-life", "pod-garbage", "garbage"];

/// Another scheduler beside the first, in runs with rivals.
pub const RIVAL: &str = "second-scheduler";
/// One run in so many has rivals.
const RIVALS_ONE_IN: u64 = 4;

/// What a run was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Tells runs apart.
    pub hash: u64,
    /// Requests and commits.
    pub events: u64,
    /// What of that matters.
    pub counts: Counts,
    /// All of them, if asked for.
    pub whole: Vec<String>,
}

/// What a run found.
#[derive(Debug)]
pub struct Finding {
    /// What must not be.
    pub text: String,
    /// The seed that leads there.
    pub seed: u64,
    /// What happened before: the last of it.
    pub last: Vec<String>,
    /// All of it, if asked for.
    pub whole: Vec<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = self.last.join("\n");
        let (seed, text) = (self.seed, &self.text);
        write!(formatter, "{last}\n\nSEED={seed}: {text}\nagain, event by event: make simulate SEED={seed}")
    }
}

struct Component {
    link: Link,
    task: JoinHandle<()>,
}

/// A cluster.
pub struct Cluster {
    /// The links.
    pub net: Arc<Net>,
    /// What the cluster itself draws from.
    pub entropy: Entropy,
    /// Its time.
    pub clock: Clock,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// A user for whom nothing goes wrong.
    pub user: Client,
    store: Arc<dyn Store>,
    components: BTreeMap<&'static str, Component>,
    copy: Arc<Informer>,
    folder: PathBuf,
    /// What must not be. Followed by the store as long as it lives.
    pub audit: Arc<Audit>,
}

async fn open_server(store: &Arc<dyn Store>, clock: &Clock, entropy: &Entropy) -> Arc<Server> {
    let objects = Objects::new(store.clone(), Arc::new(resources::registry().clone()));
    let reader: Arc<dyn ObjectReader> = objects.clone();
    let authorizer = Arc::new(NodeAndRbac::new(reader.clone()));
    let mut options = apiserver::Options::new(objects, clock.clone(), entropy.clone());
    // Everybody may do everything: who may what is tested elsewhere, and costs time.
    options.admission = admission::plugins(&reader, &authorizer, entropy);
    Server::open(options).await.expect("the server opens")
}

impl Cluster {
    /// A cluster of its seed; files go into `folder`.
    pub async fn start(seed: u64, folder: PathBuf, trace: Arc<Trace>) -> Self {
        let entropy = Entropy::seeded(seed);
        let begun = tokio::time::Instant::now();
        let start: Timestamp = START.parse().expect("a time");
        let clock = Clock::derived(move || start + begun.elapsed());
        let rivals = entropy.below(RIVALS_ONE_IN) == 0;
        let faults = Faults::new(Entropy::seeded(entropy.next_u64()), rivals);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let audit = Audit::new(trace.clone(), rivals);
        let sink: Arc<dyn store::Sink> = audit.clone();
        store.attach("/registry/", Arc::downgrade(&sink));
        let store: Arc<dyn Store> = Arc::new(FaultyStore::new(store, faults.clone()));
        tokio::spawn(store::maintenance::run(Arc::downgrade(&store), clock.clone()));
        let server = open_server(&store, &clock, &entropy).await;
        let net = Net::new(server, faults, trace, audit.clone());
        let user = Link::perfect(&net).client();
        let copy = Informer::new(Path::collection("", "v1", "pods", None), ListOptions::default());
        let mut cluster = Self {
            net,
            entropy,
            clock,
            nodes: Vec::new(),
            user,
            store,
            components: BTreeMap::new(),
            copy,
            folder,
            audit,
        };
        cluster.begin().await;
        cluster
    }

    async fn begin(&mut self) {
        let options = bootstrap::Options {
            service_ips: vec![[10, 43, 0, 1].into()],
            endpoints: vec![[192, 0, 2, 200].into()],
            port: 6443,
            client_authority_pem: "none".into(),
        };
        bootstrap::ensure(&self.user, &options).await.expect("the first objects are made");
        workload::prepare(self).await;
        for name in COMPONENTS {
            self.restart(name);
        }
        if self.net.faults.rivals() {
            self.restart(RIVAL);
        }
        for number in 1..=NODES {
            self.join(number).await;
        }
        let link = Link::new(&self.net, "reader", UserInfo::authenticated("reader", &[]));
        tokio::spawn(self.copy.clone().run(link.client(), Entropy::seeded(1), Vec::new()));
    }

    /// A new node joins.
    pub async fn join(&mut self, number: u8) {
        let mut node = Node::new(number, &self.clock, &self.audit);
        node.start(&self.net, &self.folder, &self.clock, &self.entropy).await;
        self.nodes.push(node);
    }

    /// Starts a node's agent (again).
    pub async fn start_node(&mut self, index: usize) {
        self.nodes[index].start(&self.net, &self.folder, &self.clock, &self.entropy).await;
    }

    /// Starts a component (again).
    pub fn restart(&mut self, name: &'static str) {
        if let Some(old) = self.components.remove(name) {
            old.link.kill();
            old.task.abort();
        }
        let link = Link::new(&self.net, name, UserInfo::authenticated("system:kube-controller-manager", &[]));
        let own = link.as_user(UserInfo::service_account("kube-system", name, ""));
        let context = Context {
            reader: link.client(),
            client: own.client(),
            clock: self.clock.clone(),
            entropy: Entropy::seeded(self.entropy.next_u64()),
        };
        let cluster: Vec<Cidr> = Cidr::parse("10.42.0.0/16").into_iter().collect();
        let running: Pin<Box<dyn Future<Output = ()> + Send>> = match name {
            "scheduler" | RIVAL => {
                let client = link.as_user(UserInfo::authenticated("system:kube-scheduler", &[])).client();
                Box::pin(engine::run::scheduling::run(client, context.clock, context.entropy))
            }
            "service-accounts" => {
                let publisher = context.client.clone();
                Box::pin(engine::run::service_account::run(context, publisher, "none".into()))
            }
            "namespaces" => Box::pin(engine::run::namespace::run(context)),
            "node-addresses" => Box::pin(engine::run::node::run_addresses(context, cluster)),
            "node-life" => Box::pin(engine::run::node::run_life(context)),
            "pod-garbage" => Box::pin(engine::run::pod_garbage::run(context)),
            _ => Box::pin(engine::run::garbage::run(context)),
        };
        self.components.insert(name, Component { link, task: tokio::spawn(running) });
    }

    /// Another API server over the same store takes over.
    pub async fn restart_server(&self) {
        let server = open_server(&self.store, &self.clock, &self.entropy).await;
        let old = std::mem::replace(&mut *self.net.server.write(), server);
        old.shut_down();
    }

    /// Forgets all history: watches that are behind have to list again.
    pub async fn compact(&self) {
        // Nothing to forget is fine.
        let _ = self.store.compact(self.store.progress()).await;
    }

    /// A request for which nothing goes wrong; what the server says no to is fine.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Option<Value> {
        self.user.call::<Value>(method, path, body).await.ok()
    }

    /// All objects of a collection.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.ask(Method::GET, path, None).await.unwrap_or_default();
        list.items(&["items"]).to_vec()
    }

    fn check(&self) -> Result<(), String> {
        self.audit.check_containers();
        panics::first().map_or(Ok(()), Err)?;
        self.audit.first_violation().map_or(Ok(()), Err)
    }

    /// Lets time pass, and checks.
    async fn pass(&self, time: Duration) -> Result<(), String> {
        tokio::time::sleep(time).await;
        self.check()
    }

    /// Nothing goes wrong any more: everything settles, copies are as the original, and what is deleted goes.
    async fn finish(&mut self) -> Result<(), String> {
        self.net.faults.set(crate::faults::Chances::default());
        for node in &self.nodes {
            node.runtime.forget_scripts();
        }
        for index in 0..self.nodes.len() {
            self.net.cut(&self.nodes[index].name.clone(), false);
            if !self.nodes[index].is_up() {
                self.start_node(index).await;
            }
        }
        // As long as the scheduler takes to look again at what it could not place.
        for _ in 0..40 {
            self.pass(Duration::from_secs(10)).await?;
        }
        settled::check(self).await?;
        self.compare_copy().await?;
        workload::delete_everything(self).await;
        let begun = tokio::time::Instant::now();
        loop {
            let left = workload::left(self).await;
            if left.is_empty() {
                break;
            }
            if begun.elapsed() > ENDS_WITHIN {
                return Err(format!("deleted, but still there: {}", left.join(", ")));
            }
            self.pass(Duration::from_secs(10)).await?;
        }
        // What ran for them has ended, too.
        self.pass(Duration::from_secs(120)).await?;
        for node in &self.nodes {
            if let Some(own) = node.runtime.containers().first() {
                let (name, state, labels) = (&own.metadata.name, own.state, &own.labels);
                return Err(format!("container {name} ({state:?}, {labels:?}) is left on {}", node.name));
            }
        }
        self.compare_copy().await
    }

    async fn compare_copy(&self) -> Result<(), String> {
        let told: BTreeMap<String, String> = self
            .copy
            .list()
            .iter()
            .map(|own| (engine::informer::key_of(own), own.resource_version().to_owned()))
            .collect();
        let listed = self.list("/api/v1/pods").await;
        let listed: BTreeMap<String, String> = listed
            .iter()
            .map(|own| (engine::informer::key_of(own), own.resource_version().to_owned()))
            .collect();
        if told == listed {
            Ok(())
        } else {
            Err(format!("a watch ended at {told:?}, a list says {listed:?}"))
        }
    }
}

async fn simulate(seed: u64, steps: u64, trace: Arc<Trace>) -> Result<Counts, String> {
    agent::files::block_this_thread();
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut cluster = Cluster::start(seed, folder.path().to_owned(), trace).await;
    cluster.pass(Duration::from_secs(5)).await?;
    for _ in 0..steps {
        let wait_ms = workload::step(&mut cluster).await;
        cluster.pass(Duration::from_millis(wait_ms)).await?;
    }
    cluster.finish().await?;
    Ok(cluster.audit.counts())
}

/// Performs the run of a seed: so many random steps, then the end of everything. `whole`: the summary has all that
/// happened.
///
/// # Errors
/// What must never be so, and was; a panic is one such thing.
///
/// # Panics
/// When the runtime cannot be made.
pub fn run(seed: u64, steps: u64, whole: bool) -> Result<Summary, Box<Finding>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let trace = {
        let _guard = runtime.enter();
        Arc::new(Trace::new(whole))
    };
    panics::begin();
    let whole_run = || runtime.block_on(simulate(seed, steps, trace.clone()));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(whole_run));
    let outcome = outcome.unwrap_or_else(|_| Err(panics::first().unwrap_or_default()));
    drop(runtime);
    panics::end();
    match outcome {
        Ok(counts) => Ok(Summary { hash: trace.hash(), events: trace.count(), counts, whole: trace.whole() }),
        Err(text) => Err(Box::new(Finding { text, seed, last: trace.last(), whole: trace.whole() })),
    }
}
