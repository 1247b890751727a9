//! `/hive/relay-info/1`: telling how this node's relay is, and asking how others' are.

use super::Reach;
use hive_net::{Inbound, NetStream, ProtocolPolicy, frame};
use hive_protocol::{
    ids::NodeId,
    relay::{PROTOCOL, RelayAsk, RelayInfo},
};
use hive_reach::{Input, RelayLoad};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, time::timeout};

/// Questions of one peer at a time.
const PER_PEER: usize = 4;
/// Questions being answered at a time; more wait in their streams.
const MAX_ANSWERING: usize = 64;
/// A question comes, and an answer, within this time.
const PATIENCE: Duration = Duration::from_secs(10);

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl Reach {
    /// Begins to answer.
    ///
    /// # Errors
    /// `net.served_twice`, `net.busy`.
    pub fn serve_info(&self) -> Result<tokio::task::JoinHandle<()>, hive_net::NetError> {
        let policy = ProtocolPolicy {
            max_inbound_per_peer: PER_PEER,
            ..ProtocolPolicy::default()
        };
        let inbound = self.0.net.serve(PROTOCOL, policy)?;
        Ok(tokio::spawn(answer_all(self.clone(), inbound)))
    }

    /// How this node's relay is.
    fn info(&self, number: u64) -> RelayInfo {
        let limits = self.relay_limits();
        let none = |n: u64| (n > 0).then_some(n);
        let mut info = RelayInfo {
            number,
            serving: false,
            reservations: 0,
            reservations_left: 0,
            circuits: 0,
            circuits_left: 0,
            bytes_left: None,
            bytes_day: None,
            rate: 0,
            rate_most: None,
        };
        let Some(relay) = self.relay() else { return info };
        let load = relay.load();
        info.serving = self.report().serving.on && !load.draining;
        info.reservations = narrow(load.reservations);
        info.reservations_left = narrow(load.reservations_left);
        info.circuits = narrow(load.circuits);
        info.circuits_left = narrow(load.circuits_left);
        info.bytes_left = load.bytes_left_today;
        info.bytes_day = none(limits.total_day);
        info.rate = load.rate;
        info.rate_most = none(limits.total_rate);
        info
    }

    /// Asks a relay how it is; the core hears the answer, or that there was none.
    pub(super) async fn ask_relay(&self, node: NodeId, addrs: Vec<String>) {
        let asked = async {
            self.connect(node, addrs).await?;
            let opening = self.0.net.open(node, PROTOCOL);
            let mut stream = opening.await.map_err(|e| e.to_string())?;
            let began = Instant::now();
            let number = u64::from_le_bytes(crate::random().map_err(|e| e.to_string())?);
            let exchange = async {
                frame::write(&mut stream, &RelayAsk { number }).await?;
                frame::read::<RelayInfo, _>(&mut stream).await
            };
            let info = timeout(PATIENCE, exchange).await.map_err(|e| e.to_string())?;
            match info.map_err(|e| e.to_string())? {
                Some(info) if info.number == number => Ok((info, began.elapsed())),
                _ => Err("it gave no answer".to_owned()),
            }
        };
        match asked.await {
            Ok((info, took)) => self.tell(Input::RelayTold {
                node,
                rtt_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                load: RelayLoad {
                    serving: info.serving,
                    load_milli: info.load_milli(),
                },
            }),
            Err(why) => {
                tracing::debug!(target: "hive_runtime::reach", ?node, why, "a relay does not say how it is");
                self.tell(Input::RelaySilent { node });
            }
        }
    }
}

async fn answer_all(reach: Reach, mut inbound: Inbound) {
    let places = Arc::new(Semaphore::new(MAX_ANSWERING));
    while let Some((_, stream)) = inbound.accept().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let reach = reach.clone();
        tokio::spawn(async move {
            // Whoever does not ask in time, or does not take the answer, has none.
            let _ = timeout(PATIENCE, answer(&reach, stream)).await;
            drop(place);
        });
    }
}

async fn answer(reach: &Reach, mut stream: NetStream) -> Result<(), frame::FrameError> {
    if let Some(ask) = frame::read::<RelayAsk, _>(&mut stream).await? {
        frame::write(&mut stream, &reach.info(ask.number)).await?;
    }
    Ok(())
}
