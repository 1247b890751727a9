//! A node made of libp2p as it comes: the peer that hive-net is measured beside.
//!
//! Its parts are those of a mesh node (identify, ping, hash table, gossip, relay, hole punching) with the settings
//! they have by default; only room for many peers is made.

use crate::{
    Fail,
    node::{Ear, Make, Stat, Tally},
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, dcutr, gossipsub, identify, kad, noise, ping,
    relay,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts},
    tcp, yamux,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Wishes that may wait for the loop.
const WISHES: usize = 64;
/// A node says where it listens, and a join has come to an end, within this time.
const PATIENCE: Duration = Duration::from_secs(15);
const TOPICS: [&str; 3] = ["demand", "presence", "price"];
const KAD: StreamProtocol = StreamProtocol::new("/swarmlab/kad/1");

#[derive(NetworkBehaviour)]
struct Parts {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    gossip: gossipsub::Behaviour,
    client: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    punch: dcutr::Behaviour,
}

enum Wish {
    Join(PeerId, Multiaddr, oneshot::Sender<Result<(), String>>),
    Publish(Vec<u8>, oneshot::Sender<Result<bool, String>>),
}

/// A running node.
pub struct Stock {
    me: PeerId,
    addr: Option<String>,
    wishes: mpsc::Sender<Wish>,
    tally: Arc<Tally>,
}

fn swarm(serves: bool) -> Result<Swarm<Parts>, Fail> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, client| {
            let me = key.public().to_peer_id();
            let mut kad =
                kad::Behaviour::with_config(me, kad::store::MemoryStore::new(me), kad::Config::new(KAD));
            kad.set_mode(Some(if serves {
                kad::Mode::Server
            } else {
                kad::Mode::Client
            }));
            let signed = gossipsub::MessageAuthenticity::Signed(key.clone());
            let mut gossip = gossipsub::Behaviour::new(signed, gossipsub::Config::default())?;
            for topic in TOPICS {
                gossip.subscribe(&gossipsub::IdentTopic::new(topic))?;
            }
            let relay = relay::Config {
                max_reservations: 8192,
                max_circuits: 8192,
                ..Default::default()
            };
            Ok(Parts {
                identify: identify::Behaviour::new(identify::Config::new("/swarmlab/1".into(), key.public())),
                ping: ping::Behaviour::default(),
                kad,
                gossip,
                client,
                relay: Toggle::from(serves.then(|| relay::Behaviour::new(me, relay))),
                punch: dcutr::Behaviour::new(me),
            })
        })?
        .build();
    Ok(swarm)
}

impl Stock {
    pub async fn start(make: Make) -> Result<Self, Fail> {
        let mut swarm = swarm(make.serves)?;
        let mut addr = None;
        if make.listen {
            swarm.listen_on(make.carrier.listen().parse()?)?;
            let listening = async {
                loop {
                    if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                        return address.to_string();
                    }
                }
            };
            addr = Some(tokio::time::timeout(PATIENCE, listening).await?);
        }
        let (wishes, queue) = mpsc::channel(WISHES);
        let tally = Arc::new(Tally::default());
        let me = *swarm.local_peer_id();
        let node = Loop {
            swarm,
            tally: Arc::clone(&tally),
            ear: make.ear,
            joining: HashMap::new(),
        };
        tokio::spawn(node.run(queue));
        Ok(Self {
            me,
            addr,
            wishes,
            tally,
        })
    }

    pub fn id(&self) -> String {
        self.me.to_string()
    }

    pub fn addr(&self) -> Option<String> {
        self.addr.clone()
    }

    pub async fn join(&self, id: &str, addr: &str) -> Result<(), String> {
        let peer = id.parse().map_err(|e| format!("{id}: {e}"))?;
        let addr = addr.parse().map_err(|e| format!("{addr}: {e}"))?;
        self.ask(|reply| Wish::Join(peer, addr, reply)).await
    }

    pub async fn publish(&self, bytes: Vec<u8>) -> Result<bool, String> {
        self.ask(|reply| Wish::Publish(bytes, reply)).await
    }

    pub fn stat(&self) -> Stat {
        self.tally.now()
    }

    async fn ask<T>(
        &self,
        wish: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Wish,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.wishes
                .send(wish(reply))
                .await
                .map_err(|_| "ended".to_owned())?;
            answer.await.map_err(|_| "ended".to_owned())?
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .map_err(|_| "no answer".to_owned())?
    }
}

/// Who waits for a peer, and what has come of it.
struct Joining {
    identified: bool,
    greeted: bool,
    reply: oneshot::Sender<Result<(), String>>,
}

struct Loop {
    swarm: Swarm<Parts>,
    tally: Arc<Tally>,
    ear: Option<Ear>,
    joining: HashMap<PeerId, Joining>,
}

impl Loop {
    async fn run(mut self, mut queue: mpsc::Receiver<Wish>) {
        loop {
            tokio::select! {
                wish = queue.recv() => match wish {
                    Some(wish) => self.grant(wish),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.happened(event),
            }
        }
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Join(peer, addr, reply) => {
                let opts = DialOpts::peer_id(peer).addresses(vec![addr]).build();
                match self.swarm.dial(opts) {
                    Ok(()) => {
                        let joining = Joining {
                            identified: false,
                            greeted: false,
                            reply,
                        };
                        self.joining.insert(peer, joining);
                    }
                    Err(e) => {
                        let _ = reply.send(Err(e.to_string()));
                    }
                }
            }
            Wish::Publish(bytes, reply) => {
                let topic = gossipsub::IdentTopic::new(TOPICS[0]);
                let said = self.swarm.behaviour_mut().gossip.publish(topic, bytes);
                let _ = reply.send(match said {
                    Ok(_) => Ok(true),
                    Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => Ok(false),
                    Err(e) => Err(e.to_string()),
                });
            }
        }
    }

    fn joined(&mut self, peer: PeerId, identified: bool, greeted: bool) {
        let Some(mut joining) = self.joining.remove(&peer) else {
            return;
        };
        joining.identified |= identified;
        joining.greeted |= greeted;
        if joining.identified && joining.greeted {
            let _ = joining.reply.send(Ok(()));
        } else {
            self.joining.insert(peer, joining);
        }
    }

    fn happened(&mut self, event: SwarmEvent<PartsEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { num_established, .. } => {
                Tally::add(&self.tally.opened);
                if num_established.get() == 1 {
                    Tally::add(&self.tally.peers);
                }
            }
            SwarmEvent::ConnectionClosed { num_established, .. } => {
                Tally::add(&self.tally.closed);
                if num_established == 0 {
                    Tally::sub(&self.tally.peers);
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                Tally::add(&self.tally.failed);
                if let Some(joining) = peer_id.and_then(|p| self.joining.remove(&p)) {
                    let _ = joining.reply.send(Err(error.to_string()));
                }
            }
            SwarmEvent::IncomingConnectionError { .. } => Tally::add(&self.tally.failed),
            SwarmEvent::Behaviour(PartsEvent::Identify(identify::Event::Received {
                peer_id, info, ..
            })) => {
                if info.protocols.contains(&KAD) {
                    for addr in info.listen_addrs {
                        self.swarm.behaviour_mut().kad.add_address(&peer_id, addr);
                    }
                }
                self.joined(peer_id, true, false);
            }
            SwarmEvent::Behaviour(PartsEvent::Gossip(event)) => match event {
                gossipsub::Event::Subscribed { peer_id, .. } => self.joined(peer_id, false, true),
                gossipsub::Event::Message {
                    propagation_source,
                    message,
                    ..
                } => {
                    if let Some(ear) = &self.ear {
                        ear(&message.data, Some(propagation_source) == message.source);
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }
}
