//! The Pod network of one node, as the runtime and the daemon use it.

mod ops;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cri::network::{Attachment, PodNetwork};
use netplan::cidr::Cidr;
use netplan::link::{is_instance_id, table_name};
use netplan::nft::{Family, Ruleset};
use netplan::overlap;
use netplan::pool::Pool;
use netplan::ports::Protocol;
use netplan::record::Record;
use netplan::ruleset::{Wanted, ruleset};
use netplan::service::Service;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::attach::open_route_socket;
use crate::bridge::BridgePlan;
use crate::error::{Error, Result};
use crate::rules::Rules;
use crate::state::StateFiles;
use crate::{route, sysctl, watch};

/// How many sandboxes are connected at once: the kernel serialises most of it anyway.
const ATTACH_MAX: usize = 8;

/// How many are disconnected at once: mostly waiting, for the kernel to be done with the link.
const DETACH_MAX: usize = 16;

/// MTU in bytes if no default route tells one.
const DEFAULT_MTU: u32 = 1500;

/// Name under which the API server's Service is kept.
const API_SERVICE: &str = "default/kubernetes:https";

/// How the network is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Instance id: 8 lower-case hex digits.
    pub instance_id: String,
    /// The node's own Pod blocks (`spec.podCIDRs`), one per family; the first gives Pods their primary address.
    pub pod_cidrs: Vec<Cidr>,
    /// The whole cluster's Pod blocks.
    pub cluster_pod_cidrs: Vec<Cidr>,
    /// The cluster's Service blocks.
    pub service_cidrs: Vec<Cidr>,
    /// Directory for what outlives the daemon; made if need be, owned by this network.
    pub state_dir: PathBuf,
    /// MTU in bytes; `None` takes that of the default route's link.
    pub mtu: Option<u32>,
}

/// The Pod network of one node.
#[derive(Debug)]
pub struct Network {
    inner: Arc<Inner>,
    attach_gate: Semaphore,
    detach_gate: Semaphore,
    watcher: tokio::task::JoinHandle<()>,
}

/// What blocking work needs.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) table: String,
    pub(crate) bridge: BridgePlan,
    pub(crate) families: Vec<Family>,
    files: StateFiles,
    state: Mutex<State>,
    /// Lock order: a sandbox's lock, then `rules`, then `state`.
    rules: Mutex<Rules>,
    sandboxes: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

#[derive(Debug)]
struct State {
    pools: Vec<Pool>,
    records: BTreeMap<String, Record>,
    services: Vec<Service>,
    bridge_index: u32,
    guarded: bool,
    closed: bool,
}

impl Network {
    /// Sets the network up, or takes over what an earlier daemon left: bridge, rules, attached sandboxes.
    ///
    /// # Errors
    /// Overlaps of the blocks with each other or with the machine's routes, by name; anything the kernel refuses.
    pub async fn open(options: Options) -> Result<Arc<Self>> {
        let inner = blocking(move || Inner::open(options)).await?;
        let inner = Arc::new(inner);
        let watcher = watch::start(&inner)?;
        let (attach_gate, detach_gate) = (Semaphore::new(ATTACH_MAX), Semaphore::new(DETACH_MAX));
        Ok(Arc::new(Self { inner, attach_gate, detach_gate, watcher }))
    }

    /// Leads the `kubernetes` Service to the API server's endpoints.
    pub async fn set_api_service(
        &self,
        service_ip: IpAddr,
        service_port: u16,
        endpoints: Vec<(IpAddr, u16)>,
    ) -> Result<()> {
        let service = Service {
            name: API_SERVICE.into(),
            address: service_ip,
            protocol: Protocol::Tcp,
            port: service_port,
            endpoints,
        };
        self.change_services(move |services| {
            services.retain(|service| service.name != API_SERVICE);
            services.push(service);
        })
        .await
    }

    /// Replaces all Services but the API server's.
    pub async fn set_services(&self, wanted: Vec<Service>) -> Result<()> {
        self.change_services(move |services| {
            services.retain(|service| service.name == API_SERVICE);
            services.extend(wanted);
        })
        .await
    }

    /// The bridge's addresses, one per family: where the host can be reached from Pods.
    pub fn gateways(&self) -> Vec<IpAddr> {
        self.inner.gateways()
    }

    /// Where sandboxes are, for messages and tests: sandbox id and addresses.
    pub fn attached(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let state = self.inner.state.lock();
        state.records.iter().map(|(id, record)| (id.clone(), record.addresses.clone())).collect()
    }

    /// Puts back whatever of the network somebody took away. Runs by itself every minute and when the kernel reports
    /// a change.
    pub async fn repair(&self) -> Result<()> {
        let inner = self.inner.clone();
        blocking(move || inner.repair()).await
    }

    /// Removes bridge, links, tables and rules in foreign firewalls; with `purge` also what was written down. Pods
    /// that still run lose their network.
    pub async fn close(&self, purge: bool) -> Result<()> {
        self.watcher.abort();
        let inner = self.inner.clone();
        blocking(move || inner.close(purge)).await
    }

    async fn change_services(&self, change: impl FnOnce(&mut Vec<Service>) + Send + 'static) -> Result<()> {
        let inner = self.inner.clone();
        blocking(move || inner.change_services(change)).await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

#[async_trait]
impl PodNetwork for Network {
    async fn attach(&self, namespace: BorrowedFd<'_>, attachment: &Attachment) -> cri::Result<Vec<IpAddr>> {
        let namespace: OwnedFd = namespace
            .try_clone_to_owned()
            .map_err(Error::system("duplicate the descriptor of a network namespace"))?;
        let (inner, attachment) = (self.inner.clone(), attachment.clone());
        let _permit =
            self.attach_gate.acquire().await.map_err(|error| cri::Error::unknown(error.to_string()))?;
        Ok(blocking(move || inner.attach(namespace.as_fd(), &attachment)).await?)
    }

    async fn detach(&self, sandbox_id: &str) -> cri::Result<()> {
        let (inner, sandbox_id) = (self.inner.clone(), sandbox_id.to_owned());
        let _permit =
            self.detach_gate.acquire().await.map_err(|error| cri::Error::unknown(error.to_string()))?;
        Ok(blocking(move || inner.detach(&sandbox_id)).await?)
    }

    async fn retain(&self, live: &[String]) -> cri::Result<()> {
        let (inner, live) = (self.inner.clone(), live.to_vec());
        Ok(blocking(move || inner.retain(&live)).await?)
    }
}

impl Inner {
    fn open(mut options: Options) -> Result<Self> {
        check_options(&options)?;
        drop_missing_families(&mut options);
        let table = table_name(&options.instance_id);
        let outgoing_mtu = check_routes(&options)?;
        let mtu = options.mtu.unwrap_or(outgoing_mtu);
        let bridge = BridgePlan::new(&options.instance_id, mtu, options.service_cidrs.clone());
        let files = StateFiles::open(options.state_dir.clone())?;
        let cursor = files.cursor()?;
        let pool = |cidr: &Cidr| {
            let last = cursor.iter().copied().find(|address| cidr.contains(*address));
            Pool::new(*cidr, last).map_err(Error::from)
        };
        let pools = options.pod_cidrs.iter().map(pool).collect::<Result<Vec<_>>>()?;
        let families: Vec<Family> = options.pod_cidrs.iter().map(Cidr::family).collect();
        let state = State {
            pools,
            records: files.records()?,
            services: files.services()?,
            bridge_index: 0,
            guarded: false,
            closed: false,
        };
        let inner = Self {
            options,
            table,
            bridge,
            families,
            files,
            state: Mutex::new(state),
            rules: Mutex::new(Rules::open()?),
            sandboxes: Mutex::default(),
        };
        inner.warn_of_legacy_filters();
        // To a level-triggered repair, a machine without any of it is one more kind of damage.
        inner.repair()?;
        Ok(inner)
    }

    /// The old iptables has no netlink interface to read its policy by: the user must look.
    fn warn_of_legacy_filters(&self) {
        for family in self.families.iter().filter(|family| sysctl::legacy_filter_in_use(**family)) {
            tracing::warn!(
                family = family.word(),
                bridge = %self.bridge.name,
                "legacy iptables is in use: if its FORWARD chain drops packets, let those of the bridge pass"
            );
        }
    }

    /// The rulesets that the state asks for.
    fn wanted(&self, state: &State) -> Vec<Ruleset> {
        let records: Vec<Record> =
            state.records.values().filter(|record| !record.port_mappings.is_empty()).cloned().collect();
        let wanted = Wanted {
            table: &self.table,
            bridge: &self.bridge.name,
            node_pods: &self.options.pod_cidrs,
            cluster_pods: &self.options.cluster_pod_cidrs,
            services_cidrs: &self.options.service_cidrs,
            services: &state.services,
            records: &records,
            guarded: state.guarded,
        };
        self.families.iter().map(|family| ruleset(&wanted, *family)).collect()
    }

    /// Applies the rules that the state asks for.
    fn apply_rules(&self, rules: &mut Rules) -> Result<()> {
        let wanted = self.wanted(&self.state.lock());
        rules.apply(wanted)
    }

    fn bridge_index(&self) -> u32 {
        self.state.lock().bridge_index
    }

    /// The bridge's addresses.
    pub(crate) fn gateways(&self) -> Vec<IpAddr> {
        self.state.lock().pools.iter().map(Pool::gateway).collect()
    }

    /// Port of the socket that changes rules.
    pub(crate) fn rules_port(&self) -> u32 {
        self.rules.lock().port()
    }

    fn change_services(&self, change: impl FnOnce(&mut Vec<Service>)) -> Result<()> {
        let mut rules = self.rules.lock();
        {
            let mut state = self.state.lock();
            let mut services = state.services.clone();
            change(&mut services);
            if services == state.services {
                return Ok(());
            }
            self.files.write_services(&services)?;
            state.services = services;
        }
        self.apply_rules(&mut rules)
    }

    /// Level-triggered: looks at everything and puts right what is not.
    pub(crate) fn repair(&self) -> Result<()> {
        let mut rules = self.rules.lock();
        let (pools, host_links) = {
            let state = self.state.lock();
            if state.closed {
                return Ok(());
            }
            let links: BTreeSet<String> =
                state.records.values().map(|record| record.host_link.clone()).collect();
            (state.pools.clone(), links)
        };
        let index = self.bridge.ensure(&pools)?;
        self.state.lock().bridge_index = index;
        sysctl::prepare_host(&self.bridge.name, &self.families)?;
        self.bridge.rejoin(index, &host_links)?;
        let guarded = rules.open_foreign(&self.bridge.name, &self.table)?;
        self.state.lock().guarded = guarded;
        rules.repair()?;
        self.apply_rules(&mut rules)
    }

    fn close(&self, purge: bool) -> Result<()> {
        let mut rules = self.rules.lock();
        let (records, rulesets) = {
            let mut state = self.state.lock();
            state.closed = true;
            let rulesets = self.wanted(&state);
            (std::mem::take(&mut state.records), rulesets)
        };
        for record in records.values() {
            crate::attach::disconnect(&record.host_link)?;
            self.files.delete_record(&record.sandbox_id)?;
        }
        rules.close_foreign(&self.table)?;
        rules.remove(&rulesets)?;
        self.bridge.remove()?;
        if purge { self.files.purge() } else { Ok(()) }
    }
}

/// Runs kernel work where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::system("finish a task of the pod network")(std::io::Error::other(error))),
    }
}

fn check_options(options: &Options) -> Result<()> {
    let wrong = |text: String| Err(Error::Option(text));
    if !is_instance_id(&options.instance_id) {
        return wrong(format!("instance id {:?} is not 8 lower-case hex digits", options.instance_id));
    }
    if options.pod_cidrs.is_empty() {
        return wrong("the node has no pod CIDR".into());
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        let count = options.pod_cidrs.iter().filter(|cidr| cidr.family() == family).count();
        if count > 1 {
            return wrong(format!("the node has {count} pod CIDRs of family {}: give one", family.word()));
        }
    }
    Ok(())
}

/// A machine without IPv6 serves the other family.
fn drop_missing_families(options: &mut Options) {
    let wants_ipv6 = options.pod_cidrs.iter().any(|cidr| cidr.family() == Family::Ipv6);
    if !wants_ipv6 || sysctl::ipv6_available() {
        return;
    }
    tracing::warn!("this machine has no IPv6: pods get IPv4 addresses only");
    for list in [&mut options.pod_cidrs, &mut options.cluster_pod_cidrs, &mut options.service_cidrs] {
        list.retain(|cidr| cidr.family() == Family::Ipv4);
    }
}

/// Refuses blocks that the machine uses otherwise; returns the MTU of the way out.
fn check_routes(options: &Options) -> Result<u32> {
    let mut socket = open_route_socket()?;
    let routes = route::routes(&mut socket).map_err(Error::kernel("list routes"))?;
    let bridge = netplan::link::bridge_name(&options.instance_id);
    overlap::check(&options.pod_cidrs, &options.service_cidrs, &routes, &bridge)?;
    let links = route::links(&mut socket).map_err(Error::kernel("list links"))?;
    Ok(route::outgoing_mtu(&links, &routes).unwrap_or(DEFAULT_MTU))
}
