//! The daemon's verbs and flags. What was typed, as it was typed; [`crate::settings`] makes it usable.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde::{Deserialize, Serialize};

#[derive(Parser)]
#[command(name = "carob", version, about = "Kubernetes' Pods in one binary")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The daemon's verbs.
#[derive(Subcommand)]
pub enum Command {
    /// Start a node in the background and wait until it is ready
    Up(UpOptions),
    /// Stop the node and its Pods
    Down(DownOptions),
    /// Run control plane and node in the foreground
    Server(ServerOptions),
    /// Run a node alone, with static Pods only
    Agent(ServerOptions),
    /// Show what runs, where its files are, and the health of each part
    Status(InstanceOptions),
    /// Manage images
    Image(ImageOptions),
    /// The program of the demonstration image
    #[command(hide = true)]
    Demo(DemoOptions),
}

impl Command {
    /// Reads the command line; a wrong one ends the program with clap's message.
    pub fn parse(arguments: &[OsString]) -> Self {
        Cli::parse_from(arguments).command
    }
}

/// Which instance.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceOptions {
    /// Put every default path below this directory
    #[arg(long, value_name = "DIR")]
    pub prefix: Option<PathBuf>,
    /// Directory of the instance's data [default: /var/lib/carob]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Flags of `up`, `server` and `agent`. Those that were given to the first `up` are kept in the data directory.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ServerOptions {
    #[command(flatten)]
    #[serde(skip)]
    pub instance: InstanceOptions,
    /// Name of the instance and of its context in the kubeconfig [default: carob]
    #[arg(long)]
    pub name: Option<String>,
    /// Address of the API server [default: 0.0.0.0:6443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Port of the node's own API [default: 10250]
    #[arg(long, value_name = "PORT")]
    pub kubelet_port: Option<u16>,
    /// Name of the node [default: the host's name]
    #[arg(long)]
    pub node_name: Option<String>,
    /// Addresses of the node, one per family
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub node_ip: Vec<String>,
    /// Addresses of Pods, one block per family [default: 10.42.0.0/16]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub pod_cidr: Vec<String>,
    /// Addresses of Services, one block per family [default: 10.43.0.0/16]
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub service_cidr: Vec<String>,
    /// Kubeconfig to write [default: $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub write_kubeconfig: Option<PathBuf>,
    /// Where objects are stored: embedded
    #[arg(long)]
    pub store: Option<String>,
    /// Another container runtime
    #[arg(long, value_name = "SOCKET")]
    pub container_runtime_endpoint: Option<String>,
    /// A KubeletConfiguration [default: /var/lib/kubelet/config.yaml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Mirrors and credentials of registries [default: /etc/carob/registries.yaml]
    #[arg(long, value_name = "FILE")]
    pub registries: Option<PathBuf>,
    /// Run in a session of its own
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub detached: bool,
    /// API server to join
    #[arg(long)]
    pub server: Option<String>,
    /// Token to join with
    #[arg(long)]
    pub token: Option<String>,
}

/// Flags of `up`.
#[derive(Args, Debug, Clone, Default)]
pub struct UpOptions {
    #[command(flatten)]
    pub server: ServerOptions,
    /// How long to wait until the node is ready
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration)]
    pub timeout: Duration,
}

/// Flags of `down`.
#[derive(Args, Debug, Clone, Default)]
pub struct DownOptions {
    #[command(flatten)]
    pub instance: InstanceOptions,
    /// Name of the context to remove with --purge [default: carob]
    #[arg(long)]
    pub name: Option<String>,
    /// How long Pods get to end by themselves
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub grace: Duration,
    /// Delete the instance's data, too
    #[arg(long)]
    pub purge: bool,
}

/// `image …`.
#[derive(Args)]
pub struct ImageOptions {
    #[command(flatten)]
    pub instance: InstanceOptions,
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// What to do with images.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// List images
    Ls,
    /// Fetch an image from its registry
    Pull {
        /// Name of the image
        name: String,
    },
    /// Read images from a docker-archive or OCI-archive
    Import {
        /// The archive; - is standard input
        file: PathBuf,
    },
    /// Make an image of a directory or tar that holds a root file system
    Build(BuildArguments),
    /// Remove images
    Rm {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// `image build`.
#[derive(Args, Debug, Clone, Default, Serialize, Deserialize)]
pub struct BuildArguments {
    /// Directory or tar
    pub source: PathBuf,
    /// Name of the image
    #[arg(long, short = 't')]
    pub tag: String,
    /// Program, as a JSON list or one word
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// Its arguments, as a JSON list or one word
    #[arg(long)]
    pub cmd: Option<String>,
    /// Environment, NAME=value
    #[arg(long)]
    pub env: Vec<String>,
    /// User that it runs as
    #[arg(long, default_value = "")]
    pub user: String,
    /// Directory that it starts in
    #[arg(long, default_value = "")]
    pub workdir: String,
}

/// `demo`.
#[derive(Args, Debug, Clone)]
pub struct DemoOptions {
    /// What to do: serve pages, or write lines into a file or to standard output
    #[arg(default_value = "serve")]
    pub role: String,
    /// Port to serve on
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// File to write to (`write`) or to follow (`follow`)
    #[arg(long)]
    pub file: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    stdx::duration::parse_go(text)
}
