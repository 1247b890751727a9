//! Relaying for others: when the core wants it, within the owner's limits.

use super::{Reach, core_mode, lock, meant};
use crate::config::{OwnLimits, RelayLimits, RelayMode};
use hive_net::Relay;
use hive_reach::{Input, ServingWhy};
use std::time::Duration;
use tokio::task::JoinHandle;

/// The relay of this node.
pub(super) struct Desk {
    pub mode: RelayMode,
    /// What the owner has set of its limits.
    pub own: OwnLimits,
    pub relay: Option<Relay>,
    /// Says so in the hash table now and again.
    pub announcing: Option<JoinHandle<()>>,
}

impl Desk {
    pub(super) fn new(mode: RelayMode, own: OwnLimits) -> Self {
        Self {
            mode,
            own,
            relay: None,
            announcing: None,
        }
    }

    fn limits(&self) -> RelayLimits {
        RelayLimits::given(self.mode, &self.own)
    }

    /// Has the relay go by what is given now.
    fn apply(&self) {
        if let Some(relay) = &self.relay {
            relay.set_limits(self.limits().into());
        }
    }
}

impl Reach {
    /// Begins to relay, or takes nothing new any more: circuits that run go on.
    pub(super) fn serve(&self, on: bool) {
        let mut desk = lock(&self.0.desk);
        match (&desk.relay, on) {
            (Some(relay), true) => relay.resume(),
            (Some(relay), false) => relay.drain(),
            (None, true) => match self.0.net.serve_relay(desk.limits().into()) {
                Ok(relay) => {
                    self.0.days.take_up(&relay);
                    tracing::info!(target: "hive_runtime::reach", "relaying for others");
                    desk.relay = Some(relay);
                }
                Err(e) => {
                    tracing::error!(target: "hive_runtime::reach", code = e.code(), "cannot relay: {e}");
                }
            },
            (None, false) => {}
        }
    }

    /// The relay, once it has served.
    #[must_use]
    pub fn relay(&self) -> Option<Relay> {
        lock(&self.0.desk).relay.clone()
    }

    /// `off`, `waiting`, `serving` or `draining`, and why.
    #[must_use]
    pub fn relay_state(&self) -> (&'static str, String) {
        let serving = self.report().serving;
        let state = match (serving.on, serving.draining, serving.why) {
            (true, true, _) => "draining",
            (true, false, _) => "serving",
            (false, _, ServingWhy::NotPublic) => "waiting",
            (false, ..) => "off",
        };
        (state, serving.why.text().to_owned())
    }

    /// What the settings, or the role, say.
    #[must_use]
    pub fn relay_mode(&self) -> RelayMode {
        lock(&self.0.desk).mode
    }

    /// Whether this node relays, until the daemon ends.
    pub fn set_relay_mode(&self, mode: RelayMode) {
        let mode = meant(self.0.role, mode);
        {
            let mut desk = lock(&self.0.desk);
            desk.mode = mode;
            desk.apply();
        }
        self.tell(Input::SetMode(core_mode(mode)));
    }

    /// Takes no new reservations and circuits, or takes them again.
    pub fn drain_relay(&self, on: bool) {
        if let Some(relay) = self.relay() {
            if on {
                relay.drain();
            } else if self.report().serving.on {
                relay.resume();
            }
        }
        self.tell(Input::Drain(on));
    }

    /// What it gives at most now.
    #[must_use]
    pub fn relay_limits(&self) -> RelayLimits {
        lock(&self.0.desk).limits()
    }

    /// What of it the owner has set.
    #[must_use]
    pub fn own_limits(&self) -> OwnLimits {
        lock(&self.0.desk).own
    }

    /// Changes that; holds for what runs, too.
    pub fn set_own_limits(&self, own: OwnLimits) {
        let mut desk = lock(&self.0.desk);
        desk.own = own;
        desk.apply();
    }

    /// The end: waits for circuits, at most so long.
    pub async fn close(&self, longest: Duration) {
        let relay = self.relay();
        if let Some(task) = lock(&self.0.desk).announcing.take() {
            task.abort();
        }
        if let Some(relay) = relay {
            let cut = relay.drained(longest).await;
            if cut > 0 {
                tracing::info!(target: "hive_runtime::reach", cut, "circuits were cut at the end");
            }
            self.keep_day().await;
        }
    }
}
