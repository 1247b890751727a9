//! Samples of what moves files (content, manifests, notices, file tickets) and of what keeps the mesh together.

use super::{NET, Sample, document, key, message, variant};
use hive_protocol::{
    blob::*,
    bulk::*,
    codec::CodecError,
    command::Refusal,
    file::*,
    gossip::{Announcement, PRESENCE},
    ids::*,
    keys::Signed,
    manifest::*,
    notice::*,
    reach::*,
    share::FileTicket,
    time::Timestamp,
};

fn malformed(what: &'static str, e: &dyn std::fmt::Display) -> CodecError {
    CodecError::Malformed {
        what,
        detail: e.to_string(),
    }
}

fn notice(body: NoticeBody) -> Notice {
    Notice {
        id: NoticeId([6; 16]),
        network: NET,
        from: NodeId(key(1).public()),
        to: vec![NodeId([2; 32]), NodeId([3; 32])],
        body,
        priority: Priority::Interactive,
        created: Timestamp(1_700_000_000_000),
        expires: Timestamp(1_700_000_600_000),
    }
}

fn file_notice(sync: Option<SyncState>) -> NoticeBody {
    NoticeBody::File(FileNotice {
        root: BlobHash([4; 32]),
        folder: true,
        size: 1 << 33,
        files: 12,
        name: "models".into(),
        sync,
    })
}

fn manifest() -> Manifest {
    let entry = |path: &str, kind| Entry {
        path: path.into(),
        kind,
        mode: 0o640,
        mtime_ns: -5,
    };
    let file = EntryKind::File {
        hash: BlobHash([4; 32]),
        size: 77,
    };
    let link = EntryKind::Link {
        target: "../b".into(),
    };
    Manifest::new(vec![
        entry("a", EntryKind::Folder),
        entry("a/l", link),
        entry("b", file),
    ])
    .unwrap()
}

pub(super) fn all() -> Vec<Sample> {
    let (hash, via) = (BlobHash([1; 32]), Via::Root(BlobHash([2; 32])));
    let mut all = vec![
        message(
            "file_request",
            &FileRequest::Have {
                hash,
                via,
                seen: 7,
                wait_ms: 5000,
            },
        ),
        variant(
            "file_request_tree",
            &FileRequest::Tree {
                hash,
                via,
                max_size: 1 << 40,
            },
        ),
        variant(
            "file_request_segment",
            &FileRequest::Segment {
                hash,
                via: Via::Lease(LeaseId([5; 16])),
                segment: 9,
                mask: 0xff,
                hashes: true,
            },
        ),
        variant(
            "file_request_many",
            &FileRequest::Many {
                via,
                hashes: vec![hash; 3],
            },
        ),
        variant("file_request_chunks", &FileRequest::Chunks { hash, via }),
        message(
            "file_reply",
            &FileReply::Have {
                size: 10 << 20,
                whole: false,
                segments: vec![5],
                fetchers: vec![NodeId([3; 32])],
            },
        ),
        variant("file_reply_tree", &FileReply::Tree { size: 10 << 20 }),
        variant(
            "file_reply_segment",
            &FileReply::Segment {
                mask: 3,
                bytes: 131_072,
            },
        ),
        variant(
            "file_reply_many",
            &FileReply::Many {
                sizes: vec![5, u32::MAX],
            },
        ),
        variant("file_reply_chunks", &FileReply::Chunks { count: 4 }),
        variant("file_reply_not_found", &FileReply::NotFound),
        variant("file_reply_too_large", &FileReply::TooLarge { size: 9 }),
        variant("file_reply_changed", &FileReply::Changed),
        variant("file_reply_busy", &FileReply::Busy { retry_ms: 250 }),
        document("notice_text", &notice(NoticeBody::Text("back at noon".into()))),
        document(
            "notice_event",
            &notice(NoticeBody::Event {
                kind: "deploy".into(),
                data: "{}".into(),
            }),
        ),
        document("notice_file", &notice(file_notice(None))),
        document(
            "notice_normal",
            &Notice {
                priority: Priority::Normal,
                ..notice(NoticeBody::Text("as usual".into()))
            },
        ),
        document(
            "notice_bulk",
            &Notice {
                priority: Priority::Bulk,
                ..notice(NoticeBody::Text("some day".into()))
            },
        ),
    ];
    all.extend(transport());
    all.extend(notices());
    all.push(Sample {
        name: "manifest",
        bytes: manifest().encode().unwrap(),
        proto: None,
        again: |b| {
            let manifest = Manifest::decode(b).map_err(|e| malformed("manifest", &e))?;
            manifest.encode()
        },
        look: |b, seen| seen.look::<Manifest>(b),
    });
    let hints = vec![(NodeId([2; 32]), "/ip4/127.0.0.1/udp/4001/quic-v1".to_owned())];
    let ticket = FileTicket::new(NET, BlobHash([4; 32]), true, 1 << 33, "models".into(), hints);
    all.push(Sample {
        name: "file_ticket",
        bytes: ticket.to_string().into_bytes(),
        proto: None,
        again: |b| {
            let text = std::str::from_utf8(b).map_err(|e| malformed("file ticket", &e))?;
            let ticket: FileTicket = text.parse().map_err(|e| malformed("file ticket", &e))?;
            // Upper case is read too, so only the form that is written can come back as it was.
            let again = ticket.to_string();
            if again.eq_ignore_ascii_case(text.trim()) {
                Ok(b.to_vec())
            } else {
                Ok(again.into_bytes())
            }
        },
        look: |_, _| (),
    });
    all
}

fn notices() -> Vec<Sample> {
    let id = NoticeId([6; 16]);
    let state = |state| NoticeMsg::State { id, state };
    let sync = SyncState {
        sync: SyncId([8; 16]),
        seq: 3,
        previous: Some(BlobHash([5; 32])),
        versions: 2,
    };
    let signed = Signed::sign(&key(1), &notice(file_notice(Some(sync)))).unwrap();
    let deposit = NoticeMsg::Deposit {
        notice: signed.clone(),
        recipients: vec![NodeId([3; 32])],
    };
    let refused = NoticeMsg::Deposited {
        id,
        kept: vec![NodeId([3; 32])],
        refused: Some(Refusal::new("mailbox.full", "4096 notices")),
    };
    vec![
        message("notice_deliver", &NoticeMsg::Deliver(signed.clone())),
        variant(
            "notice_state",
            &state(DeliveryState::Pulling { done: 5, total: 9 }),
        ),
        variant(
            "notice_state_waiting",
            &state(DeliveryState::Waiting("until 22:00".into())),
        ),
        variant("notice_state_done", &state(DeliveryState::Done)),
        variant("notice_state_received", &state(DeliveryState::Received)),
        variant(
            "notice_state_declined",
            &state(DeliveryState::Declined("not asked for".into())),
        ),
        variant(
            "notice_state_failed",
            &state(DeliveryState::Failed("gone".into())),
        ),
        variant("notice_deposit", &deposit),
        variant("notice_deposited", &refused),
        variant("notice_collect", &NoticeMsg::Collect),
        variant("notice_mail", &NoticeMsg::Mail(vec![signed])),
        variant("notice_taken", &NoticeMsg::Taken(vec![id])),
        variant(
            "notice_withdraw",
            &NoticeMsg::Withdraw {
                id,
                recipients: vec![NodeId([3; 32])],
            },
        ),
        variant("notice_noted", &NoticeMsg::Noted(vec![id])),
    ]
}

fn transport() -> Vec<Sample> {
    vec![
        message(
            "blob_request",
            &BlobRequest {
                hash: BlobHash([1; 32]),
                lease: Some(LeaseId([5; 16])),
                max_size: 1 << 30,
            },
        ),
        message("blob_reply", &BlobReply::Found { size: 123_456 }),
        variant("blob_reply_not_found", &BlobReply::NotFound),
        variant("blob_reply_too_large", &BlobReply::TooLarge { size: 1 << 31 }),
        variant("blob_reply_busy", &BlobReply::Busy),
        message(
            "bulk_request",
            &BulkRequest::Ports {
                protocol: "/hive/pull/1".into(),
            },
        ),
        variant("bulk_request_enter", &BulkRequest::Enter { token: [7; 32] }),
        variant(
            "bulk_request_place",
            &BulkRequest::Place {
                with: NodeId([3; 32]),
            },
        ),
        variant(
            "bulk_request_come",
            &BulkRequest::Come {
                ports: vec![4002, 4003, 4004, 65_535],
                key: [7; 32],
                protocol: "/hive/pull/1".repeat(5) + "/123",
            },
        ),
        message(
            "bulk_reply",
            &BulkReply::Ports {
                ports: vec![4002, 4003],
                token: [7; 32],
            },
        ),
        variant("bulk_reply_welcome", &BulkReply::Welcome),
        variant("bulk_reply_off", &BulkReply::Off),
        variant("bulk_reply_not_served", &BulkReply::NotServed),
        variant("bulk_reply_busy", &BulkReply::Busy),
        variant(
            "bulk_reply_place",
            &BulkReply::Place {
                ports: vec![4002; 4],
                key: [7; 32],
                their_ports: vec![65_535; 4],
                their_key: [8; 32],
            },
        ),
        variant("bulk_reply_coming", &BulkReply::Coming { token: [9; 32] }),
        message("relay_ask", &hive_protocol::relay::RelayAsk { number: 7 }),
        message(
            "relay_info",
            &hive_protocol::relay::RelayInfo {
                number: 7,
                serving: true,
                reservations: 3,
                reservations_left: 1021,
                circuits: 2,
                circuits_left: 1022,
                bytes_left: Some(1 << 40),
                bytes_day: Some(1 << 41),
                rate: 1_000_000,
                rate_most: None,
            },
        ),
        message(
            "announcement",
            &Announcement::sign(&key(1), NET, PRESENCE, 7, vec![8, 0, 1, 0, 5]),
        ),
        message(
            "reach_ask",
            &ReachAsk::Another {
                addr: "/ip4/203.0.113.5/udp/4001/quic-v1".into(),
                known: vec![NodeId([1; 32]), NodeId([2; 32])],
            },
        ),
        variant(
            "reach_ask_dial",
            &ReachAsk::Dial {
                node: NodeId([3; 32]),
                addr: "/ip4/203.0.113.5/tcp/4001".into(),
            },
        ),
        message("reach_said", &ReachSaid::Reached { by: NodeId([4; 32]) }),
        variant(
            "reach_said_failed",
            &ReachSaid::Failed {
                by: NodeId([4; 32]),
                detail: "no answer".into(),
            },
        ),
        variant(
            "reach_said_refused",
            &ReachSaid::Refused {
                detail: "nobody to ask".into(),
            },
        ),
    ]
}
