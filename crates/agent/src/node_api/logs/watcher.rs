//! Changes in folders of logs: one inotify instance for all followers, as a node has few of them.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Tells followers of changes in their folders.
pub struct Watcher {
    descriptor: AsyncFd<OwnedFd>,
    folders: Mutex<HashMap<i32, watch::Sender<u64>>>,
}

impl Watcher {
    /// Without folders yet.
    ///
    /// # Errors
    /// When the kernel has no inotify instance left.
    pub fn new() -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // The descriptor is owned and is closed after it is let go: what the deprecation warns of cannot happen.
        #[allow(deprecated)]
        let descriptor = AsyncFd::new(descriptor)?;
        Ok(Self { descriptor, folders: Mutex::default() })
    }

    /// Changes when something in the folder does.
    ///
    /// # Errors
    /// When the folder cannot be watched.
    pub fn follow(&self, folder: &Path) -> io::Result<watch::Receiver<u64>> {
        let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE;
        let mut folders = self.folders.lock();
        folders.retain(|number, sender| {
            let wanted = sender.receiver_count() > 0;
            if !wanted {
                // It is gone already if the folder was removed.
                let _ = inotify::remove_watch(self.descriptor.get_ref(), *number);
            }
            wanted
        });
        let number = inotify::add_watch(self.descriptor.get_ref(), folder, changes | WatchFlags::ONLYDIR)?;
        Ok(folders.entry(number).or_insert_with(|| watch::Sender::new(0)).subscribe())
    }

    /// Hands changes on.
    pub async fn run(&self) {
        loop {
            let Ok(mut ready) = self.descriptor.readable().await else { return };
            if self.read() {
                ready.clear_ready();
            }
        }
    }

    /// Reads one buffer of events; true when there are no more.
    fn read(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(self.descriptor.get_ref(), &mut buffer);
        let folders = self.folders.lock();
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    folders.values().for_each(|sender| sender.send_modify(|count| *count += 1));
                }
                Ok(event) => {
                    if let Some(sender) = folders.get(&event.wd()) {
                        sender.send_modify(|count| *count += 1);
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let watcher = Watcher::new().unwrap();
        let mut changes = watcher.follow(folder.path()).unwrap();
        let told = async {
            std::fs::write(folder.path().join("0.log"), "a").unwrap();
            changes.changed().await.unwrap();
        };
        tokio::select! {
            () = watcher.run() => panic!("the watcher ended"),
            () = told => {}
        }
        drop(changes);
        let other = tempfile::tempdir().unwrap();
        let _kept = watcher.follow(other.path()).unwrap();
        assert_eq!(watcher.folders.lock().len(), 1, "nobody follows the first one any more");
        assert!(watcher.follow(&folder.path().join("none")).is_err());
    }
}
