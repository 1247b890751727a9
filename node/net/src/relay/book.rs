//! What a relay has promised to whom, and what may still pass. Pure: time comes as an argument, bytes never come.

use hive_protocol::ids::NodeId;
use std::{collections::BTreeMap, net::IpAddr, ops::Add, time::Duration};

/// Bytes read from a circuit at once where a limit is set: what is read beyond a limit at most.
pub(super) const PIECE: usize = 16 << 10;
/// How far ahead of its rate a circuit may be.
const BURST: Duration = Duration::from_millis(500);
/// Peers whose bytes of the day are remembered. More are counted against the day of all alone.
const MAX_DAY_PEERS: usize = 16_384;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How much a relay gives. Rates are bytes a second; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayLimits {
    /// Nodes that may be reachable through this relay at a time.
    pub reservations: usize,
    /// The same for one address block (a /24 of IPv4, a /48 of IPv6).
    pub reservations_per_block: usize,
    /// How long a reservation lasts unless it is renewed.
    pub reservation_life: Duration,
    /// Circuits at a time.
    pub circuits: usize,
    /// Circuits at a time of which one node is an end.
    pub circuits_per_peer: usize,
    /// How long a circuit lasts.
    pub circuit_life: Duration,
    /// Bytes each way of one circuit; 0 is no limit.
    pub circuit_bytes: u64,
    /// Bytes a second of one circuit, both ways together.
    pub circuit_rate: u64,
    /// Bytes a second of all circuits.
    pub total_rate: u64,
    /// Bytes a day one node's circuits may carry; 0 is no limit.
    pub peer_day: u64,
    /// Bytes a day of all circuits; 0 is no limit.
    pub total_day: u64,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            reservations: 1024,
            reservations_per_block: 128,
            reservation_life: Duration::from_secs(3600),
            circuits: 1024,
            circuits_per_peer: 64,
            // A circuit carries work for as long as it takes; it upgrades to a direct path by itself.
            circuit_life: DAY,
            circuit_bytes: 0,
            circuit_rate: 0,
            total_rate: 0,
            peer_day: 0,
            total_day: 0,
        }
    }
}

/// Why a relay does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The relay is being shut down.
    Draining,
    /// All reservations are taken, or all of this address block.
    Reservations,
    /// All circuits are taken, or all of one of the two.
    Circuits,
    /// The day's bytes are used up.
    Day,
    /// The destination has no reservation here.
    NoReservation,
    /// To oneself.
    Loop,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From who opened the circuit.
    Forth,
    /// Towards who opened it.
    Back,
}

/// What becomes of bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// So many of them go on, after this time; they are counted. The rest is over a limit.
    On {
        /// At most what was asked for.
        bytes: u64,
        /// Zero without a rate, or below it.
        after: Duration,
    },
    /// None of them: the circuit ends, and why.
    Over(&'static str),
}

/// Names a circuit of this relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CircuitId(u64);

/// A rate, kept by telling everyone in turn when to go: what is taken ahead is waited for, so that those who share it
/// are served in the order they ask. Half a second's worth may go at once.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: u64,
    /// When everything taken so far has been worked off.
    free_at: Duration,
}

impl Bucket {
    const fn new(rate: u64) -> Self {
        Self {
            rate,
            free_at: Duration::ZERO,
        }
    }

    /// Takes bytes; returns how long to wait before they go.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.rate);
        let cost = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.free_at = self.free_at.max(now).saturating_add(cost);
        self.free_at.saturating_sub(now).saturating_sub(BURST)
    }
}

#[derive(Debug, Clone)]
struct Circuit {
    from: NodeId,
    to: NodeId,
    ends: Duration,
    passed: [u64; 2],
    bucket: Bucket,
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RelayCounts {
    /// Reservations now.
    pub reservations: u64,
    /// Circuits now.
    pub circuits: u64,
    /// Reservations given, renewals included.
    pub reserved: u64,
    /// Circuits opened.
    pub opened: u64,
    /// Requests refused.
    pub refused: u64,
    /// Circuits ended because of a limit.
    pub cut: u64,
    /// Bytes passed on.
    pub bytes: u64,
}

/// The relay's book. `now` is the time since the relay started and never goes back.
#[derive(Debug)]
pub(super) struct Book {
    limits: RelayLimits,
    reservations: BTreeMap<NodeId, (Duration, Block)>,
    circuits: BTreeMap<CircuitId, Circuit>,
    next: u64,
    bucket: Bucket,
    day: u64,
    today: u64,
    peers_today: BTreeMap<NodeId, u64>,
    draining: bool,
    counts: RelayCounts,
}

/// An address block: one network of one customer, usually.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block([u8; 7]);

fn block(address: IpAddr) -> Block {
    let mut out = [0; 7];
    match address.to_canonical() {
        IpAddr::V4(v4) => out[1..4].copy_from_slice(&v4.octets()[..3]),
        IpAddr::V6(v6) => {
            out[0] = 6;
            out[1..].copy_from_slice(&v6.octets()[..6]);
        }
    }
    Block(out)
}

impl Book {
    pub(super) fn new(limits: RelayLimits) -> Self {
        Self {
            limits,
            reservations: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next: 0,
            bucket: Bucket::new(limits.total_rate),
            day: 0,
            today: 0,
            peers_today: BTreeMap::new(),
            draining: false,
            counts: RelayCounts::default(),
        }
    }

    pub(super) const fn limits(&self) -> &RelayLimits {
        &self.limits
    }

    pub(super) fn counts(&self) -> RelayCounts {
        RelayCounts {
            reservations: self.reservations.len() as u64,
            circuits: self.circuits.len() as u64,
            ..self.counts
        }
    }

    /// Nothing new from now on; what there is goes on.
    pub(super) const fn drain(&mut self) {
        self.draining = true;
    }

    fn refuse<T>(&mut self, why: Refusal) -> Result<T, Refusal> {
        self.counts.refused += 1;
        Err(why)
    }

    /// Makes a node reachable through this relay, or renews that. Returns how long it lasts.
    pub(super) fn reserve(&mut self, now: Duration, peer: NodeId, from: IpAddr) -> Result<Duration, Refusal> {
        if self.draining {
            return self.refuse(Refusal::Draining);
        }
        self.reservations.retain(|_, (ends, _)| *ends > now);
        let block = block(from);
        let others = || self.reservations.iter().filter(|(p, _)| **p != peer);
        let full = others().count() >= self.limits.reservations;
        let crowded =
            others().filter(|(_, (_, b))| *b == block).count() >= self.limits.reservations_per_block;
        if full || crowded {
            return self.refuse(Refusal::Reservations);
        }
        let ends = now.add(self.limits.reservation_life);
        self.reservations.insert(peer, (ends, block));
        self.counts.reserved += 1;
        Ok(self.limits.reservation_life)
    }

    /// The last connection to a node is gone, and with it its reservation.
    pub(super) fn gone(&mut self, peer: &NodeId) {
        self.reservations.remove(peer);
    }

    /// Opens a circuit.
    pub(super) fn connect(&mut self, now: Duration, from: NodeId, to: NodeId) -> Result<CircuitId, Refusal> {
        if self.draining {
            return self.refuse(Refusal::Draining);
        }
        if from == to {
            return self.refuse(Refusal::Loop);
        }
        if self.reservations.get(&to).is_none_or(|(ends, _)| *ends <= now) {
            return self.refuse(Refusal::NoReservation);
        }
        let of = |peer: NodeId| {
            let mine = self.circuits.values().filter(|c| c.from == peer || c.to == peer);
            mine.count()
        };
        let most = self.limits.circuits_per_peer;
        if self.circuits.len() >= self.limits.circuits || of(from) >= most || of(to) >= most {
            return self.refuse(Refusal::Circuits);
        }
        self.turn_day(now);
        if self.left_today(&from, &to) == 0 {
            return self.refuse(Refusal::Day);
        }
        self.next += 1;
        let id = CircuitId(self.next);
        self.circuits.insert(
            id,
            Circuit {
                from,
                to,
                ends: now.add(self.limits.circuit_life),
                passed: [0; 2],
                bucket: Bucket::new(self.limits.circuit_rate),
            },
        );
        self.counts.opened += 1;
        Ok(id)
    }

    /// A circuit has ended.
    pub(super) fn end(&mut self, id: CircuitId) {
        self.circuits.remove(&id);
    }

    /// Asks what becomes of bytes read from one end.
    pub(super) fn pass(&mut self, now: Duration, id: CircuitId, way: Direction, read: u64) -> Pass {
        self.turn_day(now);
        let Some(circuit) = self.circuits.get(&id) else {
            return Pass::Over("the circuit has ended");
        };
        let (from, to) = (circuit.from, circuit.to);
        let way = usize::from(way == Direction::Back);
        let passed = circuit.passed.get(way).copied().unwrap_or(u64::MAX);
        let cap = match self.limits.circuit_bytes {
            0 => u64::MAX,
            most => most.saturating_sub(passed),
        };
        let day = self.left_today(&from, &to);
        let over = if now >= circuit.ends {
            Some("its time is over")
        } else if cap == 0 {
            Some("its bytes are used up")
        } else if day == 0 {
            Some("the day's bytes are used up")
        } else {
            None
        };
        if let Some(why) = over {
            self.counts.cut += 1;
            self.circuits.remove(&id);
            return Pass::Over(why);
        }
        let bytes = read.min(cap).min(day);
        let mut after = self.bucket.take(now, bytes);
        if let Some(circuit) = self.circuits.get_mut(&id) {
            after = after.max(circuit.bucket.take(now, bytes));
            if let Some(sum) = circuit.passed.get_mut(way) {
                *sum = sum.saturating_add(bytes);
            }
        }
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        self.today = self.today.saturating_add(bytes);
        for peer in [from, to] {
            if self.peers_today.len() < MAX_DAY_PEERS || self.peers_today.contains_key(&peer) {
                let sum = self.peers_today.entry(peer).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        if bytes < read {
            self.counts.cut += 1;
            self.circuits.remove(&id);
        }
        Pass::On { bytes, after }
    }

    fn turn_day(&mut self, now: Duration) {
        let day = now.as_secs() / DAY.as_secs();
        if day != self.day {
            self.day = day;
            self.today = 0;
            self.peers_today.clear();
        }
    }

    fn left_today(&self, from: &NodeId, to: &NodeId) -> u64 {
        let left = |most: u64, used: u64| {
            if most == 0 {
                u64::MAX
            } else {
                most.saturating_sub(used)
            }
        };
        let of = |peer| {
            left(
                self.limits.peer_day,
                self.peers_today.get(peer).copied().unwrap_or(0),
            )
        };
        left(self.limits.total_day, self.today).min(of(from)).min(of(to))
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
