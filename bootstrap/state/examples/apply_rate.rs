//! How many commands a second the state machine applies: holds and captures with signatures already checked, as on
//! the authority's loop, and how long checking one command's signature takes.
//!
//! `cargo run --release -p hive-state --example apply_rate`
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use hive_protocol::{
    command::{Command, CommandBody},
    credential::Delegation,
    genesis::Genesis,
    ids::{AccountId, CommandId, HoldId, InviteId, LeaseId, NodeId},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    receipt::{Countersigned, Receipt},
    resources::{Capabilities, Role},
    ticket::Ticket,
    time::Timestamp,
};
use hive_state::{Prepared, State, Verified, verify};
use std::time::Instant;

const N: u64 = 50_000;
const NOW: u64 = 1_000_000;

fn id(n: u64) -> [u8; 16] {
    let mut out = [0; 16];
    // Spread, as random ids are.
    out[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    out[8..].copy_from_slice(&n.to_le_bytes());
    out
}

fn main() {
    let founder = SecretKey::from_seed(&[1; 32]);
    let worker = SecretKey::from_seed(&[2; 32]);
    let machine = SecretKey::from_seed(&[3; 32]);
    let genesis = Genesis {
        name: "rate".into(),
        nonce: [0; 16],
        created: Timestamp(NOW),
        authorities: vec![NodeId(SecretKey::from_seed(&[9; 32]).public())],
        founder: AccountId(founder.public()),
        minted: MicroCpt::cpt(1_000_000),
        default_score: 50,
    };
    let submitter = SecretKey::from_seed(&[9; 32]);
    let mut state = State::genesis(&genesis.encode().unwrap()).unwrap();
    let network = state.network();
    let sign = |by: &SecretKey, n: u64, body: CommandBody| {
        let command = Command {
            network,
            account: AccountId(by.public()),
            id: CommandId(id(n)),
            not_after: Timestamp(NOW + 60_000),
            body,
        };
        Signed::sign(by, &command).unwrap()
    };
    let delegation = Delegation {
        network,
        account: AccountId(worker.public()),
        node: NodeId(machine.public()),
        expires: Timestamp(u64::MAX),
    };
    let setup = [
        sign(
            &founder,
            1 << 40,
            CommandBody::Invite {
                invite: InviteId([1; 16]),
                secret_hash: Ticket::secret_hash(&[1; 16]),
                role: Role::Worker,
                score: 50,
                grant: MicroCpt(0),
                uses: 1,
                expires: Timestamp(NOW + 1000),
            },
        ),
        sign(
            &worker,
            1 << 41,
            CommandBody::Join {
                invite: InviteId([1; 16]),
                secret: [1; 16],
                delegation: Signed::sign(&worker, &delegation).unwrap(),
                name: "w".into(),
                capabilities: Capabilities::default(),
            },
        ),
    ];
    for signed in &setup {
        let v = verify(signed, network).unwrap();
        let next = state.next_index();
        let applied = state.apply(next, Timestamp(NOW), &Prepared::Command(Box::new(v)));
        applied.outcome.unwrap();
    }

    let prepared: Vec<(Signed<Command>, Prepared)> = (0..N)
        .flat_map(|n| {
            let (hold, lease) = (HoldId(id(n)), LeaseId(id(n)));
            let receipt = Receipt {
                network,
                lease,
                hold,
                worker: NodeId(machine.public()),
                submitter: NodeId(submitter.public()),
                sequence: 1,
                tasks: 100,
                fuel: 1,
                amount: MicroCpt(50),
                time: Timestamp(NOW),
            };
            let receipt = Signed::sign(&machine, &receipt).unwrap();
            let receipt = Countersigned::sign(&submitter, receipt);
            [
                sign(
                    &founder,
                    2 * n,
                    CommandBody::Hold {
                        hold,
                        lease,
                        payee: AccountId(worker.public()),
                        amount: MicroCpt(100),
                        expires: Timestamp(NOW + 50_000),
                    },
                ),
                sign(&worker, 2 * n + 1, CommandBody::Capture { receipt }),
            ]
        })
        .map(|signed| {
            let v = Verified::trusted(&signed, network).unwrap();
            (signed, Prepared::Command(Box::new(v)))
        })
        .collect();

    let start = Instant::now();
    for (_, command) in &prepared {
        let next = state.next_index();
        let applied = state.apply(next, Timestamp(NOW), command);
        applied.outcome.unwrap();
    }
    let took = start.elapsed();
    state.check_invariants().unwrap();
    println!(
        "{N} holds and {N} captures applied in {took:?}: {:.0} commands/s",
        2.0 * N as f64 / took.as_secs_f64()
    );

    let start = Instant::now();
    for (signed, _) in prepared.iter().take(4000) {
        verify(signed, network).unwrap();
    }
    println!(
        "verify: {:?} a command (holds have 1 signature, captures 3)",
        start.elapsed() / 4000
    );

    let start = Instant::now();
    let bytes = state.export().unwrap();
    println!("snapshot: {} KB in {:?}", bytes.len() >> 10, start.elapsed());
}
