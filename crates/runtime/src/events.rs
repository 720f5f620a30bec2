//! Events to subscribers: bounded queues; one that is full gets `Overflow` and then only new events.

use cri::runtime::Event;
use parking_lot::Mutex;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel};

const QUEUE_EVENTS_MAX: usize = 1024;

struct Subscriber {
    sender: Sender<Event>,
    /// The last place, kept for `Overflow`; `None` after that was sent.
    reserve: Option<OwnedPermit<Event>>,
}

/// All subscribers, and what happened before there was one.
pub struct Events {
    state: Mutex<State>,
}

struct State {
    subscribers: Vec<Subscriber>,
    /// For the first subscriber; `None` once there was one.
    backlog: Option<Vec<Event>>,
}

impl Events {
    /// Nobody listens yet; what happens is kept for the first who does.
    pub fn new() -> Self {
        Self { state: Mutex::new(State { subscribers: Vec::new(), backlog: Some(Vec::new()) }) }
    }

    /// A new queue.
    pub fn subscribe(&self) -> Receiver<Event> {
        let (sender, receiver) = channel(QUEUE_EVENTS_MAX);
        let mut state = self.state.lock();
        for event in state.backlog.take().into_iter().flatten() {
            let _ = sender.try_send(event);
        }
        let reserve = sender.clone().try_reserve_owned().ok();
        state.subscribers.push(Subscriber { sender, reserve });
        receiver
    }

    /// Tells everybody.
    pub fn publish(&self, event: &Event) {
        let mut state = self.state.lock();
        if let Some(backlog) = &mut state.backlog {
            match backlog.len() {
                length if length < QUEUE_EVENTS_MAX - 2 => backlog.push(event.clone()),
                length if length == QUEUE_EVENTS_MAX - 2 => backlog.push(Event::Overflow),
                _ => {}
            }
        }
        state.subscribers.retain_mut(|subscriber| {
            if subscriber.sender.is_closed() {
                return false;
            }
            if subscriber.reserve.is_none() {
                subscriber.reserve = subscriber.sender.clone().try_reserve_owned().ok();
            }
            if subscriber.reserve.is_some() && subscriber.sender.try_send(event.clone()).is_err() {
                subscriber.reserve.take().map(|reserve| reserve.send(Event::Overflow));
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event::SandboxStopped { sandbox_id: number.to_string(), pod_uid: String::new() }
    }

    #[tokio::test]
    async fn a_slow_subscriber_is_told() {
        let events = Events::new();
        events.publish(&event(0));
        let mut receiver = events.subscribe();
        for number in 1..2000 {
            events.publish(&event(number));
        }
        let mut seen = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            seen.push(event);
        }
        assert_eq!(seen.len(), QUEUE_EVENTS_MAX);
        assert_eq!(seen[0], event(0));
        assert_eq!(seen.last(), Some(&Event::Overflow));
        events.publish(&event(5000));
        assert_eq!(receiver.recv().await, Some(event(5000)));
    }
}
