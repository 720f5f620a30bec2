//! Periodic work: rotation of logs, image collection, and a repair pass over all Pods. Nothing that a Pod waits for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use podlogic::back_off::elapsed;
use tokio::time::MissedTickBehavior;

use crate::shared::Shared;
use crate::{machine, rotation};

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
    let interval = shared.options.config.container_log_monitor_interval;
    let (mut logs, mut images, mut repair) = (ticks(interval), ticks(IMAGES), ticks(REPAIR));
    let mut unused_since = HashMap::new();
    loop {
        tokio::select! {
            biased;
            _ = logs.tick() => rotation::rotate_all(&shared).await,
            _ = images.tick() => collect_images(&shared, &mut unused_since).await,
            _ = repair.tick() => shared.pods.lock().values().for_each(|mailbox| mailbox.wake.notify_one()),
        }
    }
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
