//! Whether a signed notice may be taken at all: signature, signer, mesh, recipient, form, time.

use hive_protocol::{
    ids::{NetworkId, NodeId},
    keys::Signed,
    notice::{MAX_NOTICE_LIFE, Notice},
    time::{MAX_CLOCK_SKEW, Timestamp},
};

/// Why a notice is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The signature does not verify, or the bytes are no notice.
    #[error("the signature does not verify")]
    Signature,
    /// `from` is not the signer.
    #[error("it is signed by another node than it is from")]
    Signer,
    /// Of another mesh.
    #[error("it is of another mesh")]
    Network,
    /// This node is none of its recipients.
    #[error("it is for others")]
    NotForMe,
    /// Beyond a bound of its form.
    #[error("malformed: {0}")]
    Form(&'static str),
    /// Its time is over, by the clock here.
    #[error("it has expired")]
    Expired,
    /// It would live longer than any may, by the clock here.
    #[error("it is from the future")]
    Early,
}

impl Unfit {
    /// Whether the same notice may be fit at another time, or once the clock here is right.
    #[must_use]
    pub const fn passing(self) -> bool {
        matches!(self, Self::Expired | Self::Early)
    }
}

/// Checks a notice for the recipient `me`. Costs a signature check.
///
/// # Errors
/// The first reason not to take it.
pub fn check(
    signed: &Signed<Notice>,
    network: NetworkId,
    me: NodeId,
    now: Timestamp,
) -> Result<Notice, Unfit> {
    let notice = signed.verify().map_err(|_| Unfit::Signature)?;
    if signed.signer != notice.from.0 {
        return Err(Unfit::Signer);
    }
    if notice.network != network {
        return Err(Unfit::Network);
    }
    if let Some(fault) = notice.fault() {
        return Err(Unfit::Form(fault));
    }
    if notice.to.binary_search(&me).is_err() {
        return Err(Unfit::NotForMe);
    }
    if now >= notice.expires {
        return Err(Unfit::Expired);
    }
    if notice.expires > now + MAX_NOTICE_LIFE + MAX_CLOCK_SKEW {
        return Err(Unfit::Early);
    }
    Ok(notice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hive_protocol::{
        ids::NoticeId,
        keys::SecretKey,
        notice::{NoticeBody, Priority},
    };

    #[test]
    fn every_reason_is_found() {
        let (key, other) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let (net, me, now) = (NetworkId([9; 32]), NodeId([3; 32]), Timestamp(1_000_000));
        let good = Notice {
            id: NoticeId([5; 16]),
            network: net,
            from: NodeId(key.public()),
            to: vec![me],
            body: NoticeBody::Text("x".into()),
            priority: Priority::Normal,
            created: Timestamp(900_000),
            expires: Timestamp(2_000_000),
        };
        let judge = |n: &Notice, k: &SecretKey| check(&Signed::sign(k, n).unwrap(), net, me, now);
        assert_eq!(judge(&good, &key), Ok(good.clone()));
        assert_eq!(judge(&good, &other), Err(Unfit::Signer));
        let change = |f: fn(&mut Notice)| {
            let mut n = good.clone();
            f(&mut n);
            judge(&n, &key)
        };
        assert_eq!(change(|n| n.network = NetworkId([8; 32])), Err(Unfit::Network));
        assert_eq!(change(|n| n.to = vec![NodeId([4; 32])]), Err(Unfit::NotForMe));
        assert_eq!(change(|n| n.expires = Timestamp(1_000_000)), Err(Unfit::Expired));
        assert!(matches!(change(|n| n.to.clear()), Err(Unfit::Form(_))));
        assert!(matches!(
            change(|n| n.expires = Timestamp(1)),
            Err(Unfit::Form(_))
        ));
        assert!(matches!(change(|n| n.to.push(n.to[0])), Err(Unfit::Form(_))));
        let far = |n: &mut Notice| {
            n.created = Timestamp(5_000_000);
            n.expires = n.created + MAX_NOTICE_LIFE;
        };
        assert_eq!(change(far), Err(Unfit::Early));
        let mut bytes =
            hive_protocol::codec::encode("t", &Signed::sign(&key, &good).unwrap(), 1 << 16).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let forged: Signed<Notice> = hive_protocol::codec::decode("t", &bytes, 1 << 16).unwrap();
        assert_eq!(check(&forged, net, me, now), Err(Unfit::Signature));
    }
}
