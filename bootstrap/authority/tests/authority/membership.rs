//! Joining, credentials, heartbeats.

use crate::rig::{Member, Mesh, id16, runtime};
use hive_authority::{AuthorityHandle, Notice};
use hive_protocol::{
    authority::{Answer, Ask, Heartbeat, OFFLINE_AFTER, Request},
    command::{CommandBody, Refusal},
    credential::{CREDENTIAL_LIFE, Credential},
    ids::{CommandId, InviteId, NodeId},
    join::JoinReply,
    money::Price,
    resources::{Capabilities, Resources},
    time::Millis,
};

async fn ask(handle: &AuthorityHandle, node: NodeId, body: Ask) -> Result<Answer, Refusal> {
    match handle.ask(node, Request { number: 1, body }).await.body {
        Answer::Refused(r) => Err(r),
        other => Ok(other),
    }
}

fn code(reply: JoinReply) -> String {
    match reply {
        JoinReply::Refused(r) => r.code,
        JoinReply::Welcome { .. } => "welcome".into(),
    }
}

fn heartbeat(n: u16) -> Ask {
    Ask::Heartbeat(Heartbeat {
        capabilities: Capabilities::default(),
        free: Resources::default(),
        running: 0,
        price: Price::default(),
        addrs: vec![format!("/ip4/127.0.0.1/udp/{n}/quic-v1")],
    })
}

#[test]
fn a_ticket_lets_in_as_often_as_it_says_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&path).unwrap();
        let handle = authority.handle();
        let (one, two, three) = (Member::new(1), Member::new(2), Member::new(3));
        for (n, uses, life) in [(1, 1, 60), (2, 5, 60), (3, 5, 1)] {
            mesh.submit(&handle, mesh.invite(n, 10, uses, Millis::mins(life)))
                .await
                .unwrap();
        }
        let request = mesh.redeem(&one, 1);
        let first = handle.join(one.node(), request.clone()).await;
        let JoinReply::Welcome {
            genesis, credential, ..
        } = first
        else {
            panic!("{first:?}")
        };
        assert_eq!(genesis, mesh.genesis);
        let authorities = [mesh.node()];
        let c = Credential::check(&credential, &authorities, mesh.network(), one.node(), mesh.now()).unwrap();
        assert_eq!(
            (c.account, c.expires),
            (one.account(), mesh.now() + CREDENTIAL_LIFE)
        );
        // The same request again (the first answer was lost) is answered alike and grants nothing twice.
        let entries = handle.metrics().entries;
        assert_eq!(code(handle.join(one.node(), request.clone()).await), "welcome");
        assert_eq!(handle.metrics().entries, entries);
        mesh.check_balance(&handle, 1, 10).await;
        assert_eq!(
            code(handle.join(two.node(), mesh.redeem(&two, 1)).await),
            "ticket.used"
        );
        let revoke = CommandBody::RevokeInvite {
            invite: InviteId(id16(4, 2)),
        };
        mesh.submit(&handle, mesh.founders(CommandId(id16(1, 1)), revoke))
            .await
            .unwrap();
        assert_eq!(
            code(handle.join(two.node(), mesh.redeem(&two, 2)).await),
            "ticket.revoked"
        );
        mesh.pass(Millis::mins(2));
        assert_eq!(
            code(handle.join(two.node(), mesh.redeem(&two, 3)).await),
            "ticket.expired"
        );
        assert_eq!(
            code(handle.join(two.node(), mesh.redeem(&two, 4)).await),
            "ticket.unknown"
        );
        let foreign = Mesh::new(2);
        foreign.set_clock(mesh.now());
        assert_eq!(
            code(handle.join(two.node(), foreign.redeem(&two, 1)).await),
            "join.wrong_mesh"
        );
        assert_eq!(
            code(handle.join(three.node(), mesh.redeem(&two, 1)).await),
            "join.node"
        );
        let mut no_join = mesh.redeem(&two, 1);
        no_join.command = mesh.transfer(1, one.account(), 1);
        assert_eq!(code(handle.join(two.node(), no_join).await), "join.request");
        // Over a restart, the same.
        authority.close().unwrap();
        let authority = mesh.open(&path).unwrap();
        let handle = authority.handle();
        assert_eq!(
            code(handle.join(two.node(), mesh.redeem(&two, 1)).await),
            "ticket.used"
        );
        assert_eq!(
            code(handle.join(two.node(), mesh.redeem(&two, 3)).await),
            "ticket.expired"
        );
        let mut again = request;
        again.now = mesh.now();
        assert_eq!(code(handle.join(one.node(), again).await), "welcome");
        mesh.check_balance(&handle, 1, 10).await;
    });
}

#[test]
fn a_clock_one_hour_off_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&dir.path().join("ledger")).unwrap();
        let handle = authority.handle();
        mesh.submit(&handle, mesh.invite(1, 0, 1, Millis::mins(60)))
            .await
            .unwrap();
        let member = Member::new(1);
        let mut request = mesh.redeem(&member, 1);
        request.now = request.now + Millis::hours(1);
        let JoinReply::Refused(r) = handle.join(member.node(), request).await else {
            panic!()
        };
        assert_eq!(r.code, "join.clock_skew");
        assert!(r.detail.contains("3600.000 s ahead"), "{}", r.detail);
        assert_eq!(
            code(handle.join(member.node(), mesh.redeem(&member, 1)).await),
            "welcome"
        );
    });
}

#[test]
fn credentials_are_renewed_for_members_only() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&dir.path().join("ledger")).unwrap();
        let handle = authority.handle();
        let own = handle
            .own_credential()
            .await
            .unwrap()
            .verify_by(&mesh.node().0)
            .unwrap();
        assert_eq!(own.node, mesh.node());
        let member = Member::new(1);
        mesh.submit(&handle, mesh.invite(1, 0, 1, Millis::hours(1)))
            .await
            .unwrap();
        let mut request = mesh.redeem(&member, 1);
        assert_eq!(code(handle.join(member.node(), request.clone()).await), "welcome");
        mesh.pass(Millis::mins(10));
        let Answer::Credential(c) = ask(&handle, member.node(), Ask::Renew).await.unwrap() else {
            panic!()
        };
        let c = c.verify_by(&mesh.node().0).unwrap();
        assert_eq!((c.node, c.issued), (member.node(), mesh.now()));
        assert_eq!(
            ask(&handle, NodeId([1; 32]), Ask::Renew).await.unwrap_err().code,
            "node.unknown"
        );
        let remove = CommandBody::RemoveNode { node: member.node() };
        mesh.submit(&handle, mesh.founders(CommandId(id16(1, 1)), remove))
            .await
            .unwrap();
        for body in [Ask::Renew, heartbeat(1), Ask::Totals] {
            assert_eq!(
                ask(&handle, member.node(), body).await.unwrap_err().code,
                "node.unknown"
            );
        }
        // The old request is still answered from memory, but lets nobody back in.
        request.now = mesh.now();
        assert_eq!(code(handle.join(member.node(), request).await), "node.unknown");
    });
}

#[test]
fn heartbeats_make_nodes_known_to_newcomers_and_silence_takes_them_off() {
    let dir = tempfile::tempdir().unwrap();
    let mesh = Mesh::new(1);
    runtime().block_on(async {
        let authority = mesh.create(&dir.path().join("ledger")).unwrap();
        let handle = authority.handle();
        let mut news = handle.subscribe();
        assert!(matches!(
            ask(&handle, mesh.node(), heartbeat(4000)).await.unwrap(),
            Answer::Heard
        ));
        let mut members = Vec::new();
        for n in 1..=20 {
            members.push(mesh.admit(&handle, n, 0).await);
            let port = u16::try_from(4000 + n).unwrap();
            ask(&handle, members.last().unwrap().node(), heartbeat(port))
                .await
                .unwrap();
        }
        mesh.submit(&handle, mesh.invite(21, 0, 1, Millis::mins(60)))
            .await
            .unwrap();
        let newcomer = Member::new(21);
        let JoinReply::Welcome { peers, .. } = handle.join(newcomer.node(), mesh.redeem(&newcomer, 21)).await
        else {
            panic!()
        };
        assert_eq!(peers.len(), 16);
        assert!(
            peers
                .iter()
                .all(|(n, addrs)| *n != newcomer.node() && addrs.len() == 1)
        );
        assert_eq!(handle.metrics().online, 21);
        mesh.pass(OFFLINE_AFTER);
        let Answer::Nodes(nodes) = handle.local(Ask::Nodes { after: None }).await.unwrap() else {
            panic!()
        };
        assert!(nodes.len() == 22 && nodes.iter().all(|n| !n.online));
        let gone = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            let mut gone = 0;
            while gone < 21 {
                gone += usize::from(matches!(news.recv().await.unwrap(), Notice::Offline(_)));
            }
        });
        gone.await.unwrap();
        assert_eq!(handle.metrics().online, 0);
        for bad in [Ask::Renew, heartbeat(1)] {
            assert_eq!(handle.local(bad).await.unwrap_err().code, "authority.request");
        }
    });
}
