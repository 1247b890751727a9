//! Samples of what is asked of an authority, and of what it answers.

use super::{
    NET, Sample, command, countersigned, grant, heartbeat, key, message, signed_credential, variant,
};
use hive_protocol::{
    authority::*, command::*, credential::*, ids::*, keys::Signed, money::*, resources::*, time::Timestamp,
};

pub(super) fn all() -> Vec<Sample> {
    let accepted = Answer::Done(Done {
        id: CommandId([8; 16]),
        index: 42,
        grant: Some(Signed::sign(&key(1), &grant()).unwrap()),
        paid: MicroCpt(0),
    });
    let hold = |state| HoldView {
        hold: HoldId([4; 16]),
        lease: LeaseId([5; 16]),
        payer: AccountId([6; 32]),
        payee: AccountId([7; 32]),
        amount: MicroCpt(20),
        expires: Timestamp(9),
        state,
    };
    let account = Answer::Account(AccountView {
        account: AccountId([6; 32]),
        available: MicroCpt(10),
        held: MicroCpt(20),
        score: 71,
        tier: Tier::Normal,
        reasons: vec![ScoreChange {
            time: Timestamp(1),
            score: 71,
            reason: "paid work".into(),
        }],
        holds: vec![hold(HoldState::Captured(MicroCpt(5)))],
    });
    let node = NodeView {
        node: NodeId([1; 32]),
        account: AccountId([2; 32]),
        name: "blue-heron".into(),
        roles: vec![Role::Worker],
        score: 71,
        tier: Tier::Normal,
        online: true,
        last_seen: Timestamp(5),
        heartbeat: heartbeat(),
    };
    let other = |n, role, tier, score| NodeView {
        node: NodeId([n; 32]),
        roles: vec![role],
        score,
        tier,
        online: false,
        ..node.clone()
    };
    let others = vec![
        other(2, Role::Authority, Tier::High, 100),
        other(3, Role::Relay, Tier::Low, 7),
    ];
    let line = LedgerLine {
        index: 4,
        time: Timestamp(5),
        kind: "transfer".into(),
        other: Some(AccountId([3; 32])),
        delta: -5,
        available: MicroCpt(95),
        note: "for lunch".into(),
    };
    let ask = |name, body| variant(name, &Request { number: 9, body });
    let say = |name, body| variant(name, &Response { number: 9, body });
    vec![
        message(
            "authority_request",
            &Request {
                number: 1,
                body: Ask::Heartbeat(heartbeat()),
            },
        ),
        variant(
            "authority_request_submit",
            &Request {
                number: 2,
                body: Ask::Submit(
                    Signed::sign(
                        &key(3),
                        &command(CommandBody::Capture {
                            receipt: countersigned(),
                        }),
                    )
                    .unwrap(),
                ),
            },
        ),
        variant(
            "authority_request_history",
            &Request {
                number: 3,
                body: Ask::History {
                    account: AccountId([1; 32]),
                    before: u64::MAX,
                    limit: 50,
                },
            },
        ),
        variant(
            "authority_request_nodes",
            &Request {
                number: 4,
                body: Ask::Nodes {
                    after: Some(NodeId([1; 32])),
                },
            },
        ),
        message(
            "authority_response",
            &Response {
                number: 1,
                body: accepted,
            },
        ),
        variant(
            "authority_response_account",
            &Response {
                number: 2,
                body: account,
            },
        ),
        variant(
            "authority_response_nodes",
            &Response {
                number: 3,
                body: Answer::Nodes(vec![node]),
            },
        ),
        variant(
            "authority_response_history",
            &Response {
                number: 4,
                body: Answer::History(vec![line]),
            },
        ),
        variant(
            "authority_response_refused",
            &Response {
                number: 5,
                body: Answer::Refused(Refusal::new("wallet.insufficient", "have 1")),
            },
        ),
        variant(
            "authority_response_totals",
            &Response {
                number: 6,
                body: Answer::Totals(Totals {
                    network: NET,
                    minted: MicroCpt(100),
                    available: MicroCpt(90),
                    held: MicroCpt(10),
                    accounts: 3,
                    entries: 12,
                    invites: vec![InviteId([1; 16])],
                }),
            },
        ),
        ask("authority_request_renew", Ask::Renew),
        ask("authority_request_account", Ask::Account(AccountId([1; 32]))),
        ask("authority_request_totals", Ask::Totals),
        ask("authority_request_hold", Ask::Hold(HoldId([4; 16]))),
        say(
            "authority_response_credential",
            Answer::Credential(signed_credential()),
        ),
        say("authority_response_heard", Answer::Heard),
        say("authority_response_hold", Answer::Hold(hold(HoldState::Pending))),
        say(
            "authority_response_hold_released",
            Answer::Hold(hold(HoldState::Released)),
        ),
        say(
            "authority_response_hold_expired",
            Answer::Hold(hold(HoldState::Expired)),
        ),
        say("authority_response_nodes_roles", Answer::Nodes(others)),
    ]
}
