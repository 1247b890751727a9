//! The hash table with libp2p as it comes for a member: it announces again and again, and stores what nobody here keeps.

use crate::{
    greeter::{Greeter, key},
    mesh::{DEADLINE, MESH, TestNode, id, member, member_with, soon, until},
};
use futures::StreamExt;
use hive_protocol::ids::BlobHash;
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder, identify,
    kad::{self, Quorum, Record, RecordKey, store::MemoryStore},
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use std::time::Duration;

/// It announces again what it provides so often.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(NetworkBehaviour)]
struct Parts {
    greeter: Greeter,
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

/// A member, connected to the keeper, which it has in its table.
async fn stock(seed: u8, keeper: &TestNode) -> Swarm<Parts> {
    let protocol = format!("/hive/kad/1/{}", MESH.short());
    let mut config = kad::Config::new(StreamProtocol::try_from_owned(protocol).unwrap());
    config.set_provider_publication_interval(Some(AGAIN));
    let me = key(seed).public().to_peer_id();
    let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), config);
    kad.set_mode(Some(kad::Mode::Client));
    let identify = identify::Config::new("/stock/1".into(), key(seed).public());
    let mut swarm = SwarmBuilder::with_existing_identity(key(seed))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Parts {
            greeter: Greeter::member(seed),
            identify: identify::Behaviour::new(identify),
            kad,
        })
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(DEADLINE))
        .build();
    // A provider without an address is named to nobody.
    swarm.add_external_address("/ip4/10.1.1.1/tcp/4001".parse().unwrap());
    swarm.dial(keeper.tcp()[0].parse::<Multiaddr>().unwrap()).unwrap();
    let (mut member, mut routed) = (false, false);
    soon("it is a member, and knows the keeper", async {
        while !member || !routed {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(PartsEvent::Greeter(_)) => member = true,
                SwarmEvent::Behaviour(PartsEvent::Kad(kad::Event::RoutingUpdated { .. })) => routed = true,
                // What it tells of itself is for the hash table as well, and no more is known of the keeper's address.
                SwarmEvent::Behaviour(PartsEvent::Identify(identify::Event::Received {
                    peer_id, ..
                })) => {
                    let addr = keeper.tcp()[0].parse().unwrap();
                    swarm.behaviour_mut().kad.add_address(&peer_id, addr);
                }
                _ => {}
            }
        }
    })
    .await;
    swarm
}

/// What comes of the next query that ends. What it asks for its routing table is not meant.
async fn outcome(swarm: &mut Swarm<Parts>) -> kad::QueryResult {
    let ending = async {
        loop {
            if let SwarmEvent::Behaviour(PartsEvent::Kad(kad::Event::OutboundQueryProgressed {
                result,
                step,
                ..
            })) = swarm.select_next_some().await
                && step.last
                && !matches!(result, kad::QueryResult::Bootstrap(_))
            {
                return result;
            }
        }
    };
    soon("an answer", ending).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stock_libp2p_announces_again_is_kept_once_and_anew() {
    let keeper = member(75).await;
    let mut stock = stock(76, &keeper).await;
    let asker = member_with(77, |c| c.kad_server = false).await;
    asker.dial(&keeper).await;
    let hash = BlobHash::of(b"announced again and again");
    let name = RecordKey::new(hash.as_bytes());
    stock.behaviour_mut().kad.start_providing(name.clone()).unwrap();
    let first = outcome(&mut stock).await;
    assert!(
        matches!(first, kad::QueryResult::StartProviding(Ok(_))),
        "{first:?}"
    );
    for _ in 0..3 {
        let again = outcome(&mut stock).await;
        assert!(
            matches!(again, kad::QueryResult::RepublishProvider(Ok(_))),
            "{again:?}"
        );
    }
    // Said, but what is on its way goes on only while it runs.
    let _running = tokio::spawn(async move {
        loop {
            stock.select_next_some().await;
        }
    });
    // Each of them has it kept for two hours more: that it is, and what becomes of it then, is tested beside the source.
    until("all have been heard", async || {
        keeper.net.counters().dht_records_stored >= 4
    })
    .await;
    let counters = keeper.net.counters();
    assert_eq!(
        (counters.dht_records_refused, counters.dht_records_displaced),
        (0, 0)
    );
    until("it is found, and once", async || {
        asker
            .net
            .providers(hash)
            .await
            .is_ok_and(|found| found == [id(76)])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_kept_for_nobody() {
    let keeper = member(78).await;
    let (mut stock, mut other) = (stock(79, &keeper).await, stock(83, &keeper).await);
    for n in 0..20_u8 {
        let name = RecordKey::new(&[n; 32]);
        let record = Record::new(name.clone(), vec![n; 1000]);
        stock.behaviour_mut().kad.put_record(record, Quorum::One).unwrap();
        // That it was heard is answered; no more.
        let put = outcome(&mut stock).await;
        assert!(matches!(put, kad::QueryResult::PutRecord(Ok(_))), "{put:?}");
        other.behaviour_mut().kad.get_record(name);
        let got = outcome(&mut other).await;
        assert!(
            matches!(
                got,
                kad::QueryResult::GetRecord(Err(kad::GetRecordError::NotFound { .. }))
            ),
            "{got:?}"
        );
    }
}
