//! Asks the runtime about one Pod, and completes the answer with termination messages.

use std::io::{Read, Seek};
use std::path::Path;

use cri::Result;
use cri::runtime::{ContainerState, ContainerStatus};
use podlogic::{Observed, labels};

use crate::shared::Shared;

/// Bytes of a termination message, at most.
const MESSAGE_BYTES_MAX: u64 = 4096;
/// Bytes of a log that stand in for a termination message, at most.
const LOG_BYTES_MAX: u64 = 2048;
/// Lines of a log that stand in for a termination message, at most.
const LOG_LINES_MAX: usize = 80;

/// A Pod's sandboxes (known by id to its worker) with their containers. Sandboxes that are gone are taken off the
/// list.
pub async fn observe(shared: &Shared, sandbox_ids: &mut Vec<String>) -> Result<Observed> {
    let runtime = shared.runtime();
    let (mut sandboxes, mut containers) = (Vec::new(), Vec::new());
    let mut gone = Vec::new();
    for id in sandbox_ids.iter() {
        match runtime.pod_sandbox_status(id).await {
            Ok(status) => sandboxes.push(status),
            Err(error) if error.kind == cri::ErrorKind::NotFound => {
                gone.push(id.clone());
                continue;
            }
            Err(error) => return Err(error),
        }
        for mut status in runtime.list_containers(Some(id)).await? {
            if status.state == ContainerState::Exited {
                status.message = termination_message(&status).await;
            }
            containers.push(status);
        }
    }
    sandbox_ids.retain(|id| !gone.contains(id));
    Ok(Observed::new(sandboxes, containers))
}

/// What an ended container left as its last word: its message file, else (by policy, after a failure) the end of its
/// log, else what the runtime said.
async fn termination_message(status: &ContainerStatus) -> String {
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str).unwrap_or_default();
    let path = annotation(labels::MESSAGE_PATH);
    let mount = status.mounts.iter().find(|mount| mount.container_path == path && !path.is_empty());
    let mut message = String::new();
    if let Some(mount) = mount {
        message = tail(Path::new(&mount.host_path), MESSAGE_BYTES_MAX).await.unwrap_or_default();
    }
    let fallback = annotation(labels::MESSAGE_POLICY) == "FallbackToLogsOnError" && status.exit_code != 0;
    if message.is_empty() && fallback {
        let log = tail(Path::new(&status.log_path), LOG_BYTES_MAX * 4).await.unwrap_or_default();
        message = last_lines(&log);
    }
    match (status.message.is_empty(), message.is_empty()) {
        (_, true) => status.message.clone(),
        (true, false) => message,
        (false, false) => format!("{}: {message}", status.message),
    }
}

async fn tail(path: &Path, bytes_max: u64) -> std::io::Result<String> {
    let path = path.to_owned();
    let read = move || {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(std::io::SeekFrom::Start(length.saturating_sub(bytes_max)))?;
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    crate::files::run(read).await
}

/// The last lines of a CRI log (`<time> <stream> <F|P> <text>`), without their prefixes.
fn last_lines(log: &str) -> String {
    let mut text = String::new();
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_LINES_MAX)..] {
        let mut parts = line.splitn(4, ' ');
        if let (Some(tag), Some(content)) = (parts.nth(2), parts.next()) {
            text.push_str(content);
            if tag.starts_with('F') {
                text.push('\n');
            }
        }
    }
    let limit = usize::try_from(LOG_BYTES_MAX).unwrap_or(usize::MAX);
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}
