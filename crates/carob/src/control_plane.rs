//! The control plane: store, API server, controllers, scheduler, in one process but each as its own user.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::authentication::{ClientCertificates, ServiceAccountTokens};
use apiserver::authorization::NodeAndRbac;
use apiserver::http::tls::server_config;
use apiserver::http::{ServeOptions, serve};
use apiserver::seams::ObjectReader;
use apiserver::{InProcess, Objects, Server, admission, bootstrap};
use client::Client;
use controllers::node_addresses::Cidr;
use engine::run::Context;
use model::UserInfo;
use pki::{Authority, Issued, Profile, TokenSigner};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use store::Store;
use store::embedded::EmbeddedStore;
use tokio::net::TcpListener;

use crate::node_connector::NodeTls;

use crate::settings::Settings;

/// Life of the certificates that the daemon renews by itself.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Issuer and audience of service-account tokens.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// The API server's name towards nodes.
pub const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// A running control plane.
pub struct ControlPlane {
    /// The API server.
    pub server: Arc<Server>,
    /// The cluster's CA.
    pub authority: Arc<Authority>,
    /// Credentials of the cluster's administrator.
    pub admin: Issued,
    /// Port that the API server really listens on.
    pub port: u16,
    tasks: tokio::task::JoinSet<()>,
    serving: tokio::task::JoinHandle<()>,
}

/// First address of each block of Service addresses: the `kubernetes` Service's.
pub fn api_service_ips(settings: &Settings) -> Vec<IpAddr> {
    let first = |cidr: &String| {
        Some(match Cidr::parse(cidr)?.network {
            IpAddr::V4(ip) => IpAddr::from((u32::from(ip) + 1).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from((u128::from(ip) + 1).to_be_bytes()),
        })
    };
    settings.service_cidrs.iter().filter_map(first).collect()
}

/// Addresses at which Pods reach the API server: the node's, of the Service's primary family.
fn endpoints(settings: &Settings) -> Vec<IpAddr> {
    let ipv4 = api_service_ips(settings).first().is_none_or(IpAddr::is_ipv4);
    settings.node_ips.iter().copied().filter(|ip| ip.is_ipv4() == ipv4).collect()
}

/// Opens the cluster's CA.
pub fn authority(settings: &Settings, clock: &Clock, entropy: &Entropy) -> anyhow::Result<Arc<Authority>> {
    let folder = settings.instance.data("pki");
    crate::instance::make_private(&folder)?;
    Ok(Arc::new(Authority::open(&folder, "kubernetes", clock.clone(), entropy.clone())?))
}

fn ensure(
    settings: &Settings,
    authority: &Authority,
    file: &str,
    profile: Profile,
) -> anyhow::Result<Issued> {
    let profile = Profile { life: CERTIFICATE_LIFE, ..profile };
    Ok(authority.ensure(&settings.instance.data("pki"), file, &profile)?)
}

fn client_profile(name: &str, group: &str) -> Profile {
    Profile {
        common_name: name.into(),
        organizations: vec![group.into()],
        client: true,
        ..Profile::default()
    }
}

/// The node's own certificate: server of its API.
pub fn node_certificate(settings: &Settings, authority: &Authority) -> anyhow::Result<Issued> {
    let mut ips = settings.node_ips.clone();
    ips.push(IpAddr::from([127, 0, 0, 1]));
    let profile = Profile {
        common_name: format!("system:node:{}", settings.node_name),
        organizations: vec!["system:nodes".into()],
        dns_names: vec![settings.node_name.clone(), "localhost".into()],
        ips,
        server: true,
        client: true,
        ..Profile::default()
    };
    ensure(settings, authority, "kubelet", profile)
}

fn server_certificate(settings: &Settings, authority: &Authority) -> anyhow::Result<Issued> {
    let mut dns_names: Vec<String> =
        ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .map(str::to_owned)
            .to_vec();
    dns_names.push("kubernetes.default.svc.cluster.local".into());
    if !dns_names.contains(&settings.node_name) {
        dns_names.push(settings.node_name.clone());
    }
    let mut ips = vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    ips.extend(api_service_ips(settings));
    ips.extend(&settings.node_ips);
    if !settings.listen.ip().is_unspecified() {
        ips.push(settings.listen.ip());
    }
    ips.sort();
    ips.dedup();
    let profile =
        Profile { common_name: "kube-apiserver".into(), dns_names, ips, server: true, ..Profile::default() };
    ensure(settings, authority, "apiserver", profile)
}

/// Binds the API server's address; a taken one is named, with the way out.
pub async fn bind(settings: &Settings) -> anyhow::Result<TcpListener> {
    TcpListener::bind(settings.listen).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "cannot listen on {}: the address is already in use (stop what uses it, or give another --listen)",
            settings.listen
        ),
        _ => anyhow::anyhow!("cannot listen on {}: {error}", settings.listen),
    })
}

impl ControlPlane {
    /// Starts everything and returns once the API answers.
    pub async fn start(
        settings: &Settings,
        authority: Arc<Authority>,
        clock: Clock,
        entropy: Entropy,
    ) -> anyhow::Result<Self> {
        let listener = bind(settings).await?;
        let port = listener.local_addr()?.port();
        let store = open_store(settings, &clock).await?;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(store::maintenance::run(Arc::downgrade(&store), clock.clone()));
        let server = open_server(settings, &authority, store, &clock, &entropy).await?;
        let certificate = server_certificate(settings, &authority)?;
        let tls = tls_config(&certificate, authority.certificate_pem())?;
        let serving = tokio::spawn(serve(server.clone(), vec![listener], ServeOptions::new(Some(tls))));
        let admin =
            ensure(settings, &authority, "admin", client_profile("kubernetes-admin", "system:masters"))?;
        let plane = Self { server, authority, admin, port, tasks, serving };
        plane.bootstrap(settings).await?;
        Ok(plane)
    }

    async fn bootstrap(&self, settings: &Settings) -> anyhow::Result<()> {
        // The API server itself: the one user that makes the first objects, before any role exists.
        let user = UserInfo::authenticated("system:apiserver", &["system:masters"]);
        let client = self.client(user);
        let options = bootstrap::Options {
            endpoints: endpoints(settings),
            service_ips: api_service_ips(settings),
            port: self.port,
            client_authority_pem: self.authority.certificate_pem().to_owned(),
        };
        bootstrap::ensure(&client, &options).await.context("making the first objects")
    }

    /// A client in process, as a user.
    pub fn client(&self, user: UserInfo) -> Client {
        Client::new(Arc::new(InProcess::new(self.server.clone(), user)))
    }

    /// Starts the controllers and the scheduler, each as its own user.
    pub fn start_controllers(&mut self, settings: &Settings, clock: &Clock, entropy: &Entropy) {
        let cluster: Vec<Cidr> = settings.pod_cidrs.iter().filter_map(|cidr| Cidr::parse(cidr)).collect();
        let context = |name: &str| Context {
            // Informers are the controller manager's, as upstream's shared ones.
            reader: self.client(UserInfo::authenticated("system:kube-controller-manager", &[])),
            client: self.client(UserInfo::service_account("kube-system", name, "")),
            clock: clock.clone(),
            entropy: entropy.clone(),
        };
        let authority_pem = self.authority.certificate_pem().to_owned();
        let publisher = context("root-ca-cert-publisher").client;
        let running: [std::pin::Pin<Box<dyn Future<Output = ()> + Send>>; 6] = [
            Box::pin(engine::run::service_account::run(
                context("service-account-controller"),
                publisher,
                authority_pem,
            )),
            Box::pin(engine::run::namespace::run(context("namespace-controller"))),
            Box::pin(engine::run::node::run_addresses(context("node-controller"), cluster)),
            Box::pin(engine::run::node::run_life(context("node-controller"))),
            Box::pin(engine::run::pod_garbage::run(context("pod-garbage-collector"))),
            Box::pin(engine::run::garbage::run(context("generic-garbage-collector"))),
        ];
        for controller in running {
            self.tasks.spawn(controller);
        }
        let client = self.client(UserInfo::authenticated("system:kube-scheduler", &[]));
        self.tasks.spawn(engine::run::scheduling::run(client, clock.clone(), entropy.clone()));
    }

    /// Ends everything in order: controllers, then open requests. What is acknowledged is on disk already.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.server.shut_down();
        if let Err(error) = self.serving.await {
            tracing::warn!(%error, "the API server's listener ended badly");
        }
    }
}

async fn open_store(settings: &Settings, clock: &Clock) -> anyhow::Result<Arc<dyn Store>> {
    let (folder, clock) = (settings.instance.data("store"), clock.clone());
    let opened = tokio::task::spawn_blocking(move || {
        EmbeddedStore::open(&folder, clock, &store::embedded::Options::default())
    });
    Ok(Arc::new(opened.await??))
}

async fn open_server(
    settings: &Settings,
    authority: &Authority,
    store: Arc<dyn Store>,
    clock: &Clock,
    entropy: &Entropy,
) -> anyhow::Result<Arc<Server>> {
    let objects = Objects::new(store, Arc::new(resources::registry().clone()));
    let reader: Arc<dyn ObjectReader> = objects.clone();
    let signer = Arc::new(TokenSigner::open(&settings.instance.data("pki").join("service-account.key"))?);
    let tokens =
        Arc::new(ServiceAccountTokens::new(signer, ISSUER, reader.clone(), clock.clone(), entropy.clone()));
    let authorizer = Arc::new(NodeAndRbac::new(reader.clone()));
    let kubelet_client = ensure(
        settings,
        authority,
        "apiserver-kubelet-client",
        client_profile(KUBELET_CLIENT, "carob:apiserver"),
    )?;
    let mut options = apiserver::Options::new(objects, clock.clone(), entropy.clone());
    options.authenticators = vec![Arc::new(ClientCertificates), tokens.clone()];
    options.admission = admission::plugins(&reader, &authorizer, entropy);
    options.authorizer = authorizer;
    options.nodes = Some(Arc::new(NodeTls::new(authority.certificate_pem(), &kubelet_client)?));
    options.tokens = Some(tokens);
    options.service_cidrs = settings.service_cidrs.clone();
    options.advertise = format!("{}:{}", settings.node_ips[0], settings.listen.port());
    Server::open(options).await.context("opening the API server")
}

fn tls_config(certificate: &Issued, client_authority_pem: &str) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())?;
    let authorities =
        CertificateDer::pem_slice_iter(client_authority_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    Ok(server_config(chain, key, &authorities)?)
}
