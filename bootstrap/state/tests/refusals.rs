//! Every refusal a command can meet, by its code; each leaves the state as it was (checked by the mesh itself).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mesh;
use hive_protocol::{
    command::{CommandBody, MAX_COMMAND_LIFE, MAX_HOLD_LIFE, MAX_INVITE_LIFE},
    credential::Delegation,
    ids::{CommandId, NetworkId, NodeId},
    keys::Signed,
    money::MicroCpt,
    resources::{Capabilities, Role},
    time::Timestamp,
};
use hive_state::{Event, State, registry::MAX_NODES_PER_ACCOUNT, verify};
use mesh::*;

fn code(r: Result<hive_state::Accepted, hive_protocol::command::Refusal>) -> String {
    r.err().map_or_else(|| "accepted".into(), |r| r.code)
}

#[test]
fn the_frame_of_a_command() {
    let mut m = Mesh::with_members(2);
    let good = m.command(1, CommandId([9; 16]), m.transfer(1, 2, 5).1);
    let sign = |c: &_, key: u8| Signed::sign(&owner(key), c).unwrap();

    let forged = sign(&good, 2);
    assert_eq!(code(m.send(&forged).outcome), "command.signer");
    let mut other = good.clone();
    other.network = NetworkId([1; 32]);
    assert_eq!(code(m.send(&sign(&other, 1)).outcome), "command.wrong_mesh");
    let mut late = good.clone();
    late.not_after = Timestamp(m.now);
    assert_eq!(code(m.send(&sign(&late, 1)).outcome), "command.expired");
    let mut long = good.clone();
    long.not_after = Timestamp(m.now) + MAX_COMMAND_LIFE;
    long.id = CommandId([8; 16]);
    assert_eq!(code(m.send(&sign(&long, 1)).outcome), "accepted");
    long.not_after = Timestamp(long.not_after.0 + 1);
    long.id = CommandId([7; 16]);
    assert_eq!(code(m.send(&sign(&long, 1)).outcome), "command.life");
    let stranger = m.transfer(9, 1, 1);
    assert_eq!(m.refused(stranger), "member.unknown");

    assert_eq!(code(m.send(&sign(&good, 1)).outcome), "accepted");
    let mut reused = good.clone();
    reused.body = m.transfer(1, 2, 6).1;
    assert_eq!(code(m.send(&sign(&reused, 1)).outcome), "command.id_reused");
    // Another account may use the same id: ids count within their account.
    let mut same = good;
    same.account = account(2);
    same.body = m.transfer(2, 1, 1).1;
    assert_eq!(code(m.send(&sign(&same, 2)).outcome), "accepted");
    m.check_replay();
}

#[test]
fn damaged_signatures_are_refused() {
    let m = Mesh::with_members(1);
    let command = m.command(1, CommandId([9; 16]), m.transfer(1, 0, 5).1);
    let signed = Signed::sign(&owner(1), &command).unwrap();
    assert!(verify(&signed, m.network).is_ok());
    let bytes = hive_state::Entry::Command(signed).encode().unwrap();
    for at in 4..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        if let Ok(entry) = hive_state::Entry::decode(&bad) {
            assert!(entry.prepare(m.network).is_err(), "byte {at}");
        }
    }
}

#[test]
fn sizes_and_ranges() {
    let mut m = Mesh::with_members(1);
    let long = "x".repeat(129);
    for body in [
        CommandBody::Transfer {
            to: account(1),
            amount: MicroCpt(1),
            memo: long.clone(),
        },
        CommandBody::SetScore {
            account: account(1),
            score: 1,
            reason: long.clone(),
        },
        CommandBody::SetScore {
            account: account(1),
            score: 1001,
            reason: String::new(),
        },
        m.invite(0, 5, 0, 1).1,
        m.invite(0, 5, 10_001, 1).1,
        m.invite_as(0, 5, 1, 1, Role::Worker, 1001).1,
    ] {
        assert_eq!(m.refused((0, body)), "command.invalid");
    }
    let capabilities = [
        Capabilities {
            location: "x".repeat(65),
            ..Capabilities::default()
        },
        Capabilities {
            runtimes: vec![String::new(); 9],
            ..Capabilities::default()
        },
    ];
    for c in capabilities {
        let (by, mut body) = m.join(5, 5, 200);
        if let CommandBody::Join { capabilities, .. } = &mut body {
            *capabilities = c;
        }
        assert_eq!(m.refused((by, body)), "command.invalid");
    }
    let (by, mut body) = m.join(5, 5, 200);
    if let CommandBody::Join { name, .. } = &mut body {
        *name = "x".repeat(65);
    }
    assert_eq!(m.refused((by, body)), "command.invalid");
}

#[test]
fn wallet() {
    let mut m = Mesh::with_members(2);
    assert_eq!(m.refused(m.transfer(1, 2, 10_001)), "wallet.insufficient");
    assert_eq!(m.refused(m.transfer(1, 9, 1)), "wallet.unknown_account");
    assert_eq!(m.refused(m.transfer(1, 1, 1)), "wallet.self");
    assert_eq!(m.refused(m.transfer(1, 2, 0)), "wallet.zero");
    m.ok(m.hold(1, 2, 1, 9_000));
    let r = m.give(m.transfer(1, 2, 2_500)).outcome.unwrap_err();
    assert_eq!(r.code, "wallet.insufficient");
    assert_eq!(
        r.detail,
        "the transfer needs 0.0025 CPT, free are 0.001 CPT (0.009 CPT more are held); earn or receive 0.0015 CPT, or wait until holds end"
    );
    assert_eq!(m.refused(m.invite(1, 1, 2, 501)), "wallet.insufficient");
    assert_eq!(m.refused(m.invite(1, 1, 10_000, u64::MAX)), "wallet.insufficient");
}

#[test]
fn holds_and_receipts() {
    let mut m = Mesh::with_members(3);
    let with_expiry = |m: &Mesh, at: u64| {
        let (by, mut body) = m.hold(1, 2, 1, 100);
        if let CommandBody::Hold { expires, .. } = &mut body {
            *expires = Timestamp(at);
        }
        (by, body)
    };
    assert_eq!(m.refused(with_expiry(&m, m.now)), "hold.expiry");
    let far = m.now + MAX_HOLD_LIFE.0 + 1;
    assert_eq!(m.refused(with_expiry(&m, far)), "hold.expiry");
    assert_eq!(m.refused(m.hold(1, 9, 1, 100)), "wallet.unknown_account");
    assert_eq!(m.refused(m.capture(2, 1, 1, 50)), "hold.unknown");
    assert_eq!(m.refused(m.release(2, 1)), "hold.unknown");

    let accepted = m.ok(m.hold(1, 2, 1, 100));
    let grant = accepted.grant.unwrap();
    assert_eq!((grant.payer, grant.payee), (account(1), account(2)));
    assert_eq!(grant.amount, MicroCpt(100));
    assert_eq!(m.refused(m.hold(1, 2, 1, 101)), "hold.exists");
    assert_eq!(m.refused(m.hold(3, 2, 1, 100)), "hold.exists");

    assert_eq!(m.refused(m.release(1, 1)), "hold.not_payee");
    assert_eq!(m.refused(m.capture(2, 1, 1, 101)), "hold.exceeded");
    let receipt = m.receipt(2, 1, 1, 50);
    assert_eq!(m.refused(m.capture_of(3, &receipt, 2, 1)), "hold.not_party");
    let mut other = receipt.clone();
    other.lease = lease_id(8);
    assert_eq!(m.refused(m.capture_of(2, &other, 2, 1)), "receipt.lease");
    let mut other = receipt.clone();
    other.network = NetworkId([1; 32]);
    assert_eq!(m.refused(m.capture_of(2, &other, 2, 1)), "receipt.wrong_mesh");
    let by_third = m.receipt(3, 1, 1, 50);
    assert_eq!(m.refused(m.capture_of(2, &by_third, 3, 1)), "receipt.worker");
    let for_third = m.receipt(2, 3, 1, 50);
    assert_eq!(m.refused(m.capture_of(2, &for_third, 2, 3)), "receipt.submitter");
    assert_eq!(m.refused(m.capture_of(2, &receipt, 3, 1)), "receipt.signature");
    assert_eq!(m.refused(m.capture_of(2, &receipt, 2, 3)), "receipt.signature");

    assert_eq!(m.ok(m.capture(2, 1, 1, 50)).paid, MicroCpt(50));
    assert_eq!((m.free(1), m.free(2)), (9_950, 10_050));
    let by_payer = m.capture_of(1, &receipt, 2, 1);
    assert_eq!(m.ok(by_payer).paid, MicroCpt(50), "both may send it");
    assert_eq!((m.free(1), m.free(2)), (9_950, 10_050));
    let mut higher = receipt;
    (higher.sequence, higher.amount) = (4, MicroCpt(60));
    assert_eq!(m.refused(m.capture_of(2, &higher, 2, 1)), "hold.captured");
    assert_eq!(m.refused(m.release(2, 1)), "hold.captured");

    m.ok(m.hold(1, 2, 2, 100));
    m.ok(m.release(2, 2));
    m.ok(m.release(2, 2));
    assert_eq!(m.refused(m.capture(2, 1, 2, 1)), "hold.released");
    m.ok(m.hold(1, 2, 3, 100));
    m.now += HOUR;
    assert_eq!(m.refused(m.capture(2, 1, 3, 1)), "hold.expired");
    assert!(m.events.contains(&Event::Expired { hold: hold_id(3) }));
    assert_eq!(m.free(1), 9_950);
    m.check_replay();
}

#[test]
fn a_node_signs_only_what_it_may_and_while_it_may() {
    let mut m = Mesh::with_members(2);
    let by_node = |m: &mut Mesh, by: u8, of: u8, body| {
        let id = m.fresh();
        let command = m.command(by, id, body);
        let signed = Signed::sign(&machine(of), &command).unwrap();
        code(m.send(&signed).outcome)
    };
    let body = m.hold(1, 2, 1, 10).1;
    assert_eq!(by_node(&mut m, 1, 1, body), "accepted");
    let body = m.hold(1, 2, 2, 10).1;
    assert_eq!(by_node(&mut m, 1, 2, body), "command.signer", "another's node");
    let body = m.transfer(1, 2, 1).1;
    assert_eq!(
        by_node(&mut m, 1, 1, body),
        "command.signer",
        "money moves by account key"
    );
    let body = m.release(2, 1).1;
    assert_eq!(by_node(&mut m, 2, 2, body), "accepted");

    m.ok(m.hold(1, 2, 9, 10));
    m.ok(m.remove(1, 1));
    let body = m.hold(1, 2, 3, 10).1;
    assert_eq!(by_node(&mut m, 1, 1, body), "command.signer", "removed");
    let earned = m.capture(2, 1, 9, 5);
    assert_eq!(
        m.ok(earned).paid,
        MicroCpt(5),
        "a removal does not cheat the worker"
    );

    let renew = |m: &Mesh, by: u8, of: u8, until: u64| {
        let delegation = m.delegation(by, of, until);
        (by, CommandBody::Delegate { delegation })
    };
    let soon = m.now + 1000;
    m.ok(renew(&m, 2, 2, soon));
    m.now = soon;
    m.tick();
    let body = m.hold(2, 1, 4, 10).1;
    assert_eq!(by_node(&mut m, 2, 2, body), "command.signer", "delegation ended");
    let gone = m.state.credential_for(&node(2), Timestamp(m.now)).unwrap_err();
    assert_eq!(gone.code, "delegation.expired");
    assert_eq!(m.refused(renew(&m, 2, 2, m.now)), "delegation.expired");
    assert_eq!(m.refused(renew(&m, 2, 5, m.now + 5)), "node.unknown");
    assert_eq!(m.refused(renew(&m, 2, 0, m.now + 5)), "node.not_yours");
    let (_, others) = renew(&m, 1, 2, m.now + 5);
    assert_eq!(m.refused((2, others)), "delegation.invalid");
    m.ok(renew(&m, 2, 2, m.now + HOUR));
    let body = m.hold(2, 1, 5, 10).1;
    assert_eq!(by_node(&mut m, 2, 2, body), "accepted");
    // A founding authority needs the founder's word before it signs for the founder.
    let body = m.hold(0, 1, 6, 10).1;
    assert_eq!(by_node(&mut m, 0, 0, body), "command.signer");
    m.ok(renew(&m, 0, 0, m.now + HOUR));
    let body = m.hold(0, 1, 6, 10).1;
    assert_eq!(by_node(&mut m, 0, 0, body), "accepted");
    m.check_replay();
}

#[test]
fn tickets() {
    let mut m = Mesh::with_members(1);
    assert_eq!(m.refused(m.join(2, 2, 1)), "ticket.unknown");
    m.ok(m.invite(1, 1, 2, 100));
    assert_eq!(m.refused(m.invite(1, 1, 2, 100)), "invite.exists");
    let (by, mut body) = m.join(2, 2, 1);
    if let CommandBody::Join { secret, .. } = &mut body {
        *secret = [0; 16];
    }
    assert_eq!(m.refused((by, body)), "ticket.unknown");
    let (by, mut body) = m.join(2, 2, 1);
    if let CommandBody::Join { delegation, .. } = &mut body {
        *delegation = m.delegation(3, 2, m.now + 5);
    }
    assert_eq!(m.refused((by, body)), "delegation.invalid");
    let of_another = Delegation {
        network: m.network,
        account: account(3),
        node: node(2),
        expires: Timestamp(m.now + 5),
    };
    let (by, mut body) = m.join(2, 2, 1);
    if let CommandBody::Join { delegation, .. } = &mut body {
        *delegation = Signed::sign(&owner(2), &of_another).unwrap();
    }
    assert_eq!(m.refused((by, body)), "delegation.invalid");
    let (by, mut body) = m.join(2, 2, 1);
    if let CommandBody::Join { delegation, .. } = &mut body {
        *delegation = m.delegation(2, 2, m.now);
    }
    assert_eq!(m.refused((by, body)), "delegation.expired");
    assert_eq!(m.refused(m.join(2, 1, 1)), "node.taken", "node 1 is account 1's");

    m.ok(m.join(2, 2, 1));
    assert_eq!((m.free(1), m.free(2)), (9_800, 100));
    m.ok(m.join(2, 2, 1));
    assert_eq!(m.free(2), 100, "coming back costs and gives nothing");
    m.ok(m.join(3, 3, 1));
    assert_eq!(m.refused(m.join(4, 4, 1)), "ticket.used");
    m.ok(m.join(3, 3, 1));
    assert_eq!((m.free(1), m.free(3)), (9_800, 100));

    m.ok(m.invite(1, 2, 5, 100));
    assert_eq!(m.free(1), 9_300);
    m.ok(m.join(4, 4, 2));
    let revoke = |by: u8, n: u8| {
        let invite = invite_id(n);
        (by, CommandBody::RevokeInvite { invite })
    };
    assert_eq!(m.refused(revoke(2, 2)), "invite.not_yours");
    assert_eq!(m.refused(revoke(2, 77)), "invite.unknown");
    m.ok(revoke(1, 2));
    m.ok(revoke(1, 2));
    assert_eq!(m.refused(revoke(1, 1)), "ticket.used");
    assert_eq!(m.free(1), 9_700);
    assert_eq!(m.refused(m.join(5, 5, 2)), "ticket.revoked");
    assert_eq!(m.refused(m.join(4, 4, 2)), "ticket.revoked");

    m.ok(m.invite(1, 3, 1, 100));
    let late = m.join(5, 5, 3);
    m.now += 24 * HOUR;
    assert_eq!(m.refused(late), "ticket.expired");
    assert_eq!(m.free(1), 9_700);
    m.now += 8 * 24 * HOUR;
    let late = m.join(5, 5, 3);
    assert_eq!(m.refused(late), "ticket.unknown", "forgotten after a week");
    m.check_replay();
}

#[test]
fn invitations_give_away_only_what_their_maker_may() {
    let mut m = Mesh::with_members(1);
    let expiring = |m: &Mesh, at: u64| {
        let (by, mut body) = m.invite(1, 1, 1, 0);
        if let CommandBody::Invite { expires, .. } = &mut body {
            *expires = Timestamp(at);
        }
        (by, body)
    };
    assert_eq!(m.refused(expiring(&m, m.now)), "invite.expiry");
    let far = m.now + MAX_INVITE_LIFE.0 + 1;
    assert_eq!(m.refused(expiring(&m, far)), "invite.expiry");
    let as_of = |m: &Mesh, by, role, score| m.invite_as(by, 1, 1, 0, role, score);
    assert_eq!(m.refused(as_of(&m, 1, Role::Authority, 50)), "invite.role");
    assert_eq!(m.refused(as_of(&m, 1, Role::Worker, 51)), "invite.score");
    m.ok(m.set_score(0, 1, 80));
    assert_eq!(m.refused(as_of(&m, 1, Role::Worker, 60)), "invite.score");
    m.ok(m.set_score(0, 1, 100));
    assert_eq!(m.refused(as_of(&m, 1, Role::Worker, 101)), "invite.score");
    m.ok(as_of(&m, 1, Role::Worker, 90));
    m.ok(m.set_score(0, 1, 30));
    m.ok(m.join(2, 2, 1));
    assert_eq!(m.score(2), 30, "no better than its maker is by then");
    m.ok(m.invite_as(0, 2, 1, 0, Role::Authority, 700));
    m.ok(m.join(3, 3, 2));
    assert_eq!(m.score(3), 700);
    m.ok(m.invite(0, 3, 1, 0));
    m.ok(m.join(3, 4, 3));
    assert_eq!(m.score(3), 700, "a second machine changes no score");
    m.check_replay();
}

#[test]
fn an_account_has_only_so_many_nodes() {
    let mut m = Mesh::new();
    m.ok(m.invite(0, 1, 2000, 0));
    let mut codes = Vec::new();
    for n in 0..=MAX_NODES_PER_ACCOUNT {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&(n as u64).to_le_bytes());
        let delegation = Delegation {
            network: m.network,
            account: account(1),
            node: NodeId(key),
            expires: Timestamp(m.now + HOUR),
        };
        let (by, mut body) = m.join(1, 1, 1);
        if let CommandBody::Join { delegation: d, .. } = &mut body {
            *d = Signed::sign(&owner(1), &delegation).unwrap();
        }
        let id = m.fresh();
        let signed = Signed::sign(&owner(by), &m.command(by, id, body)).unwrap();
        let v = hive_state::Verified::trusted(&signed, m.network).unwrap();
        let prepared = hive_state::Prepared::Command(Box::new(v));
        let next = m.state.next_index();
        codes.push(code(m.state.apply(next, Timestamp(m.now), &prepared).outcome));
    }
    m.state.check_invariants().unwrap();
    assert_eq!(codes.pop().unwrap(), "member.full");
    assert!(codes.iter().all(|c| c == "accepted"));
}

#[test]
fn members_and_scores() {
    let mut m = Mesh::with_members(2);
    assert_eq!(m.refused(m.set_score(1, 1, 100)), "command.founder_only");
    assert_eq!(m.refused(m.set_score(0, 9, 100)), "wallet.unknown_account");
    assert_eq!(m.refused(m.remove(1, 2)), "node.not_yours");
    assert_eq!(m.refused(m.remove(1, 9)), "node.unknown");
    assert_eq!(m.refused(m.remove(0, 9)), "node.unknown");
    assert_eq!(m.refused(m.remove(0, 0)), "node.authority");
    m.ok(m.remove(0, 2));
    let gone = m.state.credential_for(&node(2), Timestamp(m.now));
    assert_eq!(gone.unwrap_err().code, "node.unknown");
    assert_eq!(m.free(2), 10_000, "the account stays");
    // What a removed node signed is paid for as long as a hold can last, and no longer.
    m.now += MAX_HOLD_LIFE.0 - 1;
    m.ok(m.hold(1, 2, 1, 10));
    m.ok(m.capture(2, 1, 1, 5));
    m.ok(m.hold(1, 2, 2, 10));
    m.now += 1;
    assert_eq!(m.refused(m.capture(2, 1, 2, 5)), "receipt.worker");
    m.ok(m.invite(0, 7, 1, 0));
    m.ok(m.join(1, 2, 7));
    assert_eq!(m.state.node(&node(2)).unwrap().account, account(1));
    m.check_replay();
}

#[test]
fn the_log_goes_forward_only() {
    let mut m = Mesh::with_members(1);
    let tick = hive_state::Prepared::Tick;
    let next = m.state.next_index();
    let again = m.state.apply(next - 1, Timestamp(m.now), &tick);
    assert_eq!(code(again.outcome), "log.order");
    let genesis = hive_state::Prepared::Genesis(genesis().encode().unwrap());
    let again = m.state.apply(next, Timestamp(m.now), &genesis);
    assert_eq!(code(again.outcome), "log.genesis");
    m.now += 10 * HOUR;
    m.tick();
    let latest = m.state.now();
    m.now -= 9 * HOUR;
    m.tick();
    assert_eq!(m.state.now(), latest, "time does not go back");
    let old = m.hold(1, 0, 1, 5);
    assert_eq!(m.refused(old), "command.expired", "by the state's clock");
    assert_eq!(
        code(m.state.replay(1 << 20, latest, b"nonsense").outcome),
        "log.entry"
    );
}

#[test]
fn bad_genesis_documents() {
    let good = genesis();
    let founds = |g: &hive_protocol::genesis::Genesis| State::genesis(&g.encode().unwrap()).is_ok();
    assert!(founds(&good));
    let mut bad = vec![good.clone(); 7];
    bad[0].name.clear();
    bad[1].name = "x".repeat(65);
    bad[2].authorities.clear();
    bad[3].authorities = vec![node(0), node(1)];
    bad[4].authorities = vec![node(0), node(1), node(0)];
    bad[5].minted = MicroCpt(u64::MAX);
    bad[6].default_score = 1001;
    for (i, g) in bad.iter().enumerate() {
        assert!(!founds(g), "{i}");
    }
    assert!(State::genesis(b"").is_err());
    let bytes = good.encode().unwrap();
    for cut in 0..bytes.len() {
        assert!(State::genesis(&bytes[..cut]).is_err());
    }
}
