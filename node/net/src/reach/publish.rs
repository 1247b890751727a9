//! What this node tells of where it can be reached: by the gate's hello, by identify, in the hash table.

use crate::{
    event::NetEvent,
    handle::{Command, NetHandle, Shared},
};
use hive_protocol::member::MAX_ADDRS;

impl Shared {
    /// The addresses others are told: what the owner wants them to be told, or where this node listens.
    pub(crate) fn told_addrs(&self) -> Vec<String> {
        self.reach.published().unwrap_or_else(|| self.listen_addrs())
    }
}

impl NetHandle {
    /// From now on others are told exactly these addresses (the first 8), by the gate, by identify and in the hash
    /// table; before the first call, where this node listens. Members that are connected hear of a change within a
    /// second or two. Addresses through relays belong in here, too; a relay names the others to those it serves.
    pub async fn set_published(&self, mut addrs: Vec<String>) {
        addrs.truncate(MAX_ADDRS);
        self.tell(Command::SetPublished { addrs }).await;
    }

    /// What others are told now.
    #[must_use]
    pub fn told_addrs(&self) -> Vec<String> {
        self.shared.told_addrs()
    }

    /// Tells the owner something that did not come from the loop.
    pub(crate) async fn emit(&self, event: NetEvent) {
        let event = Box::new(event);
        self.tell(Command::Tell { event }).await;
    }
}
