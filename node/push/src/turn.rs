//! What comes of events, and what the cores want done.

use crate::{
    engine::{Attempt, Engine},
    error::PushError,
    feed::{Event, Frame, LinkId},
    handle::{PushEvent, lock},
    journal, news,
    ports::{Answered, Puller},
};
use hive_protocol::{ids::NodeId, notice::NoticeMsg};
use hive_transfer::notices::{
    Write,
    inbox::{self, Order},
    outbox,
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Pause before the journal is tried again after it has refused.
const JOURNAL_AGAIN: Duration = Duration::from_secs(2);

/// What is done when the journal has what came before.
enum Deed {
    Out(outbox::Effect),
    In(inbox::Effect),
}

impl Engine {
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Inbound(node, stream) => self.links.inbound(node, stream),
            Event::Opened(node, opened) => {
                if !self.links.opened(node, opened) {
                    self.broken(node);
                }
            }
            Event::Frame(node, link, frame, place) => {
                if let Some(link) = link {
                    self.links.heard(node, link);
                }
                self.frame(node, link, frame, place);
            }
            Event::Ended(node, link) => {
                if self.links.close(node, link) {
                    self.broken(node);
                }
            }
            Event::Answered(node, link, answered) => self.answered(node, link, answered),
            Event::Placed(key, place) => self.inbox(inbox::Input::Placed(key, place)),
            Event::Pull(key, attempt, news) => {
                if self.pulls.get(&key).is_some_and(|a| a.number == attempt) {
                    if matches!(news, inbox::News::Done | inbox::News::Failed(..)) {
                        self.pulls.remove(&key);
                    }
                    self.inbox(inbox::Input::Pull(key, news));
                }
            }
            Event::Free(free) => {
                let local = i64::try_from(self.now().0 / 60_000).unwrap_or_default();
                let minute = local
                    .saturating_add(i64::from(self.deps.utc_offset_min))
                    .rem_euclid(1440);
                let minute = u16::try_from(minute).unwrap_or_default();
                self.inbox(inbox::Input::Surroundings { free, minute });
            }
        }
    }

    fn broken(&self, node: NodeId) {
        self.shared.tally.broken.fetch_add(1, Ordering::Relaxed);
        self.both(outbox::Input::LinkBroken(node), inbox::Input::LinkBroken(node));
    }

    fn frame(
        &mut self,
        from: NodeId,
        link: Option<LinkId>,
        frame: Frame,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        let tier = Arc::clone(&self.deps.tier);
        match frame {
            Frame::Notice(notice) => {
                let tier = tier(&notice.from);
                self.inbox(inbox::Input::Notice(notice, tier));
            }
            Frame::Mail {
                notices,
                useless,
                end,
            } => {
                let notices = notices.into_iter().map(|n| {
                    let tier = tier(&n.from);
                    (n, tier)
                });
                self.inbox(inbox::Input::Mail {
                    from,
                    notices: notices.collect(),
                    useless,
                    end,
                });
            }
            Frame::Other(msg) => self.other(from, link, *msg, place),
        }
    }

    fn other(
        &mut self,
        from: NodeId,
        link: Option<LinkId>,
        msg: NoticeMsg,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        match msg {
            NoticeMsg::State { id, state } => self.outbox(outbox::Input::State { from, id, state }),
            NoticeMsg::Deposited { id, kept, refused } => self.outbox(outbox::Input::Deposited {
                from,
                id,
                kept,
                refused,
            }),
            NoticeMsg::Noted(ids) => {
                let out = outbox::Input::Noted {
                    from,
                    ids: ids.clone(),
                };
                self.both(out, inbox::Input::Noted { from, ids });
            }
            NoticeMsg::Withdraw { id, recipients } => {
                // To a recipient, or to an authority; an authority may be both.
                if recipients.is_empty() {
                    self.inbox(inbox::Input::Withdrawn { from, id });
                }
                self.ask_post(from, link, NoticeMsg::Withdraw { id, recipients }, place);
            }
            NoticeMsg::Deposit { .. } | NoticeMsg::Collect | NoticeMsg::Taken(_) => {
                self.ask_post(from, link, msg, place);
            }
            NoticeMsg::Deliver(_) | NoticeMsg::Mail(_) => {}
        }
    }

    /// Hands something to the mailbox here; the place of the frame is kept until it has answered.
    fn ask_post(
        &self,
        from: NodeId,
        link: Option<LinkId>,
        msg: NoticeMsg,
        place: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        let Some(post) = self.deps.post.clone() else {
            return;
        };
        let feed = self.feed.clone();
        tokio::spawn(async move {
            let answered = post.ask(from, msg).await;
            // When the loop has ended nobody waits for the answer.
            let _ = feed.send(Event::Answered(from, link, answered)).await;
            drop(place);
        });
    }

    fn answered(&mut self, node: NodeId, link: Option<LinkId>, answered: Answered) {
        // A nudge with nothing in it is none.
        let nudge = self.nudged.remove(&node) && link.is_none();
        let empty = matches!(&answered.reply, Some(NoticeMsg::Mail(page)) if page.is_empty());
        if let Some(reply) = answered.reply.filter(|_| !(nudge && empty)) {
            self.say(node, link, reply);
        }
        for node in answered.news {
            let here = node == self.deps.me || self.connected.contains(&node);
            if here && self.nudged.insert(node) {
                self.ask_post(node, None, NoticeMsg::Collect, None);
            }
        }
    }

    /// Says something; to oneself without a stream.
    fn say(&mut self, to: NodeId, on: Option<LinkId>, msg: NoticeMsg) {
        if to == self.deps.me {
            match &msg {
                NoticeMsg::Deposit { .. } | NoticeMsg::Collect | NoticeMsg::Taken(_) => {
                    self.ask_post(to, None, msg, None);
                }
                NoticeMsg::Withdraw { .. } => self.ask_post(to, None, msg, None),
                _ => {
                    if let Some(frame) = self.judge.frame(to, msg) {
                        self.frame(to, None, frame, None);
                    }
                }
            }
        } else if !self.links.say(to, on, msg) {
            self.broken(to);
        }
    }

    /// Does what the cores want until they want nothing more.
    pub(crate) async fn settle(&mut self) {
        loop {
            let (writes, deeds) = self.drain();
            if writes.is_empty() && deeds.is_empty() {
                break;
            }
            if !self.write(writes).await {
                return;
            }
            for deed in deeds {
                self.deed(deed);
            }
        }
        for (reply, done, _) in self.replies.drain(..) {
            // Whoever asked may have given up.
            let _ = reply.send(done);
        }
    }

    fn drain(&self) -> (Vec<Write>, VecDeque<Deed>) {
        let (mut writes, mut deeds) = (Vec::new(), VecDeque::new());
        let mut cores = lock(&self.shared.cores);
        while let Some(effect) = cores.outbox.poll_effect() {
            match effect {
                outbox::Effect::Write(write) => writes.push(write),
                other => deeds.push_back(Deed::Out(other)),
            }
        }
        while let Some(effect) = cores.inbox.poll_effect() {
            match effect {
                inbox::Effect::Write(write) => writes.push(write),
                other => deeds.push_back(Deed::In(other)),
            }
        }
        (writes, deeds)
    }

    /// Nothing goes on until the journal has it. Those who wait for an answer are told at the first refusal, and what
    /// they wanted to send is taken back.
    async fn write(&mut self, mut writes: Vec<Write>) -> bool {
        while !writes.is_empty() {
            let journal = Arc::clone(&self.deps.journal);
            let writing = tokio::task::spawn_blocking(move || {
                let result = journal::write(&*journal, &writes);
                (writes, result)
            });
            let Ok((again, result)) = writing.await else {
                tracing::error!(target: "hive_push", "the journal of notices ended by a panic; notices end");
                self.closing = true;
                return false;
            };
            let Err(e) = result else { return true };
            tracing::error!(target: "hive_push", "notices wait for their journal: {e}");
            writes = again;
            for (reply, done, id) in self.replies.drain(..) {
                let told = done.and_then(|()| Err(PushError::NotKept(e.to_string())));
                let _ = reply.send(told);
                if let Some(id) = id {
                    lock(&self.shared.cores)
                        .outbox
                        .handle((self.deps.clock)(), outbox::Input::Cancel(id));
                }
            }
            if self.closing {
                return false;
            }
            // paced: a disk that is full stays so for a while.
            tokio::time::sleep(JOURNAL_AGAIN).await;
        }
        true
    }

    fn deed(&mut self, deed: Deed) {
        match deed {
            Deed::Out(outbox::Effect::Say { to, msg }) | Deed::In(inbox::Effect::Say { to, msg }) => {
                self.say(to, None, *msg);
            }
            Deed::Out(outbox::Effect::Changed { id, node, standing }) => {
                self.tell(PushEvent::OutChanged { id, node, standing });
            }
            Deed::In(inbox::Effect::Place(order)) => self.place(*order),
            Deed::In(inbox::Effect::Begin(order)) => self.begin(*order),
            Deed::In(inbox::Effect::Stop(order)) => {
                if let Some(attempt) = self.pulls.remove(&order.key()) {
                    attempt.task.abort();
                }
                if let Some(puller) = self.puller(&order) {
                    puller.cancel(&order);
                }
            }
            Deed::In(inbox::Effect::Arrived(key)) => {
                self.shared.tally.taken.fetch_add(1, Ordering::Relaxed);
                let view = lock(&self.shared.cores).inbox.show(key);
                if let Some(view) = view {
                    self.tell(PushEvent::Arrived(view));
                }
            }
            Deed::In(inbox::Effect::Changed(key)) => {
                let view = lock(&self.shared.cores).inbox.show(key);
                if let Some(view) = view {
                    self.tell(PushEvent::InChanged(view));
                }
            }
            Deed::Out(outbox::Effect::Write(_)) | Deed::In(inbox::Effect::Write(_)) => {}
        }
    }

    fn tell(&self, event: PushEvent) {
        // Nobody may be listening.
        let _ = self.shared.events.send(event);
    }

    fn puller(&self, order: &Order) -> Option<Arc<dyn Puller>> {
        match &order.sync {
            Some(_) => self.deps.mirror.clone(),
            None => Some(Arc::clone(&self.deps.puller)),
        }
    }

    fn place(&self, order: Order) {
        let (puller, feed) = (Arc::clone(&self.deps.puller), self.feed.clone());
        tokio::spawn(async move {
            let key = order.key();
            let placing = tokio::task::spawn_blocking(move || puller.place(&order)).await;
            let place = placing.unwrap_or_else(|_| Err("looking for a place ended by a panic".to_owned()));
            // When the loop has ended it is placed again after the next start.
            let _ = feed.send(Event::Placed(key, place)).await;
        });
    }

    fn begin(&mut self, order: Order) {
        let key = order.key();
        let number = self.next_attempt;
        self.next_attempt = number.wrapping_add(1);
        let (news, task) = news::channel(key, number, self.feed.clone());
        let task = task.abort_handle();
        if let Some(old) = self.pulls.insert(key, Attempt { number, task }) {
            old.task.abort();
        }
        match self.puller(&order) {
            Some(puller) => puller.begin(order, news),
            None => news.failed("this node keeps no mirrors", false),
        }
    }
}
