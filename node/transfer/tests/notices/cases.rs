//! Single cases, by effects.

use crate::host::{EPOCH, NET, key, node};
use hive_protocol::{
    command::Refusal,
    credential::Tier,
    ids::{BlobHash, NodeId, NoticeId, SyncId},
    keys::Signed,
    notice::{DeliveryState, FileNotice, Notice, NoticeBody, NoticeMsg, Priority, SyncState},
    time::{Millis, Timestamp},
};
use hive_transfer::notices::{
    inbox::{self, InState, Inbox, News},
    outbox::{self, MAX_OPEN, Outbox, Standing},
    policy::{Accept, Open, Policy},
};

const NOW: Timestamp = Timestamp(EPOCH);

pub fn notice(n: u32, from: usize, to: &[usize], body: NoticeBody) -> Notice {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_le_bytes());
    let mut to: Vec<NodeId> = to.iter().map(|n| node(*n)).collect();
    to.sort();
    Notice {
        id: NoticeId(id),
        network: NET,
        from: node(from),
        to,
        body,
        priority: Priority::Normal,
        created: NOW,
        expires: NOW + Millis::hours(48),
    }
}

pub fn file(size: u64, sync: Option<u64>) -> NoticeBody {
    NoticeBody::File(FileNotice {
        root: BlobHash([1; 32]),
        folder: false,
        size,
        files: 1,
        name: "f".into(),
        sync: sync.map(|seq| SyncState {
            sync: SyncId([1; 16]),
            seq,
            previous: None,
            versions: 0,
        }),
    })
}

fn outbox() -> Outbox {
    let mut outbox = Outbox::new(outbox::Config::new(node(1)), 1);
    outbox.handle(NOW, outbox::Input::Authorities(vec![node(0)]));
    outbox
}

fn send(outbox: &mut Outbox, now: Timestamp, notice: &Notice) {
    let signed = Signed::sign(&key(1), notice).unwrap();
    outbox.handle(now, outbox::Input::Send(Box::new((notice.clone(), signed))));
}

/// What is said, in order.
fn said(outbox: &mut Outbox) -> Vec<(NodeId, NoticeMsg)> {
    outbox.check_invariants().unwrap();
    let effects = std::iter::from_fn(|| outbox.poll_effect());
    effects
        .filter_map(|e| match e {
            outbox::Effect::Say { to, msg } => Some((to, *msg)),
            _ => None,
        })
        .collect()
}

fn inbox(policy: Policy) -> Inbox {
    let mut inbox = Inbox::new(inbox::Config::new(node(2)), policy, 1);
    inbox.handle(
        NOW,
        inbox::Input::Surroundings {
            free: Some(10_000),
            minute: 720,
        },
    );
    inbox.handle(NOW, inbox::Input::PeerUp(node(1)));
    inbox
}

fn roomy() -> Policy {
    Policy {
        min_free: 0,
        ..Policy::default()
    }
}

fn come(inbox: &mut Inbox, now: Timestamp, notice: &Notice) -> Vec<inbox::Effect> {
    let input = inbox::Input::Notice(Box::new(notice.clone()), None);
    inbox.handle(now, input);
    effects(inbox)
}

fn effects(inbox: &mut Inbox) -> Vec<inbox::Effect> {
    inbox.check_invariants().unwrap();
    std::iter::from_fn(|| inbox.poll_effect()).collect()
}

fn state_of(inbox: &Inbox, notice: &Notice) -> InState {
    inbox.show((notice.from, notice.id)).unwrap().state
}

#[test]
fn a_silent_recipient_is_deposited_and_withdrawn_when_it_answers() {
    let mut outbox = outbox();
    let n = notice(1, 1, &[2], file(1, None));
    send(&mut outbox, NOW, &n);
    assert!(matches!(said(&mut outbox)[..], [(to, NoticeMsg::Deliver(_))] if to == node(2)));
    let later = NOW + Millis::secs(3);
    assert_eq!(outbox.poll_timeout(), Some(later));
    outbox.handle(later, outbox::Input::Tick);
    assert!(matches!(&said(&mut outbox)[..],
        [(to, NoticeMsg::Deposit { recipients, .. })] if *to == node(0) && *recipients == [node(2)]));
    let (from, id) = (node(0), n.id);
    let kept = vec![node(2)];
    outbox.handle(
        later,
        outbox::Input::Deposited {
            from,
            id,
            kept,
            refused: None,
        },
    );
    assert_eq!(outbox.show(later, id).unwrap().to[0].standing, Standing::Kept);
    let state = DeliveryState::Received;
    outbox.handle(
        later,
        outbox::Input::State {
            from: node(2),
            id,
            state,
        },
    );
    assert!(matches!(&said(&mut outbox)[..],
        [(to, NoticeMsg::Withdraw { recipients, .. })] if *to == node(0) && *recipients == [node(2)]));
    let state = DeliveryState::Done;
    outbox.handle(
        later,
        outbox::Input::State {
            from: node(2),
            id,
            state,
        },
    );
    assert!(matches!(&said(&mut outbox)[..], [(to, NoticeMsg::Noted(_))] if *to == node(2)));
    assert!(outbox.show(later, id).unwrap().ended);
}

#[test]
fn a_full_mailbox_is_asked_again_and_a_broken_link_deposits_at_once() {
    let mut outbox = outbox();
    let n = notice(1, 1, &[2], NoticeBody::Text("x".into()));
    send(&mut outbox, NOW, &n);
    said(&mut outbox);
    outbox.handle(NOW + Millis(100), outbox::Input::LinkBroken(node(2)));
    assert!(matches!(&said(&mut outbox)[..], [(_, NoticeMsg::Deposit { .. })]));
    let refused = Some(Refusal::new("mailbox.full", ""));
    let (from, id, kept) = (node(0), n.id, Vec::new());
    outbox.handle(
        NOW + Millis(200),
        outbox::Input::Deposited {
            from,
            id,
            kept,
            refused,
        },
    );
    said(&mut outbox);
    assert_eq!(outbox.show(NOW, id).unwrap().to[0].standing, Standing::Queued);
    let mut now = NOW;
    let mut again = false;
    while now < NOW + Millis::mins(15) {
        now = now + Millis::secs(1);
        outbox.handle(now, outbox::Input::Tick);
        again |= said(&mut outbox)
            .iter()
            .any(|(_, m)| matches!(m, NoticeMsg::Deposit { .. }));
    }
    assert!(again);
}

#[test]
fn nothing_is_said_after_expiry_and_a_clock_that_comes_back_goes_on() {
    let mut outbox = outbox();
    let n = notice(1, 1, &[2], NoticeBody::Text("x".into()));
    send(&mut outbox, NOW, &n);
    said(&mut outbox);
    outbox.handle(NOW + Millis(1), outbox::Input::LinkBroken(node(2)));
    said(&mut outbox);
    // The clock jumps a year ahead for half an hour.
    let mut ahead = NOW + Millis::hours(24 * 365);
    for _ in 0..30 {
        ahead = ahead + Millis::mins(1);
        outbox.handle(ahead, outbox::Input::PeerUp(node(2)));
        assert!(
            said(&mut outbox)
                .iter()
                .all(|(_, m)| !matches!(m, NoticeMsg::Deliver(_)))
        );
    }
    assert_eq!(
        outbox.show(ahead, n.id).unwrap().to[0].standing,
        Standing::Expired
    );
    let back = NOW + Millis::mins(31);
    let mut now = back;
    let mut delivered = false;
    while now < back + Millis::mins(25) {
        outbox.handle(now, outbox::Input::Tick);
        delivered |= said(&mut outbox)
            .iter()
            .any(|(_, m)| matches!(m, NoticeMsg::Deliver(_)));
        now = now + Millis::secs(10);
    }
    assert!(delivered);
}

#[test]
fn the_outbox_refuses_what_is_over_its_bound_and_dials_few_at_once() {
    let mut outbox = outbox();
    for n in 0..u32::try_from(MAX_OPEN).unwrap() {
        let to = 2 + usize::try_from(n % 40).unwrap();
        send(
            &mut outbox,
            NOW,
            &notice(n, 1, &[to], NoticeBody::Text("x".into())),
        );
        while outbox.poll_effect().is_some() {}
    }
    outbox.check_invariants().unwrap();
    let more = notice(u32::MAX, 1, &[2], NoticeBody::Text("x".into()));
    assert!(outbox.may_send(&more, 100).is_err());
    let sending = outbox
        .list(NOW)
        .iter()
        .filter(|v| v.to[0].sending)
        .map(|v| v.to[0].node)
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(sending.len(), outbox::MAX_DIALS);
}

#[test]
fn a_notice_is_taken_once_and_its_state_said_until_it_is_noted() {
    let mut inbox = inbox(roomy());
    let n = notice(1, 1, &[2], NoticeBody::Text("x".into()));
    let first = come(&mut inbox, NOW, &n);
    assert_eq!(
        first
            .iter()
            .filter(|e| matches!(e, inbox::Effect::Arrived(_)))
            .count(),
        1
    );
    // Writes come before the first word.
    let word = first
        .iter()
        .position(|e| matches!(e, inbox::Effect::Say { .. }))
        .unwrap();
    assert!(
        first[..word]
            .iter()
            .filter(|e| matches!(e, inbox::Effect::Write(_)))
            .count()
            >= 2
    );
    let again = come(&mut inbox, NOW, &n);
    assert!(again.iter().all(|e| matches!(e, inbox::Effect::Say { .. })));
    let due = inbox.poll_timeout().unwrap();
    inbox.handle(due, inbox::Input::Tick);
    let said = effects(&mut inbox);
    assert!(said.iter().any(|e| matches!(e, inbox::Effect::Say { msg, .. } if matches!(**msg, NoticeMsg::State { state: DeliveryState::Done, .. }))));
    inbox.handle(
        due,
        inbox::Input::Noted {
            from: node(1),
            ids: vec![n.id],
        },
    );
    effects(&mut inbox);
    for hour in 1..30 {
        inbox.handle(NOW + Millis::hours(hour), inbox::Input::Tick);
        assert!(
            effects(&mut inbox)
                .iter()
                .all(|e| !matches!(e, inbox::Effect::Say { .. }))
        );
    }
    assert!(
        come(&mut inbox, NOW, &n)
            .iter()
            .all(|e| !matches!(e, inbox::Effect::Arrived(_)))
    );
}

#[test]
fn every_rule_of_the_policy() {
    let judged = |policy: Policy, size: u64, tier: Option<Tier>| {
        let mut inbox = inbox(policy);
        let n = notice(1, 1, &[2], file(size, None));
        inbox.handle(NOW, inbox::Input::Notice(Box::new(n.clone()), tier));
        effects(&mut inbox);
        state_of(&inbox, &n)
    };
    let declined = |s: InState| matches!(s, InState::Declined(_));
    let nodes = |n: usize| Accept::Nodes([node(n)].into());
    assert!(declined(judged(
        Policy {
            accept: Accept::Nobody,
            ..roomy()
        },
        1,
        None
    )));
    assert!(declined(judged(
        Policy {
            accept: nodes(5),
            ..roomy()
        },
        1,
        None
    )));
    assert!(!declined(judged(
        Policy {
            accept: nodes(1),
            ..roomy()
        },
        1,
        None
    )));
    let tier = || Policy {
        accept: Accept::Tier(Tier::Normal),
        ..roomy()
    };
    assert!(declined(judged(tier(), 1, None)) && declined(judged(tier(), 1, Some(Tier::Low))));
    assert!(!declined(judged(tier(), 1, Some(Tier::High))));
    assert!(declined(judged(
        Policy {
            max_size: 10,
            ..roomy()
        },
        11,
        None
    )));
    let ask = || Policy { ask: true, ..roomy() };
    assert_eq!(judged(ask(), 1, None), InState::Asking);
    assert!(declined(judged(
        Policy {
            max_waiting: 0,
            ..ask()
        },
        1,
        None
    )));
    assert_ne!(
        judged(
            Policy {
                trusted: [node(1)].into(),
                ..ask()
            },
            1,
            None
        ),
        InState::Asking
    );
    let night = Policy {
        hours: Some(Open { from: 1320, to: 420 }),
        ..roomy()
    };
    assert!(matches!(judged(night, 1, None), InState::Waiting(why) if why.contains("22:00-07:00")));
    assert!(
        matches!(judged(Policy { min_free: 9_990, ..roomy() }, 11, None), InState::Waiting(why) if why.contains("fit"))
    );
}

#[test]
fn what_waits_begins_when_it_may_and_goes_on_at_its_place_after_a_restart() {
    let mut policy = roomy();
    policy.hours = Some(Open { from: 1320, to: 420 });
    let mut inbox = inbox(policy.clone());
    let n = notice(1, 1, &[2], file(1, None));
    let mut disk: Vec<inbox::Effect> = come(&mut inbox, NOW, &n);
    inbox.handle(
        NOW,
        inbox::Input::Surroundings {
            free: Some(10_000),
            minute: 1320,
        },
    );
    disk.extend(effects(&mut inbox));
    assert!(disk.iter().any(|e| matches!(e, inbox::Effect::Place(_))));
    let key = (n.from, n.id);
    inbox.handle(NOW, inbox::Input::Placed(key, Ok("/in/f".into())));
    let placed = effects(&mut inbox);
    let begin = placed
        .iter()
        .position(|e| matches!(e, inbox::Effect::Begin(o) if o.dest.as_deref() == Some("/in/f")));
    assert!(
        placed[..begin.unwrap()]
            .iter()
            .any(|e| matches!(e, inbox::Effect::Write(_)))
    );
    disk.extend(placed);
    // Killed. The same place, without asking, though it is day.
    let mut again = Inbox::new(inbox::Config::new(node(2)), policy, 1);
    let mut rows = std::collections::BTreeMap::new();
    for effect in disk {
        if let inbox::Effect::Write(w) = effect {
            rows.insert((w.table, w.key), w.value);
        }
    }
    for table in hive_transfer::notices::Table::ALL {
        for ((t, key), value) in &rows {
            if let (true, Some(value)) = (*t == table, value) {
                again.restore(table, key, value).unwrap();
            }
        }
    }
    again.restored(NOW);
    let begun = effects(&mut again);
    assert!(
        begun
            .iter()
            .any(|e| matches!(e, inbox::Effect::Begin(o) if o.dest.as_deref() == Some("/in/f")))
    );
    again.handle(NOW, inbox::Input::Pull(key, News::Progress(5, 9)));
    again.handle(NOW, inbox::Input::Pull(key, News::Progress(3, 9)));
    assert!(matches!(state_of(&again, &n), InState::Pulling { done: 5, .. }));
    again.handle(NOW, inbox::Input::Pull(key, News::Failed("nobody".into(), true)));
    assert!(matches!(state_of(&again, &n), InState::Waiting(_)));
    effects(&mut again);
    again.handle(again.poll_timeout().unwrap(), inbox::Input::Tick);
    assert!(
        effects(&mut again)
            .iter()
            .any(|e| matches!(e, inbox::Effect::Begin(_)))
    );
    again.handle(NOW, inbox::Input::Pull(key, News::Done));
    assert_eq!(state_of(&again, &n), InState::Done);
}

#[test]
fn of_a_mirror_only_newer_states_count_and_an_accepted_one_asks_no_more() {
    let mut inbox = inbox(Policy { ask: true, ..roomy() });
    let [one, two, three] = [1, 2, 3].map(|n| notice(n, 1, &[2], file(1, Some(u64::from(n)))));
    come(&mut inbox, NOW, &two);
    assert_eq!(state_of(&inbox, &two), InState::Asking);
    come(&mut inbox, NOW, &one);
    assert!(matches!(state_of(&inbox, &one), InState::Declined(_)));
    inbox.handle(NOW, inbox::Input::Accept(two.id, Some("/mirror".into())));
    assert!(
        effects(&mut inbox)
            .iter()
            .any(|e| matches!(e, inbox::Effect::Begin(_)))
    );
    let begun = come(&mut inbox, NOW, &three);
    assert!(
        begun
            .iter()
            .any(|e| matches!(e, inbox::Effect::Begin(o) if o.dest.as_deref() == Some("/mirror")))
    );
    inbox.handle(
        NOW,
        inbox::Input::Pull((node(1), two.id), News::Failed("newer".into(), true)),
    );
    assert!(matches!(state_of(&inbox, &two), InState::Declined(_)));
}

#[test]
fn taken_back_while_it_waits_or_moves() {
    let mut inbox = inbox(roomy());
    let n = notice(1, 1, &[2], file(1, None));
    come(&mut inbox, NOW, &n);
    inbox.handle(
        NOW,
        inbox::Input::Withdrawn {
            from: node(3),
            id: n.id,
        },
    );
    assert!(!matches!(state_of(&inbox, &n), InState::Declined(_)));
    effects(&mut inbox);
    inbox.handle(
        NOW,
        inbox::Input::Withdrawn {
            from: node(1),
            id: n.id,
        },
    );
    let out = effects(&mut inbox);
    assert!(out.iter().any(|e| matches!(e, inbox::Effect::Stop(_))));
    assert!(matches!(state_of(&inbox, &n), InState::Declined(_)));
}

#[test]
fn two_of_one_name_do_not_go_to_one_place() {
    let mut inbox = inbox(roomy());
    let [one, two] = [1, 2].map(|n| notice(n, 1, &[2], file(1, None)));
    come(&mut inbox, NOW, &one);
    come(&mut inbox, NOW, &two);
    for n in [&one, &two] {
        inbox.handle(NOW, inbox::Input::Placed((n.from, n.id), Ok("/in/f".into())));
    }
    let begun = effects(&mut inbox);
    let begun = begun.iter().filter(|e| matches!(e, inbox::Effect::Begin(_)));
    assert_eq!(begun.count(), 1);
    assert!(matches!(state_of(&inbox, &two), InState::Waiting(_)));
    inbox.handle(NOW, inbox::Input::Pull((one.from, one.id), News::Done));
    inbox.handle(NOW + Millis::secs(6), inbox::Input::Tick);
    assert!(
        effects(&mut inbox)
            .iter()
            .any(|e| matches!(e, inbox::Effect::Place(_)))
    );
}
