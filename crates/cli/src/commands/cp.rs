//! `cp`: files and directories to and from containers, by the container's own `tar`.

use std::io::{PipeReader, PipeWriter};
use std::path::{Component, Path, PathBuf};

use client::options::encode_component;
use model::tree::TreeExt;
use serde_json::Value;

use super::{boxed, exec, pods};
use crate::api::Api;
use crate::command::{Command, Invocation};
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};
use crate::remote::{self, Wires};

/// The command.
pub const COMMAND: Command = Command {
    name: "cp",
    usage: "cp <file-spec-src> <file-spec-dest>",
    short: "Copy files and directories to and from containers",
    long: "Copy files and directories to and from containers. A place in a container is [NAMESPACE/]POD:PATH. The container's image must have tar.",
    flags: &[&[
        Flag::new("container", Kind::Text, "", "The container; otherwise the annotated one, or the first")
            .short('c'),
        Flag::switch("no-preserve", "Do not keep owners and permissions in the container"),
        Flag::new("retries", Kind::Integer, "0", "Accepted for compatibility"),
    ]],
    run: boxed!(run),
    ..Command::EMPTY
};

/// A side of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    namespace: String,
    pod: String,
    path: String,
}

fn parse(text: &str) -> Result<Place, Failure> {
    let Some((pod, path)) = text.split_once(':') else {
        return Ok(Place { namespace: String::new(), pod: String::new(), path: text.to_owned() });
    };
    if pod.is_empty() || text.starts_with('/') {
        return Err(message("filespec must match the canonical format: [[namespace/]pod:]file/path"));
    }
    let (namespace, pod) = pod.split_once('/').unwrap_or(("", pod));
    if pod.is_empty() || pod.contains('/') {
        return Err(message("filespec must match the canonical format: [[namespace/]pod:]file/path"));
    }
    Ok(Place { namespace: namespace.to_owned(), pod: pod.to_owned(), path: path.to_owned() })
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let [source, destination] = invocation.arguments() else {
        return Err(message("source and destination are required"));
    };
    let (from, to) = (parse(source)?, parse(destination)?);
    if !from.pod.is_empty() && !to.pod.is_empty() {
        return Err(message("one of src or dest must be a local file specification"));
    }
    if from.path.is_empty() || to.path.is_empty() {
        return Err(message("filepath can not be empty"));
    }
    let remote = match (from.pod.is_empty(), to.pod.is_empty()) {
        (false, _) => &from,
        (_, false) => &to,
        _ => return Err(message("one of src or dest must be a remote file specification")),
    };
    if !to.pod.is_empty() && !Path::new(&from.path).exists() {
        return Err(message(format!("{} doesn't exist in local filesystem", from.path)));
    }
    let api = invocation.api()?;
    let (namespace, _) = invocation.namespace()?;
    let namespace = if remote.namespace.is_empty() { &namespace } else { &remote.namespace };
    let path = client::Path::collection("", "v1", "pods", Some(namespace)).join(&remote.pod);
    let pod = api.get(path.as_str()).await?;
    let phase = pod.text(&["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(message(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = pods::choose(invocation.context, &pod, invocation.values.text("container"), false)?;
    let session = Session { context: invocation.context, api: &api, pod: &pod, container: &container };
    if to.pod.is_empty() {
        session.download(&from.path, &to.path).await
    } else {
        session.upload(invocation, &from.path, &to.path).await
    }
}

struct Session<'a> {
    context: &'a Context,
    api: &'a Api<'a>,
    pod: &'a Value,
    container: &'a str,
}

/// A writer that drops what it gets.
fn nowhere() -> Box<dyn std::io::Write + Send> {
    Box::new(std::io::sink())
}

impl Session<'_> {
    /// Runs a command with other streams than the terminal's; its errors go where ours go.
    async fn exec(
        &self,
        command: &[&str],
        out: Box<dyn std::io::Write + Send>,
        err: Box<dyn std::io::Write + Send>,
        stdin: Option<PipeReader>,
    ) -> Result<(), Failure> {
        let wires = Wires { stdin: stdin.is_some(), tty: false };
        let mut path = exec::path(self.pod, "exec", self.container, wires);
        command.iter().for_each(|word| path.push_str(&format!("&command={}", encode_component(word))));
        let stdin: Box<dyn std::io::Read + Send> = match stdin {
            Some(pipe) => Box::new(pipe),
            None => Box::new(std::io::empty()),
        };
        let streams =
            Context::with_streams(&self.context.program, self.context.clock.clone(), out, err, stdin);
        remote::run(&streams, self.api, &path, wires).await
    }

    async fn download(&self, from: &str, to: &str) -> Result<(), Failure> {
        let failed = |error: std::io::Error| message(format!("{to}: {error}"));
        let mut to = PathBuf::from(to);
        if to.is_dir() {
            to.push(Path::new(from).file_name().unwrap_or_default());
        }
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let prefix = from.trim_start_matches('/').trim_end_matches('/').to_owned();
        let target = to.clone();
        let unpacking = tokio::task::spawn_blocking(move || unpack(reader, &prefix, &target));
        let told =
            self.exec(&["tar", "cf", "-", from], Box::new(writer), Box::new(std::io::stderr()), None).await;
        let unpacked = unpacking.await.map_err(|error| message(error.to_string()))?;
        told?;
        for link in unpacked.map_err(failed)? {
            self.context.err(&format!("warning: skipping symlink: {link}\n"));
        }
        Ok(())
    }

    async fn upload(&self, invocation: &Invocation<'_>, from: &str, to: &str) -> Result<(), Failure> {
        let failed = |error: std::io::Error| message(format!("{from}: {error}"));
        let mut to = to.trim_end_matches('/').to_owned();
        let name = Path::new(from).canonicalize().map_err(failed)?;
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match self
            .exec(&["test", "-d", if to.is_empty() { "/" } else { &to }], nowhere(), nowhere(), None)
            .await
        {
            Ok(()) => to = format!("{to}/{name}"),
            Err(Failure::Command { .. }) => {}
            Err(failure) => return Err(failure),
        }
        let (folder, base) = to.rsplit_once('/').unwrap_or((".", &to));
        let folder = if folder.is_empty() { "/" } else { folder };
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let (source, base) = (PathBuf::from(from), base.to_owned());
        let packing = tokio::task::spawn_blocking(move || pack(writer, &source, &base));
        let mut command = vec!["tar"];
        if invocation.values.on("no-preserve") {
            command.extend(["--no-same-permissions", "--no-same-owner"]);
        }
        command.extend(["-xmf", "-", "-C", folder]);
        let told =
            self.exec(&command, Box::new(std::io::stdout()), Box::new(std::io::stderr()), Some(reader)).await;
        let packed = packing.await.map_err(|error| message(error.to_string()))?;
        told?;
        packed.map_err(failed)
    }
}

fn pack(writer: PipeWriter, source: &Path, base: &str) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(writer);
    archive.follow_symlinks(false);
    if source.is_dir() {
        archive.append_dir_all(base, source)?
    } else {
        archive.append_path_with_name(source, base)?
    }
    archive.finish()
}

/// Unpacks what lies under the prefix, and nothing outside of the target. Gives the links that were left out: they
/// could lead anywhere.
fn unpack(mut reader: PipeReader, prefix: &str, target: &Path) -> std::io::Result<Vec<String>> {
    let mut links = Vec::new();
    let mut archive = tar::Archive::new(&mut reader);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Ok(below) = path.strip_prefix(prefix) else { continue };
        if below.components().any(|part| !matches!(part, Component::Normal(_))) {
            continue;
        }
        let place = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            std::fs::create_dir_all(&place)?;
        } else if kind.is_file() {
            if let Some(folder) = place.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::io::copy(&mut entry, &mut std::fs::File::create(&place)?)?;
        } else {
            let to = entry.link_name()?.map(|to| to.display().to_string()).unwrap_or_default();
            links.push(format!("{:?} -> {to:?}", path.display().to_string()));
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_kubectl_does() {
        for (text, want) in [
            ("/tmp/x", Some(("", "", "/tmp/x"))),
            ("web:/x", Some(("", "web", "/x"))),
            ("ns/web:/x", Some(("ns", "web", "/x"))),
            (":/x", None),
            ("a/b/c:/x", None),
        ] {
            let place = parse(text).ok();
            let want = want.map(|(namespace, pod, path)| Place {
                namespace: namespace.into(),
                pod: pod.into(),
                path: path.into(),
            });
            assert_eq!(place, want, "{text}");
        }
    }

    #[test]
    fn archives_stay_in_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("src");
        std::fs::create_dir_all(source.join("sub")).unwrap();
        std::fs::write(source.join("sub/f"), "text").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", source.join("link")).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let from = source.clone();
        let packing = std::thread::spawn(move || pack(writer, &from, "data"));
        let target = folder.path().join("out");
        let links = unpack(reader, "data", &target).unwrap();
        packing.join().unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(target.join("sub/f")).unwrap(), "text");
        assert_eq!(links, ["\"data/link\" -> \"/etc/passwd\""]);
    }
}
