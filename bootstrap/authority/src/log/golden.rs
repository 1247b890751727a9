//! Golden bytes of what the log has on disk around its payloads: a log is kept for years, and another program than
//! the one that wrote it will read it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../../protocol/tests/kept/mod.rs"]
mod kept;

use super::{mark, record, segment};
use hive_protocol::{ids::NetworkId, time::Timestamp};

const NET: NetworkId = NetworkId([9; 32]);

#[test]
fn records_segments_and_marks_have_their_golden_bytes() {
    let head = record::Head {
        network: NET,
        term: 1,
        index: 7,
        time: Timestamp(1_700_000_000_000),
        durable: 6,
        prev: [5; 32],
    };
    let mut bytes = Vec::new();
    let hash = record::encode(&mut bytes, &head, b"payload").unwrap();
    kept::compare("ledger_record", &bytes);
    let (read, len) = record::parse(&bytes).unwrap();
    assert_eq!(
        (read.hash, read.payload, len),
        (hash, b"payload".as_slice(), bytes.len())
    );

    let head = segment::SegmentHead {
        network: NET,
        first: 4711,
        prev: [5; 32],
    };
    let bytes = segment::encode(&head);
    kept::compare("ledger_segment", &bytes);
    assert_eq!(segment::parse(&bytes).unwrap(), head);
    assert_eq!(segment::name(4711), "log-00000000000000004711.seg");

    let newest = mark::Mark {
        sequence: 3,
        next: 8,
        hash: [6; 32],
    };
    let bytes = mark::encode(NET, &newest);
    kept::compare("ledger_mark", &bytes);
    assert_eq!(mark::parse(&bytes, NET), Some(newest));
    kept::none_but(&["ledger_record", "ledger_segment", "ledger_mark"]);
}
