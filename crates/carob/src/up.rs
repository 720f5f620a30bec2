//! `carob up`: starts the daemon in the background and waits until its node is ready.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use client::kubeconfig::{self, Kubeconfig};
use client::{Client, WatchOptions};
use futures::StreamExt;
use indicatif::ProgressBar;
use k8s_openapi::api::core::v1::Node;

use crate::admin::{self, Call};
use crate::arguments::UpOptions;
use crate::instance::Instance;
use crate::settings::Settings;

/// How often a file is looked for that the daemon writes when its API answers.
const LOOK: Duration = Duration::from_millis(5);
/// What is shown of the log when the daemon ends at once.
const TAIL_BYTES: u64 = 4096;

/// Starts the daemon, or finds it running.
pub fn run(options: UpOptions) -> anyhow::Result<ExitCode> {
    // Checks flags, and keeps them: the daemon is started with none but where its data is.
    let settings = Settings::new(&options.server)?;
    let started = tokio::time::Duration::ZERO;
    let spinner = spinner("starting");
    let mut child = None;
    if settings.instance.daemon_pid().is_none() {
        let _ = std::fs::remove_file(settings.instance.data("admin.kubeconfig"));
        child = Some(start(&settings)?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let waited = runtime.block_on(async {
        let begin = tokio::time::Instant::now();
        let work = wait(&settings, child.as_mut(), &spinner);
        tokio::time::timeout(options.timeout, work).await.map(|done| done.map(|()| begin.elapsed()))
    });
    if matches!(waited, Ok(Ok(_))) {
        spinner.set_message("making the demonstration image");
        admin::call(&settings.instance.admin_socket(), &Call::Settled, |_| {})?;
    }
    spinner.finish_and_clear();
    let elapsed = match waited {
        Ok(done) => done?,
        Err(_) => bail!(
            "the node was not ready within {}: see `carob status` and {}",
            stdx::duration::format_go(options.timeout),
            settings.instance.log_file().display()
        ),
    };
    report(&settings, child.is_some(), started + elapsed);
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout)] // the command's answer
fn report(settings: &Settings, fresh: bool, elapsed: Duration) {
    let (name, node) = (&settings.name, &settings.node_name);
    if fresh {
        println!(
            "node {node} is ready after {:.2} s; kubectl context {name:?} is chosen",
            elapsed.as_secs_f64()
        );
    } else {
        println!("node {node} is up already; kubectl context {name:?}");
    }
}

fn spinner(text: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(text);
    spinner.enable_steady_tick(Duration::from_millis(80));
    spinner
}

/// Starts the daemon in a session of its own; its log goes to a file.
fn start(settings: &Settings) -> anyhow::Result<Child> {
    let instance = &settings.instance;
    let path = instance.log_file();
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.with_context(|| format!("opening {}", path.display()))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("carob").arg("server").arg("--detached").arg("--data-dir").arg(&instance.data_dir);
    if instance.prefix != std::path::Path::new("/") {
        command.arg("--prefix").arg(&instance.prefix);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
    command.spawn().context("starting the daemon")
}

async fn wait(
    settings: &Settings,
    mut child: Option<&mut Child>,
    spinner: &ProgressBar,
) -> anyhow::Result<()> {
    let path = settings.instance.data("admin.kubeconfig");
    spinner.set_message("waiting for the API server");
    while !path.exists() {
        if let Some(child) = child.as_deref_mut()
            && let Some(status) = child.try_wait()?
        {
            bail!("the daemon ended ({status}):\n{}", tail(&settings.instance));
        }
        tokio::time::sleep(LOOK).await;
    }
    spinner.set_message("waiting for the node");
    let config = Kubeconfig::read(&path)?;
    let context = config.context("").context("the kubeconfig has no context")?;
    let cluster = config.cluster(&context.cluster).context("the kubeconfig has no cluster")?;
    let user = config.user(&context.user).context("the kubeconfig has no user")?;
    let transport = kubeconfig::transport(cluster, user, http::HeaderMap::new())?;
    let client = Client::new(std::sync::Arc::new(transport));
    let options = WatchOptions {
        field_selector: Some(format!("metadata.name={}", settings.node_name)),
        ..WatchOptions::default()
    };
    let mut events = client.watch::<Node>(None, &options).await?;
    while let Some(event) = events.next().await {
        use client::WatchEvent::{Added, Modified};
        if let Added(node) | Modified(node) = event?
            && is_ready(&node)
        {
            return Ok(());
        }
    }
    bail!("the API server ended the watch: see {}", settings.instance.log_file().display())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    conditions.into_iter().any(|own| own.type_ == "Ready" && own.status == "True")
        && !tainted.into_iter().any(|own| own.key == "node.kubernetes.io/not-ready")
}

/// The end of the daemon's log.
fn tail(instance: &Instance) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(instance.log_file())?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("({}: {error})", instance.log_file().display()))
}
