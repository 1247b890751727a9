//! The mailbox under random use: within its bounds, nothing accepted is dropped, everything comes once it is asked for.

use crate::{
    cases::{file, notice},
    host::{EPOCH, node},
    world::Rng,
};
use hive_mailbox::{Effect, Input, Key, LOOK_EVERY, MAX_OF_SENDER, Mailbox, OVERDUE_LOOKS};
use hive_protocol::{
    ids::NodeId,
    notice::{Notice, NoticeBody},
    time::{Millis, Timestamp},
};
use std::collections::{BTreeMap, BTreeSet};

const NOW: Timestamp = Timestamp(EPOCH);

fn deposit(mailbox: &mut Mailbox, now: Timestamp, notice: &Notice) -> (Vec<NodeId>, Option<String>) {
    let input = Input::Deposit {
        size: 300,
        recipients: notice.to.clone(),
        notice: Box::new(notice.clone()),
        strangers: Vec::new(),
    };
    mailbox.handle(now, input);
    let mut answer = None;
    while let Some(effect) = mailbox.poll_effect() {
        if let Effect::Deposited { kept, refused, .. } = effect {
            answer = Some((kept, refused.map(|r| r.code)));
        }
    }
    answer.unwrap()
}

fn pages(mailbox: &mut Mailbox, now: Timestamp, to: NodeId, take: bool) -> Vec<Key> {
    let mut all = Vec::new();
    let mut input = Input::Collect(to);
    loop {
        mailbox.handle(now, input);
        let mut page = Vec::new();
        while let Some(effect) = mailbox.poll_effect() {
            if let Effect::Page(_, keys) = effect {
                page = keys;
            }
        }
        if page.is_empty() {
            return all;
        }
        all.extend(&page);
        let ids = if take {
            page.iter().map(|k| k.1).collect()
        } else {
            Vec::new()
        };
        input = Input::Taken(to, ids);
    }
}

#[test]
fn a_full_sender_is_refused_and_others_are_not() {
    let mut mailbox = Mailbox::new();
    for n in 0..u32::try_from(MAX_OF_SENDER).unwrap() {
        let to = 2 + usize::try_from(n % 4).unwrap();
        let (kept, refused) = deposit(
            &mut mailbox,
            NOW,
            &notice(n, 1, &[to], NoticeBody::Text("x".into())),
        );
        assert_eq!((kept.len(), refused), (1, None));
    }
    let more = notice(u32::MAX, 1, &[9], NoticeBody::Text("x".into()));
    assert_eq!(
        deposit(&mut mailbox, NOW, &more),
        (vec![], Some("mailbox.full".into()))
    );
    let other = notice(7, 3, &[9], NoticeBody::Text("x".into()));
    assert_eq!(deposit(&mut mailbox, NOW, &other).0.len(), 1);
    mailbox.check_invariants().unwrap();
    assert_eq!(pages(&mut mailbox, NOW, node(2), true).len(), MAX_OF_SENDER / 4);
    assert_eq!(deposit(&mut mailbox, NOW, &more).0.len(), 1);
}

#[test]
fn expired_mail_is_not_handed_out_and_goes_only_after_an_hour() {
    let mut mailbox = Mailbox::new();
    let n = notice(1, 1, &[2], NoticeBody::Text("x".into()));
    deposit(&mut mailbox, NOW, &n);
    let mut ahead = NOW + Millis::hours(24 * 365);
    for _ in 2..OVERDUE_LOOKS {
        assert_eq!(pages(&mut mailbox, ahead, node(2), false), []);
        ahead = ahead + LOOK_EVERY;
        mailbox.handle(ahead, Input::Tick);
    }
    // The clock comes back in time.
    assert_eq!(
        pages(&mut mailbox, NOW + Millis::hours(1), node(2), false),
        [(node(1), n.id)]
    );
    let mut late = n.expires;
    for _ in 0..=OVERDUE_LOOKS {
        mailbox.handle(late, Input::Tick);
        late = late + LOOK_EVERY;
    }
    assert_eq!(mailbox.size(), (0, 0));
}

#[test]
fn a_newer_state_of_a_mirror_takes_the_place_of_the_older() {
    let mut mailbox = Mailbox::new();
    for (n, seq) in [(1, 1), (2, 3), (3, 2)] {
        let state = notice(n, 1, &[2, 3], file(1, Some(seq)));
        assert_eq!(deposit(&mut mailbox, NOW, &state).0.len(), 2);
    }
    mailbox.check_invariants().unwrap();
    let newest = notice(2, 1, &[2], file(1, Some(3))).id;
    assert_eq!(pages(&mut mailbox, NOW, node(2), true), [(node(1), newest)]);
}

#[test]
fn random_use_agrees_with_a_simple_model() {
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let mut mailbox = Mailbox::new();
        let mut model: BTreeMap<usize, BTreeSet<Key>> = BTreeMap::new();
        for step in 0..400_u32 {
            let who = 2 + usize::try_from(rng.below(3)).unwrap();
            match rng.below(6) {
                0..3 => {
                    let from = 6 + usize::try_from(rng.below(3)).unwrap();
                    let n = notice(step, from, &[2, 3, 4], NoticeBody::Text("x".into()));
                    let (kept, _) = deposit(&mut mailbox, NOW, &n);
                    for to in 2..5 {
                        if kept.contains(&node(to)) {
                            model.entry(to).or_default().insert((n.from, n.id));
                        }
                    }
                }
                3 => {
                    let got: BTreeSet<Key> = pages(&mut mailbox, NOW, node(who), true).into_iter().collect();
                    assert_eq!(got, model.remove(&who).unwrap_or_default(), "seed {seed}");
                }
                4 => {
                    let got: BTreeSet<Key> = pages(&mut mailbox, NOW, node(who), false).into_iter().collect();
                    assert_eq!(got, model.get(&who).cloned().unwrap_or_default(), "seed {seed}");
                }
                _ => {
                    let picked = model.get(&who).and_then(|b| b.first().copied());
                    if let Some((from, id)) = picked {
                        mailbox.handle(NOW, Input::Withdraw(from, id, vec![node(who)]));
                        while mailbox.poll_effect().is_some() {}
                        model.entry(who).or_default().remove(&(from, id));
                    }
                }
            }
            mailbox.check_invariants().unwrap();
        }
    }
}
