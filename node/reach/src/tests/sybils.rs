//! Nodes surrounded by members of one attacker: they keep an authority and at least two honest peers.

use super::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Rng(u64);
impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

struct World {
    rig: Rig,
    rng: Rng,
    connected: std::collections::BTreeSet<u16>,
    honest: usize,
    all: usize,
    accounts: usize,
    earned: bool,
}

/// Room for connections of members nobody protects: what an attacker can fill.
const PLACES: usize = 20;

impl World {
    /// Node 1 is the authority, 2.. are honest, the rest one attacker's with `accounts` accounts.
    fn new(seed: u64, honest: usize, sybils: usize, accounts: usize, earned: bool) -> Self {
        let mut rig = Rig::behind_nat();
        rig.reach.anchors_seed(seed);
        Self {
            rig,
            rng: Rng(seed),
            connected: [1].into(),
            honest,
            all: honest + sybils,
            accounts,
            earned,
        }
    }

    fn is_honest(&self, n: u16) -> bool {
        (2..2 + self.honest).contains(&usize::from(n))
    }

    fn facts(&self, n: u16) -> PeerFacts {
        let honest = self.is_honest(n);
        let owner = if honest {
            n
        } else {
            20_000 + n % self.accounts as u16
        };
        PeerFacts {
            node: node(n),
            account: account(owner),
            score: if honest && self.earned { 120 } else { 50 },
            relays: !honest,
            addrs: vec![addr_of(n)],
            leaving: false,
        }
    }

    fn connect(&mut self, n: u16, dialer: bool) {
        self.rig.tell(Input::Connected {
            node: node(n),
            addr: addr_of(n),
            dialer,
        });
        self.connected.insert(n);
        // The attacker's connections fill what is not protected; the network closes what was idle longest.
        let kept = self.rig.reach.report().protected;
        while self.connected.len() > PLACES {
            let loose: Vec<u16> = self
                .connected
                .iter()
                .copied()
                .filter(|c| !kept.contains(&node(*c)))
                .collect();
            let Some(out) = loose.get(self.rng.below(loose.len().max(1))).copied() else {
                break;
            };
            self.lose(out);
        }
    }

    fn lose(&mut self, n: u16) {
        self.connected.remove(&n);
        self.rig.tell(Input::Disconnected { node: node(n) });
    }

    /// The dials that were asked for succeed, the attacker's peers come by themselves.
    fn step(&mut self) {
        for effect in self.rig.taken() {
            if let Effect::Dial { node: to, .. } = effect {
                let n = u16::from_be_bytes([to.0[0], to.0[1]]);
                self.connect(n, true);
            }
        }
        let n = 2 + self.rng.below(self.all) as u16;
        self.rig.tell(Input::Heard(self.facts(n)));
        if !self.is_honest(n) {
            self.connect(n, false);
        }
        if self.rng.below(20) == 0 {
            // Any connection may break.
            let any: Vec<u16> = self.connected.iter().copied().collect();
            let out = any[self.rng.below(any.len())];
            self.lose(out);
        }
        self.rig.pass(Millis(500));
    }

    fn honest_now(&self) -> usize {
        self.connected.iter().filter(|n| self.is_honest(**n)).count()
    }
}

fn addr_of(n: u16) -> String {
    if n == 1 {
        return HOP.to_owned();
    }
    format!("/ip4/100.{}.{}.1/tcp/4001", 128 + n % 100, n / 100)
}

fn surrounded(honest: usize, sybils: usize, accounts: usize, earned: bool) -> (usize, usize) {
    let (mut good, mut looks) = (0, 0);
    for seed in 0..5 {
        let mut world = World::new(seed, honest, sybils, accounts, earned);
        world.rig.tell(Input::Heard(PeerFacts {
            node: node(1),
            addrs: vec![HOP.to_owned()],
            ..world.facts(2)
        }));
        for n in 0..800 {
            world.step();
            if n >= 400 {
                looks += 1;
                good += usize::from(world.connected.contains(&1) && world.honest_now() >= 2);
            }
        }
        world.step();
        let settled = (0..20).any(|_| {
            world.step();
            world.connected.contains(&1) && world.honest_now() >= 2
        });
        assert!(
            settled,
            "seed {seed}: {} honest of {:?}",
            world.honest_now(),
            world.connected
        );
    }
    (good, looks)
}

#[test]
fn half_of_the_members_are_one_attackers() {
    let (good, looks) = surrounded(30, 30, 3, false);
    assert!(good * 100 >= looks * 90, "{good} of {looks}");
}

#[test]
fn nine_of_ten_members_are_one_attackers_with_few_accounts() {
    let (good, looks) = surrounded(20, 180, 2, false);
    assert!(good * 100 >= looks * 90, "{good} of {looks}");
}

#[test]
fn nine_of_ten_members_with_accounts_of_their_own_but_without_merit() {
    let (good, looks) = surrounded(20, 180, 180, true);
    assert!(good * 100 >= looks * 90, "{good} of {looks}");
}

#[test]
fn friends_of_before_the_flood_are_kept() {
    for seed in 0..5 {
        let mut world = World::new(seed, 4, 0, 1, false);
        for n in 2..6 {
            world.rig.tell(Input::Heard(world.facts(n)));
            world.connect(n, true);
        }
        world.rig.pass(Millis::secs(5));
        world.all = 400;
        world.accounts = 400;
        for _ in 0..600 {
            world.step();
        }
        assert!(world.honest_now() >= 2, "seed {seed}: {:?}", world.connected);
    }
}
