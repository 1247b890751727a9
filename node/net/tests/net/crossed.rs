//! Two ordinary dials over TCP that meet each other: each side takes itself for who has dialed.

use crate::mesh::{id, member, soon};
use hive_protocol::ids::NodeId;
use libp2p::{
    PeerId,
    core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    identity::Keypair,
    tls,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

/// What both ends of a connection say before TLS: one offers it, the other repeats it.
const TLS: &[u8] = b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n";

async fn begun(listener: &TcpListener) -> TcpStream {
    let (mut tcp, _) = listener.accept().await.unwrap();
    tcp.write_all(TLS).await.unwrap();
    let mut said = vec![0; TLS.len()];
    tcp.read_exact(&mut said).await.unwrap();
    assert_eq!(said, TLS);
    tcp
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_that_met_are_made_again_in_roles_that_both_know() {
    let node = member(61).await;
    let ids = [7, 8, 9, 10, 11, 12].map(|seed: u8| (id(seed), seed));
    let smaller = ids.into_iter().find(|(peer, _)| *peer < node.id()).unwrap();
    let greater = ids.into_iter().find(|(peer, _)| *peer > node.id()).unwrap();
    for (peer, seed) in [smaller, greater] {
        let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
        assert_eq!(key.public().to_peer_id(), peer_id(peer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let net = node.net.clone();
        let dialing = tokio::spawn(async move {
            let addr = format!("/ip4/127.0.0.1/tcp/{port}");
            let _ = net.dial(peer, vec![addr]).await;
        });
        let config = || tls::Config::new(&key).unwrap();
        let name = "/tls/1.0.0";
        // It takes itself for who has dialed, as the node does.
        let first = soon("the first connection", begun(&listener)).await;
        let met = config().upgrade_outbound(first.compat(), name);
        assert!(soon("its end", met).await.is_err());
        // Now the smaller id is who dials, and the other one is not.
        let second = soon("the second connection", begun(&listener)).await.compat();
        let proven = if peer < node.id() {
            soon("a handshake", config().upgrade_outbound(second, name)).await
        } else {
            soon("a handshake", config().upgrade_inbound(second, name)).await
        };
        assert_eq!(proven.unwrap().0, peer_id(node.id()));
        dialing.abort();
    }
}

fn peer_id(node: NodeId) -> PeerId {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(&node.0).unwrap();
    libp2p::identity::PublicKey::from(key).to_peer_id()
}
