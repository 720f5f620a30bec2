//! Ends of containers, told to those that wait for them: one subscription to the runtime's events for all.

use std::collections::HashMap;

use cri::runtime::Event;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

/// Waiting parties by container.
#[derive(Default)]
pub struct Ends(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Ends {
    /// Changes when the container may have ended; ask the runtime then, and once after this call.
    pub fn subscribe(&self, container_id: &str) -> watch::Receiver<u64> {
        let mut waiting = self.0.lock();
        waiting.retain(|_, sender| sender.receiver_count() > 0);
        waiting.entry(container_id.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn tell(&self, event: &Event) {
        let waiting = self.0.lock();
        match event {
            Event::ContainerStopped { container_id, .. } | Event::ContainerDeleted { container_id, .. } => {
                if let Some(sender) = waiting.get(container_id) {
                    sender.send_modify(|count| *count += 1);
                }
            }
            Event::Overflow => waiting.values().for_each(|sender| sender.send_modify(|count| *count += 1)),
            _ => {}
        }
    }

    /// Hands events on until the runtime is gone.
    pub async fn follow(&self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.tell(&event);
        }
        self.tell(&Event::Overflow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_container_meant_is_told() {
        let ends = Ends::default();
        let (mut one, mut two) = (ends.subscribe("one"), ends.subscribe("two"));
        let stopped = |id: &str| Event::ContainerStopped {
            sandbox_id: "s".into(),
            container_id: id.into(),
            pod_uid: "u".into(),
        };
        ends.tell(&stopped("one"));
        assert_eq!((one.has_changed().unwrap(), two.has_changed().unwrap()), (true, false));
        one.mark_unchanged();
        ends.tell(&Event::Overflow);
        assert_eq!((one.has_changed().unwrap(), two.has_changed().unwrap()), (true, true));
        two.mark_unchanged();
        drop((one, two));
        ends.subscribe("three");
        assert!(ends.0.lock().len() <= 1, "nobody waits for the others");
    }
}
