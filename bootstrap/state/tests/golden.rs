//! Golden bytes of the payload of a ledger record. A log is kept for years: what was written must stay readable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

#[path = "../../../protocol/tests/kept/mod.rs"]
mod kept;
#[path = "../../../protocol/tests/seen/mod.rs"]
mod seen;

use hive_protocol::{
    codec::ENVELOPE_LEN,
    command::{Command, CommandBody},
    ids::{AccountId, CommandId, NetworkId},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    time::Timestamp,
};
use hive_state::Entry;

fn samples() -> Vec<(&'static str, Entry)> {
    let key = SecretKey::from_seed(&[3; 32]);
    let command = Command {
        network: NetworkId([9; 32]),
        account: AccountId(key.public()),
        id: CommandId([8; 16]),
        not_after: Timestamp(1_700_000_060_000),
        body: CommandBody::Transfer {
            to: AccountId([1; 32]),
            amount: MicroCpt(5),
            memo: "hi".into(),
        },
    };
    vec![
        ("entry_genesis", Entry::Genesis(vec![1, 2, 3])),
        (
            "entry_command",
            Entry::Command(Signed::sign(&key, &command).unwrap()),
        ),
        ("entry_tick", Entry::Tick),
    ]
}

#[test]
fn every_entry_of_the_ledger_has_its_golden_bytes() {
    let seen = seen::Seen::default();
    for (name, entry) in samples() {
        let bytes = entry.encode().unwrap();
        kept::compare(name, &bytes);
        assert_eq!(Entry::decode(&bytes).unwrap(), entry, "{name}");
        seen.look::<Entry>(&bytes[ENVELOPE_LEN..]);
    }
    let missing = seen.missing();
    assert!(missing.is_empty(), "in no golden file: {missing:?}");
    assert!(seen.enums().contains("Entry"));
    kept::none_but(&samples().iter().map(|s| s.0).collect::<Vec<_>>());
}
