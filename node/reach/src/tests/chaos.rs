//! Any inputs in any order: no panic, all bounds hold, time goes on, the same seed does the same.

use super::*;
use crate::MappedBy;

struct Rng(u64);
impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn node(&mut self) -> NodeId {
        node(self.below(3000) as u16)
    }
    fn addr(&mut self) -> String {
        let ip = match self.below(6) {
            0 => "127.0.0.1".to_owned(),
            1 => format!("192.168.1.{}", self.below(4)),
            2 => format!("100.64.0.{}", self.below(9)),
            _ => format!("203.0.{}.{}", self.below(200), self.below(250)),
        };
        let port = self.below(4000);
        match self.below(8) {
            0 => format!("/ip6/2001:db8::{port}/tcp/{port}"),
            1 => "/rubbish".to_owned(),
            2 => "/ip4/".repeat(200),
            3..5 => format!("/ip4/{ip}/tcp/{port}"),
            5 => format!("/ip4/{ip}/tcp/{port}/p2p/12D3KooWx/p2p-circuit"),
            _ => format!("/ip4/{ip}/udp/{port}/quic-v1"),
        }
    }
    fn input(&mut self) -> Input {
        let (n, addr, flag) = (self.node(), self.addr(), self.below(2) == 0);
        match self.below(20) {
            0 => Input::Listening { addr },
            1 => Input::NotListening { addr },
            2 => Input::Observed {
                observer: n,
                from: self.addr(),
                addr,
            },
            3 => Input::Reached {
                by: n,
                from: self.addr(),
                addr: flag.then_some(addr),
            },
            4 => Input::Tested {
                addr,
                server: n,
                reachable: flag,
                stranger: self.below(2) == 0,
            },
            5 => Input::Mapped {
                addr,
                by: MappedBy::Upnp,
                life: Millis(self.below(9_000_000)),
            },
            6 => Input::Unmapped {
                addr,
                detail: self.addr(),
            },
            7 | 8 => Input::Connected {
                node: n,
                addr,
                dialer: flag,
            },
            9 => Input::Disconnected { node: n },
            10 => Input::DialFailed { node: n },
            11 => [
                Input::Tried {
                    addr: addr.clone(),
                    reached: flag,
                },
                Input::Moved {
                    node: n,
                    addr: addr.clone(),
                },
                Input::Silent { addr },
            ][self.below(3) as usize]
                .clone(),
            12 => Input::Authorities((0..self.below(40)).map(|_| self.node()).collect()),
            13 | 14 => Input::Heard(PeerFacts {
                node: n,
                account: account(self.below(500) as u16),
                score: self.below(200) as u32,
                relays: flag,
                addrs: (0..self.below(12)).map(|_| self.addr()).collect(),
                leaving: self.below(9) == 0,
            }),
            15 => Input::Found((0..self.below(30)).map(|_| self.node()).collect()),
            16 => Input::RelayTold {
                node: n,
                rtt_us: self.next(),
                load: RelayLoad {
                    serving: flag,
                    load_milli: self.next() as u32,
                },
            },
            17 => Input::Reserved { relay: n, addr },
            18 => Input::ReservationLost { relay: n, addr },
            _ => [
                Input::Fresh,
                Input::Tick,
                Input::Drain(flag),
                Input::RelaySilent { node: n },
            ][self.below(4) as usize]
                .clone(),
        }
    }
}

/// Everything said for a seed, as text.
fn run(seed: u64) -> String {
    let mut rng = Rng(seed | 1);
    let mut rig = Rig::new(|c| c.authority = seed.is_multiple_of(5));
    let mut said = String::new();
    for _ in 0..500 {
        let mut input = rng.input();
        // Answers to what was asked, now and then.
        for effect in rig.taken() {
            if rng.below(3) == 0 {
                match &effect {
                    Effect::Reserve { relay, .. } => {
                        input = Input::Reserved {
                            relay: *relay,
                            addr: circuit(*relay),
                        };
                    }
                    Effect::Dial { node, addrs } => {
                        let addr = addrs.first().cloned().unwrap_or_default();
                        input = Input::Connected {
                            node: *node,
                            addr,
                            dialer: true,
                        };
                    }
                    Effect::Try { addr, .. } => {
                        input = Input::Tried {
                            addr: addr.clone(),
                            reached: rng.below(3) == 0,
                        };
                    }
                    _ => {}
                }
            }
            said.push_str(&format!("{effect:?}\n"));
        }
        rig.tell(input);
        rig.pass(Millis(rng.below(20_000)));
    }
    let report = rig.reach.report();
    assert!(report.published.len() <= 8 && report.protected.len() <= 32);
    said
}

#[test]
fn any_inputs_hold_the_bounds_and_a_seed_repeats() {
    for seed in 1..6 {
        let said = run(seed);
        assert!(!said.is_empty());
        if seed < 3 {
            assert_eq!(said, run(seed));
        }
    }
}
