//! What a relay has promised to whom, and what may still pass. Pure: time comes as an argument, bytes never come.

use super::{
    bucket::{Bucket, Speed},
    limits::{RelayCounts, RelayDay, RelayLimits},
    terms::{CircuitId, Cut, Direction, Pass, Refusal},
    users::{Block, Call, Users, block},
};
use hive_protocol::ids::NodeId;
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// Bytes read from a circuit at once where a limit is near: what is read beyond a limit at most.
pub(super) const PIECE: usize = 16 << 10;
/// The smallest piece of a slow circuit: below that the work for each piece would be all there is.
const SMALL_PIECE: usize = 1 << 10;
/// Bytes read at once while no limit is near: large reads are what makes a relay cheap.
pub(super) const LARGE_PIECE: usize = 128 << 10;
/// A circuit on which nothing is said for so long is ended; nodes on a living one say something every ten seconds.
pub(super) const SILENCE: Duration = Duration::from_secs(120);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// An end of a circuit and the address block it is in.
pub(super) type End = (NodeId, Block);

#[derive(Debug, Clone)]
pub(super) struct Circuit {
    pub from: End,
    pub to: End,
    pub since: Duration,
    pub passed: [u64; 2],
    /// When a byte last went either way.
    last: Duration,
    bucket: Bucket,
    pub tcp: bool,
}

impl Circuit {
    const fn call(&self) -> Call {
        Call {
            from: self.from,
            to: self.to,
            tcp: self.tcp,
        }
    }
}

/// The relay's book. `now` is the time since the relay started and never goes back.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) limits: RelayLimits,
    pub(super) reservations: BTreeMap<NodeId, (Duration, Block)>,
    pub(super) circuits: BTreeMap<CircuitId, Circuit>,
    next: u64,
    bucket: Bucket,
    /// The time since 1970 at the relay's start, as the machine's clock has it now: it may be put right later.
    epoch: Duration,
    day: u64,
    day_began: Duration,
    /// For how long the day had lasted when it was taken up from before a restart.
    earlier: Duration,
    pub(super) today: u64,
    pub(super) users: Users,
    pub(super) speed: Speed,
    pub(super) draining: bool,
    counts: RelayCounts,
}

/// What is left of a limit; 0 is none.
pub(super) const fn left(most: u64, used: u64) -> u64 {
    if most == 0 {
        u64::MAX
    } else {
        most.saturating_sub(used)
    }
}

impl Book {
    pub(super) fn new(limits: RelayLimits) -> Self {
        Self {
            limits,
            reservations: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next: 0,
            bucket: Bucket::default(),
            epoch: Duration::ZERO,
            day: 0,
            day_began: Duration::ZERO,
            earlier: Duration::ZERO,
            today: 0,
            users: Users::default(),
            speed: Speed::default(),
            draining: false,
            counts: RelayCounts::default(),
        }
    }

    pub(super) const fn limits(&self) -> &RelayLimits {
        &self.limits
    }

    /// Other limits from now on; what is over them ends at its next byte, reservations at their next renewal.
    pub(super) const fn set_limits(&mut self, limits: RelayLimits) {
        self.limits = limits;
    }

    pub(super) fn counts(&self) -> RelayCounts {
        RelayCounts {
            reservations: self.reservations.len() as u64,
            circuits: self.circuits.len() as u64,
            ..self.counts
        }
    }

    pub(super) const fn counts_mut(&mut self) -> &mut RelayCounts {
        &mut self.counts
    }

    /// Nothing new from now on, or new ones again; what there is goes on.
    pub(super) const fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    fn refuse<T>(&mut self, why: Refusal) -> Result<T, Refusal> {
        let counts = &mut self.counts;
        counts.refused += 1;
        *match why {
            Refusal::Draining => &mut counts.refused_draining,
            Refusal::Reservations => &mut counts.refused_reservations,
            Refusal::Circuits => &mut counts.refused_circuits,
            Refusal::Day => &mut counts.refused_day,
            Refusal::NoReservation => &mut counts.refused_no_reservation,
            Refusal::Denied => &mut counts.refused_denied,
            Refusal::Rate => &mut counts.refused_rate,
        } += 1;
        Err(why)
    }

    /// Counts what is refused before the book is asked.
    pub(super) fn denied(&mut self) -> Refusal {
        let _ = self.refuse::<()>(Refusal::Denied);
        Refusal::Denied
    }

    /// Counts a request for which there was no place.
    pub(super) fn overrun(&mut self) -> Refusal {
        let _ = self.refuse::<()>(Refusal::Rate);
        Refusal::Rate
    }

    /// Whether a node may ask for anything now, from this address; false is a refusal that needs no answer.
    pub(super) fn asks(&mut self, now: Duration, peer: NodeId, from: IpAddr) -> Result<(), Refusal> {
        self.tidy(now);
        if self
            .users
            .ask(now, peer, block(from), self.limits.requests_per_minute)
        {
            Ok(())
        } else {
            self.refuse(Refusal::Rate)
        }
    }

    /// Makes a node reachable through this relay, or renews that. Returns how long it lasts.
    pub(super) fn reserve(&mut self, now: Duration, peer: NodeId, from: IpAddr) -> Result<Duration, Refusal> {
        if self.draining {
            return self.refuse(Refusal::Draining);
        }
        self.tidy(now);
        let block = block(from);
        let others = || self.reservations.iter().filter(|(p, _)| **p != peer);
        let full = others().count() >= self.limits.reservations;
        let crowded =
            others().filter(|(_, (_, b))| *b == block).count() >= self.limits.reservations_per_block;
        if full || crowded {
            return self.refuse(Refusal::Reservations);
        }
        let ends = now.saturating_add(self.limits.reservation_life);
        self.reservations.insert(peer, (ends, block));
        self.counts.reserved += 1;
        Ok(self.limits.reservation_life)
    }

    /// The connection a node has reserved on is gone, and with it its reservation.
    pub(super) fn gone(&mut self, peer: &NodeId) {
        self.reservations.remove(peer);
    }

    /// Opens a circuit from a node at this address; `tcp` says that it connects two TCP connections.
    pub(super) fn connect(
        &mut self,
        now: Duration,
        from: (NodeId, IpAddr),
        to: NodeId,
        tcp: bool,
    ) -> Result<CircuitId, Refusal> {
        if self.draining {
            return self.refuse(Refusal::Draining);
        }
        if from.0 == to {
            return self.refuse(Refusal::Denied);
        }
        self.tidy(now);
        let Some((_, to_block)) = self.reservations.get(&to) else {
            return self.refuse(Refusal::NoReservation);
        };
        let (from, to) = ((from.0, block(from.1)), (to, *to_block));
        let call = Call { from, to, tcp };
        if self.circuits.len() >= self.limits.circuits || !self.users.room(&self.limits, now, call) {
            return self.refuse(Refusal::Circuits);
        }
        if self.left_today(from) == 0 {
            return self.refuse(Refusal::Day);
        }
        self.next += 1;
        let id = CircuitId(self.next);
        self.users.opened(call);
        self.circuits.insert(
            id,
            Circuit {
                from,
                to,
                since: now,
                passed: [0; 2],
                last: now,
                bucket: Bucket::default(),
                tcp,
            },
        );
        self.counts.opened += 1;
        self.counts.opened_tcp += u64::from(tcp);
        Ok(id)
    }

    /// A circuit has ended by itself.
    pub(super) fn end(&mut self, id: CircuitId) {
        if let Some(circuit) = self.circuits.remove(&id) {
            self.users.closed(circuit.call());
        }
    }

    /// Ends a circuit, and says for which reason in the counters; nothing when it has ended already.
    pub(super) fn cut(&mut self, id: CircuitId, why: Cut) {
        if !self.circuits.contains_key(&id) {
            return;
        }
        self.end(id);
        let counts = &mut self.counts;
        counts.cut += 1;
        match why {
            Cut::Bytes => counts.cut_bytes += 1,
            Cut::Day => counts.cut_day += 1,
            Cut::Time => counts.cut_time += 1,
            Cut::Stalled => counts.cut_stalled += 1,
            Cut::Idle => counts.cut_idle += 1,
            Cut::Drained => counts.cut_drained += 1,
            Cut::Gone => {}
        }
    }

    /// Ends all circuits; says how many there were.
    pub(super) fn cut_all(&mut self) -> usize {
        let all: Vec<CircuitId> = self.circuits.keys().copied().collect();
        for id in &all {
            self.cut(*id, Cut::Drained);
        }
        all.len()
    }

    /// When a circuit that says nothing more is over: by its own time, or by silence.
    pub(super) fn until(&self, id: CircuitId) -> Option<Duration> {
        let circuit = self.circuits.get(&id)?;
        let silent = circuit.last.saturating_add(SILENCE);
        Some(silent.min(circuit.since.saturating_add(self.limits.circuit_life)))
    }

    /// Ends a circuit that is over; says whether it was.
    pub(super) fn lapse(&mut self, now: Duration, id: CircuitId) -> Option<Cut> {
        let Some(circuit) = self.circuits.get(&id) else {
            return Some(Cut::Gone);
        };
        let why = if now >= circuit.since.saturating_add(self.limits.circuit_life) {
            Cut::Time
        } else if now >= circuit.last.saturating_add(SILENCE) {
            Cut::Idle
        } else {
            return None;
        };
        self.cut(id, why);
        Some(why)
    }

    /// How many bytes to read next: many while no limit is near, never more than a piece beyond what may pass.
    pub(super) fn piece(&self, id: CircuitId, way: Direction) -> usize {
        let Some(circuit) = self.circuits.get(&id) else {
            return SMALL_PIECE;
        };
        let rate = self.limits.slowest();
        if rate > 0 {
            // A quarter second's worth at most, so that pauses stay short.
            let quarter = usize::try_from(rate / 4).unwrap_or(usize::MAX);
            return quarter.clamp(SMALL_PIECE, PIECE);
        }
        let left = self.left_of(circuit, way);
        if left > LARGE_PIECE as u64 * 4 {
            LARGE_PIECE
        } else {
            PIECE
        }
    }

    fn left_of(&self, circuit: &Circuit, way: Direction) -> u64 {
        let way = usize::from(way == Direction::Back);
        let passed = circuit.passed.get(way).copied().unwrap_or(u64::MAX);
        left(self.limits.circuit_bytes, passed).min(self.left_today(circuit.from))
    }

    /// Asks what becomes of bytes read from one end.
    pub(super) fn pass(&mut self, now: Duration, id: CircuitId, way: Direction, read: u64) -> Pass {
        self.turn_day(now);
        let Some(circuit) = self.circuits.get(&id) else {
            return Pass::Over(Cut::Gone);
        };
        let (from, to) = (circuit.from, circuit.to);
        let bytes = read.min(self.left_of(circuit, way));
        let over = if now >= circuit.since.saturating_add(self.limits.circuit_life) {
            Some(Cut::Time)
        } else if bytes < read && self.left_today(from) == bytes {
            Some(Cut::Day)
        } else if bytes < read {
            Some(Cut::Bytes)
        } else {
            None
        };
        if let Some(why) = over
            && (bytes == 0 || why == Cut::Time)
        {
            self.cut(id, why);
            return Pass::Over(why);
        }
        let mut after = self.bucket.take(now, bytes, self.limits.total_rate);
        after = after.max(self.users.charge(&self.limits, now, from, to, bytes));
        if let Some(circuit) = self.circuits.get_mut(&id) {
            after = after.max(circuit.bucket.take(now, bytes, self.limits.circuit_rate));
            circuit.last = now.saturating_add(after);
            if let Some(sum) = circuit.passed.get_mut(usize::from(way == Direction::Back)) {
                *sum = sum.saturating_add(bytes);
            }
        }
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        self.today = self.today.saturating_add(bytes);
        self.speed.add(now, bytes);
        if let Some(why) = over {
            self.cut(id, why);
        }
        Pass::On { bytes, after }
    }

    /// Forgets what is over.
    pub(super) fn tidy(&mut self, now: Duration) {
        self.turn_day(now);
        self.reservations.retain(|_, (ends, _)| *ends > now);
    }

    /// The time since 1970, as the machine's clock has it: it says when days begin.
    pub(super) fn clock(&mut self, now: Duration, since_1970: Duration) {
        self.epoch = since_1970.saturating_sub(now);
        self.turn_day(now);
    }

    /// For how long the day has been counted, restarts or not.
    const fn lasted(&self, now: Duration) -> Duration {
        now.saturating_sub(self.day_began).saturating_add(self.earlier)
    }

    /// Begins a new day when the clock says so. A clock that is put back gives nobody a second day's bytes; so that none
    /// that was far ahead makes a day last for ever, none lasts longer than 24 hours in which a relay runs.
    fn turn_day(&mut self, now: Duration) {
        let day = self.epoch.saturating_add(now).as_secs() / DAY.as_secs();
        if day > self.day || self.lasted(now) >= DAY {
            self.day = day;
            (self.day_began, self.earlier) = (now, Duration::ZERO);
            self.today = 0;
            self.users.new_day(now);
        }
    }

    /// What has been relayed today.
    pub(super) fn day(&mut self, now: Duration) -> RelayDay {
        self.turn_day(now);
        let mut day = RelayDay {
            day: self.day,
            lasted: self.lasted(now),
            total: self.today,
            ..RelayDay::default()
        };
        self.users.tell_day(&mut day);
        day
    }

    /// Counts what was relayed earlier on the same day, before a restart. A day that the clock has not reached is taken
    /// for this one: the clock is behind.
    pub(super) fn take_up(&mut self, now: Duration, earlier: &RelayDay) {
        self.turn_day(now);
        if earlier.day < self.day {
            return;
        }
        self.day = earlier.day;
        self.earlier = self.earlier.max(earlier.lasted);
        self.today = self.today.saturating_add(earlier.total);
        self.users.take_up(now, earlier);
    }

    fn left_today(&self, from: End) -> u64 {
        left(self.limits.total_day, self.today).min(self.users.left_today(&self.limits, from))
    }
}

#[cfg(test)]
#[path = "book_share_tests.rs"]
mod share_tests;
#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
