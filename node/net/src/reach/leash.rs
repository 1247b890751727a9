//! Dials that can be ended before their time: those of a punch end with their round or sooner, so that little is sent to
//! addresses that a peer has named and that do not answer.

use futures::future::{Either, select};
use std::{
    io,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// What ends a dial.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    /// The end of its round.
    pub token: CancellationToken,
    /// Nothing is sent for this long.
    pub pause: Duration,
    /// Its own time, from the first packet.
    pub patience: Duration,
}

/// Whose dials are being made just now.
#[derive(Debug, Default)]
pub(crate) struct Leash(Mutex<Option<Hold>>);

impl Leash {
    /// What is dialed while this is done ends so.
    pub(crate) fn hold<T>(&self, hold: Hold, doing: impl FnOnce() -> T) -> T {
        self.set(Some(hold));
        let done = doing();
        self.set(None);
        done
    }

    fn set(&self, hold: Option<Hold>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = hold;
    }

    /// What a dial made now ends with.
    pub(super) fn held(&self) -> Option<Hold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A dial, until it is ended. Its time begins when it is first looked at, which may be later than it was made.
pub(super) async fn until<T>(hold: Hold, dial: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let over = hold.token.cancelled();
    if !hold.pause.is_zero() {
        tokio::time::sleep(hold.pause).await;
    }
    let late = tokio::time::sleep(hold.patience);
    let why = match select(pin!(select(pin!(over), pin!(late))), pin!(dial)).await {
        Either::Left((Either::Left(_), _)) => "not while its round of punching lasted",
        Either::Left((Either::Right(_), _)) => "no answer in its time",
        Either::Right((done, _)) => return done,
    };
    Err(io::Error::new(io::ErrorKind::TimedOut, why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_dialed_on_a_leash_ends_with_it_and_nothing_else_does() {
        let (leash, token) = (Leash::default(), CancellationToken::new());
        assert!(leash.held().is_none());
        let hold = |patience| Hold {
            token: token.clone(),
            pause: Duration::ZERO,
            patience,
        };
        let long = Duration::from_secs(3600);
        let held = leash.hold(hold(long), || leash.held()).unwrap();
        assert!(leash.held().is_none());
        assert_eq!(until(held.clone(), async { Ok(1) }).await.unwrap(), 1);
        let silent = std::future::pending::<io::Result<()>>;
        let error = until(hold(Duration::from_millis(5)), silent()).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer in its time");
        let begun = std::time::Instant::now();
        let pause = Duration::from_millis(30);
        let later = Hold {
            pause,
            ..hold(Duration::from_millis(5))
        };
        let first_looked_at = async { Ok(begun.elapsed()) };
        assert!(until(later, first_looked_at).await.unwrap() >= pause);
        token.cancel();
        let error = until(held, silent()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("round"));
    }
}
