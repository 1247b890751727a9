//! What gossip must be to count: whose it is, of which moment, with whose word.
//!
//! Owns the judgements. Must not know what becomes of what was accepted.

use crate::membership::Standing;
use hive_net::Judgement;
use hive_protocol::{
    codec,
    credential::Credential,
    gossip::{DEMAND_LIFE, Demand, PRESENCE_LIFE, Presence, PriceNotice},
    ids::NodeId,
    member::MAX_ADDRS,
    time::{MAX_CLOCK_SKEW, Millis, Timestamp},
};

/// Engines a node may name; there are few kinds.
const MAX_RUNTIMES: usize = 8;

/// Whether a message said to be of `issued` and to live `life` is of now.
fn is_fresh(now: Timestamp, issued: Timestamp, life: Millis) -> bool {
    issued <= now + MAX_CLOCK_SKEW && now < issued + life + MAX_CLOCK_SKEW
}

/// A demand of `source` and the credential in it; or why it does not count.
pub(super) fn demand(
    standing: &Standing,
    now: Timestamp,
    source: NodeId,
    bytes: &[u8],
) -> Result<(Demand, Credential), Judgement> {
    let demand = codec::open::<Demand>(bytes).map_err(|_| Judgement::Reject)?;
    if demand.submitter != source || demand.addrs.len() > MAX_ADDRS {
        return Err(Judgement::Reject);
    }
    if !is_fresh(now, demand.issued, DEMAND_LIFE) {
        return Err(Judgement::Ignore);
    }
    let credential = standing
        .check(&demand.credential, source)
        .map_err(|_| Judgement::Reject)?;
    Ok((demand, credential))
}

/// A presence of `source` and the credential in it; or why it does not count.
pub(super) fn presence(
    standing: &Standing,
    now: Timestamp,
    source: NodeId,
    bytes: &[u8],
) -> Result<(Presence, Credential), Judgement> {
    let presence = codec::open::<Presence>(bytes).map_err(|_| Judgement::Reject)?;
    if presence.node != source
        || presence.addrs.len() > MAX_ADDRS
        || presence.capabilities.runtimes.len() > MAX_RUNTIMES
    {
        return Err(Judgement::Reject);
    }
    if !is_fresh(now, presence.issued, PRESENCE_LIFE) {
        return Err(Judgement::Ignore);
    }
    let credential = standing
        .check(&presence.credential, source)
        .map_err(|_| Judgement::Reject)?;
    Ok((presence, credential))
}

/// A price of `source`; or why it does not count. It carries no credential: only the price of a node that is known
/// already is kept.
pub(super) fn price(now: Timestamp, source: NodeId, bytes: &[u8]) -> Result<PriceNotice, Judgement> {
    let notice = codec::open::<PriceNotice>(bytes).map_err(|_| Judgement::Reject)?;
    if notice.node != source {
        return Err(Judgement::Reject);
    }
    if !is_fresh(now, notice.issued, PRESENCE_LIFE) {
        return Err(Judgement::Ignore);
    }
    Ok(notice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::Clock;
    use hive_protocol::{
        codec::Message,
        ids::{AccountId, DemandId, JobId, NetworkId},
        keys::{SecretKey, Signed},
        money::{MicroCpt, Price},
        resources::{Capabilities, Resources, Role},
        task::{Placement, RuntimeKind},
    };

    const HERE: NetworkId = NetworkId([1; 32]);
    const AUTHOR: NodeId = NodeId([2; 32]);
    const OTHER: NodeId = NodeId([3; 32]);
    /// Long enough for a machine that is busy with other things to judge one message.
    const SLOW: Millis = Millis::secs(20);

    fn authority() -> SecretKey {
        SecretKey::from_seed(&[9; 32])
    }

    fn standing() -> Standing {
        let standing = Standing::new(HERE, NodeId([4; 32]), AccountId([4; 32]), Clock::new(0));
        standing.set_authorities(vec![NodeId(authority().public())]);
        standing
    }

    fn credential(now: Timestamp, network: NetworkId, node: NodeId, by: &SecretKey) -> Signed<Credential> {
        let credential = Credential {
            network,
            node,
            account: AccountId([5; 32]),
            name: "heron".into(),
            score: 60,
            containers: false,
            roles: vec![Role::Worker],
            issued: now,
            expires: now + Millis::mins(20),
        };
        Signed::sign(by, &credential).unwrap()
    }

    /// Credentials that are no word of this mesh's authority on the author.
    fn foreign(now: Timestamp) -> [Signed<Credential>; 4] {
        let long_ago = Timestamp(now.0 - Millis::mins(40).0);
        [
            credential(now, HERE, AUTHOR, &SecretKey::from_seed(&[8; 32])),
            credential(now, NetworkId([7; 32]), AUTHOR, &authority()),
            credential(now, HERE, OTHER, &authority()),
            credential(long_ago, HERE, AUTHOR, &authority()),
        ]
    }

    fn a_demand(now: Timestamp) -> Demand {
        Demand {
            id: DemandId([6; 16]),
            job: JobId([6; 16]),
            submitter: AUTHOR,
            credential: credential(now, HERE, AUTHOR, &authority()),
            addrs: vec![],
            runtime: RuntimeKind::Wasm,
            need: Resources::default(),
            slots: 1,
            placement: Placement::default(),
            max_price: MicroCpt(1),
            issued: now,
            expires: now + DEMAND_LIFE,
        }
    }

    fn a_presence(now: Timestamp) -> Presence {
        Presence {
            node: AUTHOR,
            credential: credential(now, HERE, AUTHOR, &authority()),
            roles: vec![Role::Worker],
            capabilities: Capabilities::default(),
            free: Resources::default(),
            running: 0,
            addrs: vec![],
            leaving: false,
            issued: now,
        }
    }

    fn a_price(now: Timestamp) -> PriceNotice {
        PriceNotice {
            node: AUTHOR,
            price: Price::default(),
            issued: now,
        }
    }

    fn sealed<M: Message>(message: &M) -> Vec<u8> {
        codec::seal(message).unwrap()
    }

    fn of_demand(source: NodeId, demand: &Demand) -> Result<(), Judgement> {
        let standing = standing();
        super::demand(&standing, standing.now(), source, &sealed(demand)).map(|_| ())
    }

    fn of_presence(source: NodeId, presence: &Presence) -> Result<(), Judgement> {
        let standing = standing();
        super::presence(&standing, standing.now(), source, &sealed(presence)).map(|_| ())
    }

    fn of_price(source: NodeId, notice: &PriceNotice) -> Result<(), Judgement> {
        super::price(standing().now(), source, &sealed(notice)).map(|_| ())
    }

    #[test]
    fn what_is_of_now_is_fresh_by_both_clocks_and_nothing_else() {
        let (issued, life) = (Timestamp(1_000_000), Millis::secs(30));
        let at = |ms: i64| is_fresh(Timestamp(issued.0.saturating_add_signed(ms)), issued, life);
        assert!(at(0) && at(29_999));
        assert!(at(-60_000) && at(89_999), "a minute for clocks that differ");
        assert!(!at(-60_001), "of the future");
        assert!(!at(90_000), "its life is over");
        let far = |issued| is_fresh(Timestamp(1_000_000), Timestamp(issued), life);
        assert!(!far(u64::MAX) && !far(0));
    }

    #[test]
    fn a_demand_counts_from_its_author_now_and_with_this_meshs_word() {
        let now = standing().now();
        let good = a_demand(now);
        assert_eq!(of_demand(AUTHOR, &good), Ok(()));
        assert_eq!(of_demand(OTHER, &good), Err(Judgement::Reject), "another's");
        for issued in [
            Timestamp(now.0 - DEMAND_LIFE.0 - MAX_CLOCK_SKEW.0),
            now + MAX_CLOCK_SKEW + SLOW,
        ] {
            let stale = Demand {
                issued,
                ..a_demand(now)
            };
            assert_eq!(of_demand(AUTHOR, &stale), Err(Judgement::Ignore), "{issued:?}");
        }
        for credential in foreign(now) {
            let forged = Demand {
                credential,
                ..a_demand(now)
            };
            assert_eq!(of_demand(AUTHOR, &forged), Err(Judgement::Reject));
        }
        let crowded = Demand {
            addrs: vec!["/ip4/203.0.113.1/udp/1/quic-v1".into(); MAX_ADDRS + 1],
            ..good
        };
        assert_eq!(of_demand(AUTHOR, &crowded), Err(Judgement::Reject));
    }

    #[test]
    fn a_presence_counts_from_its_author_now_and_with_this_meshs_word() {
        let now = standing().now();
        let good = a_presence(now);
        assert_eq!(of_presence(AUTHOR, &good), Ok(()));
        assert_eq!(of_presence(OTHER, &good), Err(Judgement::Reject), "another's");
        for issued in [
            Timestamp(now.0 - PRESENCE_LIFE.0 - MAX_CLOCK_SKEW.0),
            now + MAX_CLOCK_SKEW + SLOW,
        ] {
            let stale = Presence {
                issued,
                ..a_presence(now)
            };
            assert_eq!(of_presence(AUTHOR, &stale), Err(Judgement::Ignore), "{issued:?}");
        }
        for credential in foreign(now) {
            let forged = Presence {
                credential,
                ..a_presence(now)
            };
            assert_eq!(of_presence(AUTHOR, &forged), Err(Judgement::Reject));
        }
        let mut greedy = a_presence(now);
        greedy.capabilities.runtimes = vec!["wasm".into(); MAX_RUNTIMES + 1];
        assert_eq!(of_presence(AUTHOR, &greedy), Err(Judgement::Reject));
    }

    #[test]
    fn a_price_counts_from_its_author_now() {
        let now = standing().now();
        let good = a_price(now);
        assert_eq!(of_price(AUTHOR, &good), Ok(()));
        assert_eq!(of_price(OTHER, &good), Err(Judgement::Reject), "another's");
        for issued in [
            Timestamp(now.0 - PRESENCE_LIFE.0 - MAX_CLOCK_SKEW.0),
            now + MAX_CLOCK_SKEW + SLOW,
        ] {
            let stale = PriceNotice {
                issued,
                ..good.clone()
            };
            assert_eq!(of_price(AUTHOR, &stale), Err(Judgement::Ignore), "{issued:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_message_of_their_topic_are_rejected() {
        let standing = standing();
        let now = standing.now();
        let (price, mut torn) = (sealed(&a_price(now)), sealed(&a_demand(now)));
        torn.pop();
        let demand = super::demand(&standing, now, AUTHOR, &torn).map(|_| ());
        assert_eq!(demand, Err(Judgement::Reject));
        let presence = super::presence(&standing, now, AUTHOR, &price).map(|_| ());
        assert_eq!(presence, Err(Judgement::Reject));
        let price = super::price(now, AUTHOR, &[]).map(|_| ());
        assert_eq!(price, Err(Judgement::Reject));
    }
}
