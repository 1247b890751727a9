//! Things that happen, for whoever watches: a broadcast with a bound; a slow watcher loses the oldest and is told.

use crate::{clock::Clock, port::EventView};
use tokio::sync::broadcast;

/// Events a watcher may lag behind.
const BACKLOG: usize = 4096;

/// The source of events.
#[derive(Clone)]
pub struct Events {
    sender: broadcast::Sender<EventView>,
    clock: Clock,
    seq: u64,
}

impl Events {
    /// Nobody watches yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
            clock,
            seq: 0,
        }
    }

    /// A new watcher.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<EventView> {
        self.sender.subscribe()
    }

    /// Whether the cost of building an event is worth it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Says that something happened.
    pub fn say(&mut self, kind: &str, subject: impl ToString, message: impl Into<String>) {
        let event = EventView {
            seq: 0,
            time: 0,
            kind: kind.to_owned(),
            subject: subject.to_string(),
            message: message.into(),
        };
        self.show(event);
    }

    /// Numbers and shows an event.
    pub fn show(&mut self, mut event: EventView) {
        self.seq += 1;
        event.seq = self.seq;
        event.time = self.clock.now().0;
        tracing::debug!(target: "hive_runtime::event", kind = event.kind, subject = event.subject, "{}", event.message);
        // Nobody watching is no error.
        let _ = self.sender.send(event);
    }
}
