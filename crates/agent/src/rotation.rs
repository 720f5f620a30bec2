//! Logs that grew too long: renamed while the container writes on, then compressed, and the oldest removed. No line is
//! lost on the way: who follows a log reads the renamed file to its end before the new one.

use std::io;
use std::path::{Path, PathBuf};

use cri::runtime::{ContainerState, ContainerStatus};

use crate::files;
use crate::shared::Shared;

/// Endings of what is being compressed, and of what is.
const UNFINISHED: &str = ".tmp";
const COMPRESSED: &str = ".gz";

/// Rotates the logs that are too long.
pub async fn rotate_all(shared: &Shared) {
    if shared.pods.lock().is_empty() {
        return;
    }
    let Ok(containers) = shared.runtime().list_containers(None).await else { return };
    for own in containers.iter().filter(|own| own.state == ContainerState::Running) {
        if let Err((what, error)) = rotate(shared, own).await {
            tracing::warn!(container = own.id, log = own.log_path, %error, "{what}");
        }
    }
}

type Failure = (&'static str, String);

/// Rotates a container's log if it is too long.
async fn rotate(shared: &Shared, own: &ContainerStatus) -> Result<(), Failure> {
    let failed = |what: &'static str| move |error: io::Error| (what, error.to_string());
    let config = &shared.options.config;
    let path = PathBuf::from(&own.log_path);
    let reopen = || async {
        let reopened = shared.runtime().reopen_container_log(&own.id).await;
        reopened.map_err(|error| ("reopening a rotated log", error.to_string()))
    };
    match files::metadata(&path).await {
        Ok(metadata) if metadata.len() < config.container_log_max_bytes => return Ok(()),
        Ok(_) => {}
        // Somebody died between renaming and reopening.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return reopen().await,
        Err(error) => return Err(("measuring a log", error.to_string())),
    }
    let (keep, log) = (config.container_log_max_files, path.clone());
    files::run(move || tidy(&log, keep)).await.map_err(failed("tidying rotated logs"))?;
    let stamp = shared.now().strftime("%Y%m%d-%H%M%S").to_string();
    let rotated = path.with_file_name(format!("{}.{stamp}", file_name(&path)));
    files::rename(&path, &rotated).await.map_err(failed("rotating a log"))?;
    if let Err(failure) = reopen().await {
        // The container still writes to the old file: give it its name back.
        files::rename(&rotated, &path).await.map_err(failed("undoing a rotation"))?;
        return Err(failure);
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Makes room for one more rotated log: removes what an interrupted compression left and the oldest, so that with the
/// present log and the one that is rotated next `keep` are there, and compresses the rest.
fn tidy(path: &Path, keep: usize) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let prefix = format!("{}.", file_name(path));
    let entries = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let all: Vec<PathBuf> = entries.filter(|own| file_name(own).starts_with(&prefix)).collect();
    let (mut rotated, left): (Vec<PathBuf>, Vec<PathBuf>) =
        all.iter().cloned().partition(|own| is_in_use(own, &all));
    rotated.sort();
    let surplus = rotated.len().saturating_sub(keep.saturating_sub(2));
    for own in left.into_iter().chain(rotated.drain(..surplus)) {
        std::fs::remove_file(own)?;
    }
    for own in rotated.iter().filter(|own| !file_name(own).ends_with(COMPRESSED)) {
        let target = own.with_file_name(format!("{}{COMPRESSED}", file_name(own)));
        let temporary = own.with_file_name(format!("{}{UNFINISHED}", file_name(own)));
        let mut encoder =
            flate2::write::GzEncoder::new(std::fs::File::create(&temporary)?, flate2::Compression::default());
        io::copy(&mut std::fs::File::open(own)?, &mut encoder)?;
        encoder.finish()?;
        std::fs::rename(&temporary, &target)?;
        std::fs::remove_file(own)?;
    }
    Ok(())
}

/// Neither half compressed nor compressed already under another name.
fn is_in_use(own: &Path, all: &[PathBuf]) -> bool {
    let name = file_name(own);
    let compressed = own.with_file_name(format!("{name}{COMPRESSED}"));
    !name.ends_with(UNFINISHED) && !all.contains(&compressed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        let mut names: Vec<String> = entries.map(|own| file_name(&own.path())).collect();
        names.sort();
        names
    }

    #[test]
    fn rotated_logs_are_compressed_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let files =
            ["0.log", "0.log.1", "0.log.2", "0.log.3.gz", "0.log.4", "0.log.5", "0.log.5.tmp", "1.log.1"];
        for name in files {
            std::fs::write(folder.path().join(name), name).expect("a file");
        }
        tidy(&folder.path().join("0.log"), 5).expect("tidied");
        assert_eq!(names(folder.path()), ["0.log", "0.log.3.gz", "0.log.4.gz", "0.log.5.gz", "1.log.1"]);
        // Interrupted between the last two steps: the same text is there twice.
        std::fs::write(folder.path().join("0.log.5"), "again").expect("a file");
        tidy(&folder.path().join("0.log"), 2).expect("tidied");
        assert_eq!(names(folder.path()), ["0.log", "1.log.1"]);
    }
}
