//! What somebody at this node decides about a notice.

use super::{
    Effect, Inbox, InboxError, MAX_DEST,
    row::{Item, Key, Stage},
};
use hive_protocol::{ids::NoticeId, notice::DeliveryState, time::Timestamp};

impl Inbox {
    fn find(&self, id: NoticeId) -> Result<&Item, InboxError> {
        let mut found = self.items.values().filter(|i| i.notice.id == id);
        let item = found.next().ok_or(InboxError::Unknown(id))?;
        if found.next().is_some() {
            return Err(InboxError::Several(id));
        }
        Ok(item)
    }

    /// Whether [`super::Input::Accept`] will do something.
    ///
    /// # Errors
    /// Why not.
    pub fn may_accept(&self, id: NoticeId, dest: Option<&str>) -> Result<(), InboxError> {
        let item = self.find(id)?;
        if let Some(long) = dest.map(str::len).filter(|n| *n > MAX_DEST) {
            return Err(InboxError::Dest(long));
        }
        let why = match &item.stage {
            Stage::Asking => return Ok(()),
            Stage::Ended(_) => "has been dealt with already",
            _ => "is accepted already",
        };
        Err(InboxError::State { id, why })
    }

    /// Whether [`super::Input::Decline`] will do something.
    ///
    /// # Errors
    /// Why not.
    pub fn may_decline(&self, id: NoticeId) -> Result<(), InboxError> {
        if self.find(id)?.ended() {
            let why = "has been dealt with already";
            return Err(InboxError::State { id, why });
        }
        Ok(())
    }

    /// Whether [`super::Input::Remove`] will do something.
    ///
    /// # Errors
    /// Why not.
    pub fn may_remove(&self, id: NoticeId) -> Result<(), InboxError> {
        if self.find(id)?.ended() {
            return Ok(());
        }
        let why = "has not been dealt with; decline it first";
        Err(InboxError::State { id, why })
    }

    pub(super) fn accept(&mut self, now: Timestamp, id: NoticeId, dest: Option<String>) {
        if self.may_accept(id, dest.as_deref()).is_err() {
            return;
        }
        let Ok(key) = self.find(id).map(Item::key) else {
            return;
        };
        let Some(item) = self.items.get_mut(&key) else {
            return;
        };
        item.stage = Stage::Waiting(String::new());
        item.retry_at = now;
        if dest.is_some() {
            item.dest.clone_from(&dest);
        }
        let sync = item.sync();
        if let Some((sync, _)) = sync
            && let Some(mirror) = self.mirrors.get_mut(&(key.0, sync))
        {
            mirror.accepted = true;
            if dest.is_some() {
                mirror.dest = dest;
            }
            let write = mirror.write(key.0, sync);
            self.effects.push_back(Effect::Write(write));
        }
        self.keep(key);
        self.tell(now, key);
    }

    pub(super) fn decline(&mut self, now: Timestamp, id: NoticeId, why: &str) {
        if self.may_decline(id).is_err() {
            return;
        }
        let Ok(item) = self.find(id) else { return };
        let key: Key = item.key();
        if item.active() {
            let order = self.order(item);
            self.effects.extend(order.map(|o| Effect::Stop(Box::new(o))));
        }
        let why = if why.is_empty() { "not wanted" } else { why };
        self.end(now, key, DeliveryState::Declined(why.to_owned()));
    }

    pub(super) fn remove(&mut self, id: NoticeId) {
        if self.may_remove(id).is_ok()
            && let Ok(key) = self.find(id).map(Item::key)
        {
            self.drop_item(key);
        }
    }
}
