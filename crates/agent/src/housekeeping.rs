//! Periodic work: log rotation, image collection, and a repair pass over all Pods. Nothing that a Pod waits for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri::runtime::ContainerState;
use jiff::Timestamp;
use podlogic::back_off::elapsed;
use tokio::time::MissedTickBehavior;

use crate::machine;
use crate::shared::Shared;

/// How often logs are measured.
const LOGS: Duration = Duration::from_secs(10);
/// How often disk use is looked at.
const IMAGES: Duration = Duration::from_secs(300);
/// How often every Pod is decided on anew, should an event have been lost.
const REPAIR: Duration = Duration::from_secs(90);

/// Runs for as long as the agent.
pub async fn run(shared: Arc<Shared>) {
    let ticks = |period| {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    };
    let (mut logs, mut images, mut repair) = (ticks(LOGS), ticks(IMAGES), ticks(REPAIR));
    let mut unused_since = HashMap::new();
    loop {
        tokio::select! {
            _ = logs.tick() => rotate_logs(&shared).await,
            _ = images.tick() => collect_images(&shared, &mut unused_since).await,
            _ = repair.tick() => shared.pods.lock().values().for_each(|mailbox| mailbox.wake.notify_one()),
        }
    }
}

/// Rotates logs that are too long.
async fn rotate_logs(shared: &Shared) {
    if shared.pods.lock().is_empty() {
        return;
    }
    let Ok(containers) = shared.runtime().list_containers(None).await else { return };
    let config = &shared.options.config;
    for own in containers.iter().filter(|own| own.state == ContainerState::Running) {
        let path = PathBuf::from(&own.log_path);
        let length = tokio::fs::metadata(&path).await.map_or(0, |metadata| metadata.len());
        if length <= config.container_log_max_bytes {
            continue;
        }
        let stamp = shared.now().strftime("%Y%m%d-%H%M%S").to_string();
        let rotated = path.with_file_name(format!("{}.{stamp}", file_name(&path)));
        if let Err(error) = tokio::fs::rename(&path, &rotated).await {
            tracing::warn!(path = %path.display(), %error, "rotating a log");
            continue;
        }
        if let Err(error) = shared.runtime().reopen_container_log(&own.id).await {
            tracing::warn!(container = own.id, %error, "reopening a rotated log");
            // The container still writes to the old file: give it its name back.
            if let Err(error) = tokio::fs::rename(&rotated, &path).await {
                tracing::warn!(path = %rotated.display(), %error, "undoing a rotation");
            }
            continue;
        }
        let keep = config.container_log_max_files;
        let tidied = tokio::task::spawn_blocking(move || tidy(&path, &rotated, keep)).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(container = own.id, %error, "tidying rotated logs");
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Compresses rotated logs but the newest, and removes the oldest beyond `keep` files (the present one included).
fn tidy(path: &Path, newest: &Path, keep: usize) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let prefix = format!("{}.", file_name(path));
    let mut rotated: Vec<PathBuf> = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|own| file_name(own).starts_with(&prefix) && !file_name(own).ends_with(".tmp"))
        .collect();
    rotated.sort();
    let surplus = rotated.len().saturating_sub(keep.saturating_sub(1));
    for own in rotated.drain(..surplus) {
        std::fs::remove_file(own)?;
    }
    for own in rotated.iter().filter(|own| own.as_path() != newest && !file_name(own).ends_with(".gz")) {
        let target = own.with_file_name(format!("{}.gz", file_name(own)));
        let temporary = own.with_file_name(format!("{}.tmp", file_name(own)));
        let mut encoder =
            flate2::write::GzEncoder::new(std::fs::File::create(&temporary)?, flate2::Compression::default());
        io::copy(&mut std::fs::File::open(own)?, &mut encoder)?;
        encoder.finish()?;
        std::fs::rename(&temporary, &target)?;
        std::fs::remove_file(own)?;
    }
    Ok(())
}

/// Removes images that no container uses, those unused longest first, while the disk is too full.
async fn collect_images(shared: &Shared, unused_since: &mut HashMap<String, Timestamp>) {
    let config = &shared.options.config;
    let root = &shared.options.directories.root;
    let images = &shared.options.images;
    let (Ok(all), Ok(containers)) =
        (images.list_images().await, shared.runtime().list_containers(None).await)
    else {
        return;
    };
    let used: HashSet<&str> = containers.iter().map(|own| own.image_id.as_str()).collect();
    let now = shared.now();
    unused_since.retain(|id, _| all.iter().any(|image| image.id == *id) && !used.contains(id.as_str()));
    let mut unused = Vec::new();
    for image in all.iter().filter(|image| !image.pinned && !used.contains(image.id.as_str())) {
        let since = *unused_since.entry(image.id.clone()).or_insert(now);
        if elapsed(since, now) >= config.image_minimum_gc_age {
            unused.push((since, image));
        }
    }
    let is_above = |percent: u8| {
        machine::disk(root).is_some_and(|disk| {
            let used = disk.total_bytes - disk.available_bytes;
            let is_much_left = config.image_gc_free_bytes.is_some_and(|much| disk.available_bytes > much);
            used > disk.total_bytes / 100 * i64::from(percent) && !is_much_left
        })
    };
    if !is_above(config.image_gc_high_percent) {
        return;
    }
    unused.sort_by_key(|(since, _)| *since);
    for (_, image) in unused {
        if !is_above(config.image_gc_low_percent) {
            return;
        }
        tracing::info!(
            image = image.id,
            bytes = image.size_bytes,
            "removing an unused image: the disk is filling"
        );
        if let Err(error) = images.remove_image(&image.id).await {
            tracing::warn!(image = image.id, %error, "removing an unused image");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_logs_are_compressed_and_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.log");
        for name in ["0.log", "0.log.1", "0.log.2", "0.log.3.gz", "0.log.4", "0.log.5"] {
            std::fs::write(folder.path().join(name), name).expect("a file");
        }
        tidy(&path, &folder.path().join("0.log.5"), 4).expect("tidied");
        let mut left: Vec<String> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .flatten()
            .map(|own| file_name(&own.path()))
            .collect();
        left.sort();
        assert_eq!(left, ["0.log", "0.log.3.gz", "0.log.4.gz", "0.log.5"]);
    }
}
