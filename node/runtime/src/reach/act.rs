//! Carrying out what the core wants. Quick things in order, slow ones in a task of their own, whose outcome comes back
//! as an input; the core bounds how many there are.

use super::{
    Reach, Told,
    feed::{Heard, heard},
    lock,
};
use hive_net::{Admission, NetError, Tried};
use hive_protocol::{ids::NodeId, relay::rendezvous};
use hive_reach::{Effect, Input, Published};
use std::time::Duration;

/// A relay announces itself again this often: whoever kept the announcement may have left.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30 * 60);
/// And this soon when nobody took it.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(20);

/// Whether packets pass, from what a try of an address has come to; none where that says nothing: a closed port, or a
/// firewall that refuses in its name.
fn passes(tried: &Result<Tried, NetError>) -> Option<bool> {
    let reasons = match tried {
        Ok(_) => return Some(true),
        Err(NetError::Unreachable { reasons, .. }) => reasons,
        Err(_) => return Some(false),
    };
    match reasons.iter().find_map(|line| heard(line)) {
        Some((_, Heard::Somebody)) => Some(true),
        Some((_, Heard::Refusal)) => None,
        Some((_, Heard::Nothing)) | None => Some(false),
    }
}

impl Reach {
    pub(super) async fn act(&self, effect: Effect) {
        match effect {
            Effect::Publish(list) => self.publish(list).await,
            Effect::KadServer(on) => self.0.net.set_kad_server(on).await,
            Effect::Test => {
                let net = self.0.net.clone();
                tokio::spawn(async move { net.test_again(None).await });
            }
            Effect::Serve(on) => self.serve(on),
            Effect::AnnounceRelay(on) => self.announce(on).await,
            Effect::FindRelays => self.spawn(|reach| async move {
                let key = rendezvous(reach.0.standing.network());
                if let Ok(found) = reach.0.net.providers(key).await {
                    reach.tell(Input::Found(found));
                }
            }),
            Effect::AskRelay { node, addrs } => {
                self.spawn(move |reach| async move { reach.ask_relay(node, addrs).await })
            }
            Effect::Reserve { relay, addrs } => {
                self.spawn(move |reach| async move { reach.reserve(relay, addrs).await })
            }
            Effect::Unreserve { relay } => self.0.net.unreserve(relay).await,
            Effect::Dial { node, addrs } => self.spawn(move |reach| async move {
                if reach.connect(node, addrs).await.is_err() {
                    reach.tell(Input::DialFailed { node });
                }
            }),
            Effect::Protect(nodes) => {
                self.allow().await;
                self.0.net.protect(nodes).await;
            }
            Effect::Try { node, addr } => self.spawn(move |reach| async move {
                let tried = reach.0.net.try_address(node, addr.clone()).await;
                if let Some(reached) = passes(&tried) {
                    reach.tell(Input::Tried { addr, reached });
                }
            }),
        }
    }

    /// Whatever is running then is ended by the network's end.
    fn spawn<F>(&self, task: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(tokio::spawn(task(self.clone())));
    }

    async fn publish(&self, list: Vec<Published>) {
        for told in &list {
            tracing::debug!(target: "hive_runtime::reach", addr = told.addr, kind = told.kind.name(), "published");
        }
        let addrs: Vec<String> = list.into_iter().map(|p| p.addr).collect();
        self.0.net.set_published(addrs.clone()).await;
        self.0.told.send_if_modified(|told| {
            let news = told.addrs != addrs;
            told.addrs = addrs;
            news
        });
    }

    /// Says in the hash table and by the role that this node relays, or says so no more.
    async fn announce(&self, on: bool) {
        self.0.told.send_if_modified(|told: &mut Told| {
            let news = told.relaying != on;
            told.relaying = on;
            news
        });
        let key = rendezvous(self.0.standing.network());
        let old = lock(&self.0.desk).announcing.take();
        if let Some(old) = old {
            old.abort();
        }
        let net = self.0.net.clone();
        if !on {
            net.unprovide(key).await;
            return;
        }
        let task = tokio::spawn(async move {
            loop {
                let pause = match net.provide(key).await {
                    Ok(()) => ANNOUNCE_EVERY,
                    Err(_) => ANNOUNCE_AGAIN,
                };
                tokio::time::sleep(pause).await;
            }
        });
        lock(&self.0.desk).announcing = Some(task);
    }

    /// Connects to a member, at the addresses known or those the hash table knows.
    ///
    /// # Errors
    /// One line for people.
    pub(super) async fn connect(&self, node: NodeId, addrs: Vec<String>) -> Result<(), String> {
        self.allow().await;
        let net = &self.0.net;
        let admission = match net.dial(node, addrs).await {
            Err(e) if e.code() == "net.no_address" => {
                let found = net.find_node(node).await.map_err(|e| e.to_string())?;
                net.dial(node, found).await
            }
            other => other,
        };
        match admission.map_err(|e| e.to_string())? {
            Admission::Member => Ok(()),
            other => Err(format!("it is no member here: {other:?}")),
        }
    }

    /// Where direct connections are off, authorities and relays are the exception.
    async fn allow(&self) {
        if self.0.config.direct {
            return;
        }
        let mut nodes = self.0.standing.authorities();
        nodes.extend(self.report().relays.into_iter().map(|r| r.node));
        nodes.retain(|node| *node != self.me());
        nodes.sort_unstable();
        nodes.dedup();
        self.0.net.allow_direct(nodes).await;
    }

    async fn reserve(&self, relay: NodeId, addrs: Vec<String>) {
        let asked = match self.connect(relay, addrs).await {
            Ok(()) => self.0.net.reserve(relay).await.map_err(|e| e.to_string()),
            Err(e) => Err(e),
        };
        match asked {
            // Its further addresses come by themselves.
            Ok(addr) => {
                tracing::info!(target: "hive_runtime::reach", ?relay, addr, "reachable through a relay");
                self.tell(Input::Reserved { relay, addr });
            }
            Err(detail) => {
                tracing::debug!(target: "hive_runtime::reach", ?relay, detail, "no reservation");
                // The core asks again in its own time.
                self.0.net.unreserve(relay).await;
                self.tell(Input::ReserveFailed { relay, detail });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_answers_shows_that_packets_pass_and_a_refusal_shows_nothing() {
        let of = |why: &str| {
            let reasons = vec![format!("/ip4/203.0.113.1/tcp/1: {why}")];
            passes(&Err(NetError::Unreachable {
                node: NodeId([1; 32]),
                reasons,
            }))
        };
        assert_eq!(of("another node answers there"), Some(true));
        assert_eq!(of("Connection refused (os error 111)"), None);
        assert_eq!(of("no answer within 5 s"), Some(false));
        assert_eq!(passes(&Err(NetError::Stopped)), Some(false));
    }
}
