//! Places at a relay where two nodes meet: who is awaited there, by which key, from which address.

use super::desk::Token;
use hive_protocol::bulk::{MEET, PLACE_MILLIS};
use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::oneshot,
    time::{Instant, timeout_at},
};

/// Nodes awaited at a time; each costs a task and some hundred bytes for five seconds.
const MAX_AWAITED: usize = 1024;

/// Somebody who is awaited.
struct Seat {
    ip: IpAddr,
    taken: oneshot::Sender<TcpStream>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Places {
    awaited: Mutex<BTreeMap<Token, Seat>>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Token, Seat>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a place for two, each by key and address; none when there are too many.
    pub(crate) fn keep(self: &Arc<Self>, who: [(Token, IpAddr); 2]) -> Option<Place> {
        let mut awaited = self.lock();
        if awaited.len() + who.len() > MAX_AWAITED {
            return None;
        }
        let mut coming = who.map(|(key, ip)| {
            let (taken, arrival) = oneshot::channel();
            awaited.insert(key, Seat { ip, taken });
            arrival
        });
        drop(awaited);
        let [near, far] = &mut coming;
        let (near, far) = (
            std::mem::replace(near, oneshot::channel().1),
            std::mem::replace(far, oneshot::channel().1),
        );
        Some(Place {
            places: Arc::clone(self),
            keys: who.map(|(key, _)| key),
            near,
            far,
        })
    }

    /// Whether anybody is awaited from this address.
    pub(crate) fn expects(&self, ip: IpAddr) -> bool {
        self.lock().values().any(|seat| seat.ip == ip)
    }

    /// Takes a connection that has begun with [`MEET`] to its place.
    pub(crate) async fn sit(&self, mut tcp: TcpStream) -> io::Result<()> {
        let mut first = [0; MEET.len()];
        tcp.read_exact(&mut first).await?;
        let mut key: Token = [0; 32];
        tcp.read_exact(&mut key).await?;
        let ip = tcp.peer_addr()?.ip().to_canonical();
        let stranger = || io::Error::new(io::ErrorKind::PermissionDenied, "nobody is awaited by this key");
        let seat = {
            let mut awaited = self.lock();
            // A key from another address stays in force: a thief cannot even use it up.
            if first != MEET || awaited.get(&key).is_none_or(|seat| seat.ip != ip) {
                return Err(stranger());
            }
            awaited.remove(&key).ok_or_else(stranger)?
        };
        seat.taken.send(tcp).map_err(|_| stranger())
    }
}

/// A place kept; given up when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    keys: [Token; 2],
    near: oneshot::Receiver<TcpStream>,
    far: oneshot::Receiver<TcpStream>,
}

impl Place {
    /// Waits for both.
    pub(crate) async fn both(mut self) -> Option<(TcpStream, TcpStream)> {
        let until = Instant::now() + Duration::from_millis(PLACE_MILLIS);
        let near = timeout_at(until, &mut self.near).await.ok()?.ok()?;
        let far = timeout_at(until, &mut self.far).await.ok()?.ok()?;
        Some((near, far))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut awaited = self.places.lock();
        for key in &self.keys {
            awaited.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn connection(listener: &TcpListener, key: Token) -> (TcpStream, TcpStream) {
        let at = listener.local_addr().unwrap();
        let mut ours = TcpStream::connect(at).await.unwrap();
        ours.write_all(&MEET).await.unwrap();
        ours.write_all(&key).await.unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn two_with_the_right_keys_meet_and_nobody_else() {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let places = Arc::new(Places::default());
        assert!(!places.expects(HERE));
        let place = places.keep([([1; 32], HERE), ([2; 32], HERE)]).unwrap();
        assert!(places.expects(HERE));
        let (_stranger, theirs) = connection(&listener, [3; 32]).await;
        assert!(places.sit(theirs).await.is_err());
        let (_a, near) = connection(&listener, [1; 32]).await;
        let (_b, far) = connection(&listener, [2; 32]).await;
        places.sit(near).await.unwrap();
        let (_again, twice) = connection(&listener, [1; 32]).await;
        assert!(places.sit(twice).await.is_err(), "a key is good once");
        places.sit(far).await.unwrap();
        assert!(place.both().await.is_some());
        assert!(!places.expects(HERE));
    }

    #[tokio::test]
    async fn keys_are_for_one_address_and_places_are_bounded() {
        let listener = TcpListener::bind((HERE, 0)).await.unwrap();
        let places = Arc::new(Places::default());
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        let place = places.keep([([1; 32], elsewhere), ([2; 32], HERE)]).unwrap();
        let (_thief, near) = connection(&listener, [1; 32]).await;
        assert!(places.sit(near).await.is_err());
        assert!(places.expects(elsewhere), "and still in force");
        drop(place);
        assert!(!places.expects(elsewhere) && !places.expects(HERE));
        let mut kept = Vec::new();
        for n in 0..u16::MAX {
            let key = |half: u8| {
                let mut key = [half; 32];
                key[..2].copy_from_slice(&n.to_le_bytes());
                key
            };
            match places.keep([(key(1), HERE), (key(2), HERE)]) {
                Some(place) => kept.push(place),
                None => break,
            }
        }
        assert_eq!(kept.len(), MAX_AWAITED / 2);
    }
}
