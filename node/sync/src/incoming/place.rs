//! Putting a content or a link in its place: dressed before it is seen there, and exchanged with what it replaces in
//! one step, so that the old thing is looked at before it goes for good.

use super::{
    apply::{Applier, Fault},
    staging::{self, BESIDE, SWAP, staged},
};
use crate::{
    ground::Stamp,
    rows::{Known, mark},
};
use hive_transfer::mirror::{Applied, Effect, Thing};
use rustix::io::Errno;

impl Applier<'_> {
    pub(super) fn place(&mut self, effect: &Effect) -> Result<(), Fault> {
        let Effect::Place {
            path,
            hash,
            size,
            mode,
            mtime_ns,
            last,
            over,
            version,
        } = effect
        else {
            return Ok(());
        };
        let waiting = staged(hash);
        let from = if *last && !*over {
            waiting.as_str()
        } else {
            match last {
                true => self.ground.rename(&waiting, SWAP)?,
                false => staging::copy_to_swap(self.ground, hash)?,
            }
            SWAP
        };
        let dressed = self
            .ground
            .set_mode(from, *mode)
            .and_then(|()| self.ground.set_time(from, *mtime_ns))
            .and_then(|()| self.ground.stamp(from));
        let placed = match dressed {
            Ok(Some(new)) if *over => self.exchange(path, &new, *version),
            Ok(Some(new)) => self.ground.rename(from, path).map(|()| new).map_err(Fault::from),
            Ok(None) => Err(Fault::Moved),
            Err(e) => Err(e.into()),
        };
        let new = match placed {
            Ok(new) => new,
            Err(fault) => {
                // Back to where it waits for the next time, or away when it was a copy.
                if from == SWAP && self.ground.rename(SWAP, &waiting).is_err() {
                    let _ = self.ground.remove(SWAP);
                }
                return Err(fault);
            }
        };
        let now = self.ground.stamp(path)?.filter(|now| now.same_content(&new));
        let thing = Thing::File {
            hash: *hash,
            size: *size,
        };
        let known = Known {
            applied: Applied::of(thing),
            stamp: now.map(|s| mark(&s)),
        };
        self.set(path, Some(known));
        Ok(())
    }

    /// Puts what is at [`SWAP`] in the place of the mirror's own thing at a path, in one step where that can be done,
    /// and ends the old one.
    fn exchange(&mut self, path: &str, new: &Stamp, version: bool) -> Result<Stamp, Fault> {
        let was = self.was(path)?;
        match self.ground.exchange(SWAP, path) {
            Ok(()) => {}
            Err(Errno::INVAL) => return self.replace(path, new, version),
            Err(e) => return Err(e.into()),
        }
        // From here on the new one is in place, whatever the old one turns out to be.
        match self.inspect(path, &was) {
            Ok(()) => self.end(path, version)?,
            Err(Fault::Moved) => {}
            Err(fault) => return Err(fault),
        }
        Ok(*new)
    }

    /// As [`Self::exchange`] where the file system cannot: the place is empty for a moment.
    fn replace(&mut self, path: &str, new: &Stamp, version: bool) -> Result<Stamp, Fault> {
        let _ = self.ground.remove(BESIDE);
        self.ground.rename(SWAP, BESIDE)?;
        match self.out(path) {
            Ok(()) => self.end(path, version)?,
            Err(Fault::Moved) => {}
            Err(fault) => {
                self.ground.rename(BESIDE, SWAP)?;
                return Err(fault);
            }
        }
        if let Err(e) = self.ground.rename(BESIDE, path) {
            self.ground.rename(BESIDE, SWAP)?;
            return Err(e.into());
        }
        Ok(*new)
    }

    pub(super) fn link(&mut self, effect: &Effect) -> Result<(), Fault> {
        let Effect::Link {
            path,
            target,
            mtime_ns,
            over,
            version,
        } = effect
        else {
            return Ok(());
        };
        let at = if *over { SWAP } else { path.as_str() };
        self.ground.make_link(target, at)?;
        self.ground.set_time(at, *mtime_ns)?;
        if *over {
            let new = self.ground.stamp(SWAP)?.ok_or(Fault::Moved)?;
            if let Err(fault) = self.exchange(path, &new, *version) {
                if self.ground.stamp(SWAP)?.is_some_and(|s| s.ino == new.ino) {
                    let _ = self.ground.remove(SWAP);
                }
                return Err(fault);
            }
        }
        let known = Known {
            applied: Applied::of(Thing::Link {
                target: target.clone(),
            }),
            stamp: None,
        };
        self.set(path, Some(known));
        Ok(())
    }
}
