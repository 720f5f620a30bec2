//! `carob server` and `carob agent`: everything started in order, and ended in order. SIGTERM leaves Pods running.

use std::sync::Arc;

use agent::node_api::{Access, StandaloneAccess, WebhookAccess};
use anyhow::{Context, bail};
use model::UserInfo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::{self, Request};
use crate::arguments::ServerOptions;
use crate::control_plane::{self, ControlPlane};
use crate::instance::{self, Lock};
use crate::kubeconfig;
use crate::node::{Node, Parts};
use crate::settings::Settings;
use crate::{demo, log};

/// `carob server`.
pub fn run_server(options: ServerOptions) -> anyhow::Result<std::process::ExitCode> {
    if options.detached {
        sys::process::start_session().context("starting a session")?;
    }
    log::start();
    let settings = Settings::new(&options)?;
    in_runtime(serve(settings))
}

/// `carob agent`: static Pods only, with no API server.
pub fn run_agent(options: ServerOptions) -> anyhow::Result<std::process::ExitCode> {
    log::start();
    if let Some(server) = &options.server {
        bail!("--server {server}: joining another server is not there yet; leave it out for a node alone");
    }
    let settings = Settings::new(&options)?;
    in_runtime(stand_alone(settings))
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<std::process::ExitCode> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(work)?;
    // Blocking work that is left (a pull, an unpacking) must not hold up the end.
    runtime.shutdown_background();
    Ok(std::process::ExitCode::SUCCESS)
}

/// Holds the instance: one daemon at a time, its process id on file.
struct Presence {
    settings: Settings,
    _lock: Lock,
}

impl Presence {
    fn take(settings: &Settings) -> anyhow::Result<Self> {
        let path = settings.instance.data("lock");
        let Some(lock) = instance::lock(&path)? else {
            let pid =
                settings.instance.daemon_pid().map_or_else(String::new, |pid| format!(" (process {pid})"));
            bail!(
                "data directory {} is in use by another carob{pid}: stop it with `carob down`, or give another --data-dir",
                settings.instance.data_dir.display()
            );
        };
        instance::make_private(&settings.instance.run_dir())?;
        pki::authority::write_public(
            &settings.instance.pid_file(),
            std::process::id().to_string().as_bytes(),
        )?;
        Ok(Self { settings: settings.clone(), _lock: lock })
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        for file in [self.settings.instance.pid_file(), self.settings.instance.admin_socket()] {
            // Gone already is fine.
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let presence = Presence::take(&settings)?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let authority = control_plane::authority(&settings, &clock, &entropy)?;
    let mut plane = ControlPlane::start(&settings, authority.clone(), clock.clone(), entropy.clone()).await?;
    plane.start_controllers(&settings, &clock, &entropy);
    let node_user = UserInfo::authenticated(format!("system:node:{}", settings.node_name), &["system:nodes"]);
    let client = plane.client(node_user);
    let access: Arc<dyn Access> = Arc::new(WebhookAccess::new(client.clone()));
    let parts = Parts {
        client: Some(client),
        tls: node_tls(&settings, &authority)?,
        access,
        api_port: Some(plane.port),
        clock: clock.clone(),
        entropy: entropy.clone(),
    };
    let node = Node::start(&settings, parts).await?;
    let (requests, received) = mpsc::channel(16);
    let socket = admin::bind(&settings)?;
    let admin = tokio::spawn(admin::serve(socket, node.images.clone(), requests, settle(&node)));
    // Last: whoever waits for this file finds everything else there.
    kubeconfig::write(&settings, &plane)?;
    tracing::info!(
        server = %format!("https://{}:{}", settings.node_ips[0], plane.port),
        node = settings.node_name,
        id = settings.instance.id,
        "carob is up"
    );
    let end = wait_for_end(received).await?;
    admin.abort();
    match end {
        End::LeavePods => node.stop().await,
        End::TearDown { grace_s } => {
            node.tear_down(grace_s).await?;
        }
    }
    plane.stop().await;
    drop(presence);
    Ok(())
}

async fn stand_alone(settings: Settings) -> anyhow::Result<()> {
    let presence = Presence::take(&settings)?;
    let (clock, entropy) = (Clock::system(), Entropy::system());
    let authority = control_plane::authority(&settings, &clock, &entropy)?;
    let parts = Parts {
        client: None,
        tls: node_tls(&settings, &authority)?,
        access: Arc::new(StandaloneAccess),
        api_port: None,
        clock,
        entropy,
    };
    let node = Node::start(&settings, parts).await?;
    tracing::info!(node = settings.node_name, id = settings.instance.id, "carob runs a node alone");
    let (requests, received) = mpsc::channel(16);
    let admin =
        tokio::spawn(admin::serve(admin::bind(&settings)?, node.images.clone(), requests, settle(&node)));
    let end = wait_for_end(received).await?;
    admin.abort();
    match end {
        End::LeavePods => node.stop().await,
        End::TearDown { grace_s } => node.tear_down(grace_s).await?,
    }
    drop(presence);
    Ok(())
}

/// Makes the demonstration image beside everything else; tells when it is there (or cannot be made).
fn settle(node: &Node) -> watch::Receiver<bool> {
    let (sender, settled) = watch::channel(false);
    let images = node.images.clone();
    tokio::spawn(async move {
        demo::ensure_image(images).await;
        sender.send_replace(true);
        // Held until the end: a receiver whose sender is gone cannot wait.
        sender.closed().await;
    });
    settled
}

/// TLS of the node's own API: clients show certificates of the cluster's CA, or bearer tokens.
fn node_tls(settings: &Settings, authority: &pki::Authority) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let issued = control_plane::node_certificate(settings, authority)?;
    let chain =
        CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes())?;
    let authorities = CertificateDer::pem_slice_iter(authority.certificate_pem().as_bytes())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(apiserver::http::tls::server_config(chain, key, &authorities)?)
}

/// How a daemon ends.
enum End {
    /// SIGTERM, SIGINT: Pods go on.
    LeavePods,
    /// `carob down`.
    TearDown {
        /// Seconds that Pods get.
        grace_s: i64,
    },
}

async fn wait_for_end(mut requests: mpsc::Receiver<Request>) -> anyhow::Result<End> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => Ok(End::LeavePods),
        _ = interrupt.recv() => Ok(End::LeavePods),
        request = requests.recv() => match request {
            Some(Request::Down { grace_s }) => Ok(End::TearDown { grace_s }),
            None => Ok(End::LeavePods),
        },
    }
}
