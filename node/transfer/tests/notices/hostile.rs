//! Floods and lies: one peer cannot take the room of others, and nothing it says moves what is not its own.

use crate::{
    cases::{file, notice},
    host::{EPOCH, node},
};
use hive_protocol::{
    ids::NoticeId,
    notice::{DeliveryState, NoticeBody},
    time::{Millis, Timestamp},
};
use hive_transfer::notices::{
    inbox::{self, Inbox, MAX_ENDED, MAX_OPEN_OF_ONE, MAX_SEEN_OF_ONE},
    outbox::{self, Outbox},
    policy::Policy,
};

const NOW: Timestamp = Timestamp(EPOCH);

fn drain(inbox: &mut Inbox) {
    while inbox.poll_effect().is_some() {}
}

#[test]
fn a_flood_of_texts_stops_at_its_senders_bound() {
    let mut inbox = Inbox::new(inbox::Config::new(node(2)), Policy::default(), 1);
    for n in 0..u32::try_from(MAX_SEEN_OF_ONE).unwrap() + 500 {
        let n = notice(n, 1, &[2], NoticeBody::Text("x".into()));
        inbox.handle(NOW, inbox::Input::Notice(Box::new(n), None));
        drain(&mut inbox);
    }
    assert_eq!(inbox.seen(), MAX_SEEN_OF_ONE);
    assert_eq!(inbox.list().len(), MAX_ENDED);
    inbox.check_invariants().unwrap();
    let other = notice(1, 3, &[2], NoticeBody::Text("x".into()));
    inbox.handle(NOW, inbox::Input::Notice(Box::new(other.clone()), None));
    assert!(inbox.show((node(3), other.id)).is_some());
}

#[test]
fn a_flood_of_files_leaves_room_for_others() {
    let mut inbox = Inbox::new(inbox::Config::new(node(2)), Policy::default(), 1);
    for n in 0..1000 {
        let n = notice(n, 1, &[2], file(1 << 50, None));
        inbox.handle(NOW, inbox::Input::Notice(Box::new(n), None));
        drain(&mut inbox);
    }
    // Too large ones are declined at once and are no longer open.
    assert_eq!(inbox.list().len(), 1000);
    for n in 1000..2000 {
        let n = notice(n, 1, &[2], file(1, None));
        inbox.handle(NOW, inbox::Input::Notice(Box::new(n), None));
        drain(&mut inbox);
    }
    let open = inbox
        .list()
        .iter()
        .filter(|v| matches!(v.state, inbox::InState::Waiting(_)))
        .count();
    assert!(open <= MAX_OPEN_OF_ONE, "{open}");
    let other = notice(1, 3, &[2], file(1, None));
    inbox.handle(NOW, inbox::Input::Notice(Box::new(other.clone()), None));
    assert!(inbox.show((node(3), other.id)).is_some());
    inbox.check_invariants().unwrap();
}

#[test]
fn mail_of_one_who_is_no_authority_is_not_read() {
    let mut inbox = Inbox::new(inbox::Config::new(node(2)), Policy::default(), 1);
    inbox.handle(NOW, inbox::Input::Authorities(vec![node(0)]));
    drain(&mut inbox);
    let n = notice(1, 1, &[2], NoticeBody::Text("x".into()));
    for (from, taken) in [(5, false), (0, true)] {
        let (from, notices) = (node(from), vec![(n.clone(), None)]);
        inbox.handle(
            NOW,
            inbox::Input::Mail {
                from,
                notices,
                useless: Vec::new(),
                end: false,
            },
        );
        assert_eq!(inbox.show((node(1), n.id)).is_some(), taken);
    }
}

#[test]
fn answers_nobody_asked_for_change_nothing() {
    let mut outbox = Outbox::new(outbox::Config::new(node(1)), 1);
    outbox.handle(NOW, outbox::Input::Authorities(vec![node(0)]));
    let n = notice(1, 1, &[2], NoticeBody::Text("x".into()));
    let signed = hive_protocol::keys::Signed::sign(&crate::host::key(1), &n).unwrap();
    outbox.handle(NOW, outbox::Input::Send(Box::new((n.clone(), signed))));
    let before = outbox.show(NOW, n.id);
    for from in [node(0), node(5)] {
        for id in [n.id, NoticeId([9; 16])] {
            let state = DeliveryState::Done;
            outbox.handle(NOW, outbox::Input::State { from, id, state });
            let kept = vec![node(2), node(7)];
            outbox.handle(
                NOW,
                outbox::Input::Deposited {
                    from,
                    id,
                    kept,
                    refused: None,
                },
            );
            outbox.handle(
                NOW,
                outbox::Input::Noted {
                    from,
                    ids: vec![id; 100],
                },
            );
            outbox.handle(NOW, outbox::Input::LinkBroken(from));
        }
    }
    outbox.check_invariants().unwrap();
    assert_eq!(outbox.show(NOW, n.id), before);
    // A final state stays final.
    let done = DeliveryState::Done;
    outbox.handle(
        NOW,
        outbox::Input::State {
            from: node(2),
            id: n.id,
            state: done.clone(),
        },
    );
    let late = DeliveryState::Failed("x".repeat(100_000));
    outbox.handle(
        NOW + Millis(5),
        outbox::Input::State {
            from: node(2),
            id: n.id,
            state: late,
        },
    );
    let view = outbox.show(NOW, n.id).unwrap();
    assert_eq!(view.to[0].standing, outbox::Standing::At(done));
}
