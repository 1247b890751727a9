//! Everything at once, from a seed: cuts, crashes, restarts, losses, authorities away. Then a calm in which
//! every job must end, every hold must be settled, and nobody be paid twice.

use super::*;
use crate::{
    submitter::Input,
    testing::{PAYER, TestHive},
};
use hive_protocol::{money::MicroCpt, task::Outcome};
use std::{cell::Cell, rc::Rc};

/// A small generator: the only randomness here, and it is the seed's.
#[derive(Clone)]
struct Dice(Rc<Cell<u64>>);

impl Dice {
    fn roll(&self, sides: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        (x >> 11) % sides
    }
    fn once_in(&self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

fn storm(seed: u64) {
    let dice = Dice(Rc::new(Cell::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)));
    let mut hive = TestHive::new();
    for n in 0..4u32 {
        let score = [20, 60, 60, 110][n as usize];
        let i = hive.worker_with(n + 1, score, 500 + 300 * u64::from(n), |_| {});
        hive.workers[i].task_ms = 20 + dice.roll(400);
        hive.workers[i].fuel = 1_000_000 + dice.roll(400_000_000);
        if dice.once_in(6) {
            hive.workers[i].lie = 2;
        }
        for t in 0..10 {
            if dice.once_in(4) {
                hive.workers[i].outcomes.insert(
                    t,
                    Outcome::Failed {
                        code: "blob.unavailable".into(),
                        detail: String::new(),
                        retryable: dice.once_in(2),
                    },
                );
            }
        }
    }
    let loss = 20 + dice.roll(60);
    let calm = Rc::new(Cell::new(false));
    let (d, c) = (dice.clone(), calm.clone());
    hive.filter = Box::new(move |_, _, _| c.get() || !d.once_in(loss));
    let mut jobs = Vec::new();
    for n in 0..300 {
        hive.run(200);
        if n % 40 == 0 {
            let mut spec = TestHive::spec(30 + u32::try_from(dice.roll(60)).unwrap());
            spec.open = dice.once_in(3);
            spec.budget = MicroCpt(20_000 + dice.roll(100_000));
            jobs.push(hive.submit(spec));
        }
        let w = usize::try_from(dice.roll(4)).unwrap();
        match dice.roll(40) {
            0..3 => hive.cut(w),
            3..12 => hive.connect(w),
            12 => {
                hive.kill(w);
                hive.announce(w);
            }
            13..17 if !hive.workers[w].alive => {
                hive.revive(w);
                hive.announce(w);
            }
            17 => hive.kill_executor(w),
            18 if dice.once_in(3) => hive.restart_submitter(),
            19 => {
                hive.authority.up = !hive.authority.up;
                let input = if hive.authority.up {
                    Input::AuthorityUp
                } else {
                    Input::AuthorityDown
                };
                hive.input(input);
            }
            20 => {
                let job = jobs[usize::try_from(dice.roll(jobs.len() as u64)).unwrap()];
                let index = TaskIndex(u32::try_from(dice.roll(30)).unwrap());
                hive.input(Input::StopTask { job, index });
            }
            21 if dice.once_in(4) => {
                let job = jobs[usize::try_from(dice.roll(jobs.len() as u64)).unwrap()];
                hive.input(Input::StopJob { job });
            }
            22 => hive.tell(w, worker::Input::Drain(dice.once_in(2))),
            _ => {}
        }
    }
    calm.set(true);
    hive.authority.up = true;
    hive.input(Input::AuthorityUp);
    for w in 0..4 {
        if !hive.workers[w].alive {
            hive.revive(w);
        }
        hive.workers[w].lie = 1;
        hive.connect(w);
        hive.tell(w, worker::Input::Drain(false));
        hive.tell(w, worker::Input::AuthorityUp);
        hive.announce(w);
    }
    for job in &jobs {
        hive.input(Input::CloseJob { job: *job });
    }
    for job in &jobs {
        let done = hive.run_until(60 * MINUTE, |h| {
            let v = h.submitter.job(*job).unwrap();
            v.state.is_final() || matches!(&v.state, JobState::Waiting { code, .. } if code == "job.budget")
        });
        assert!(
            done,
            "seed {seed}: {:?} {:#?}\n{:#?}\n{:#?}",
            hive.submitter.job(*job),
            hive.submitter.leases().collect::<Vec<_>>(),
            hive.submitter.explain(*job, TaskIndex(0)),
            hive.workers
                .iter()
                .map(|w| (w.core.leases().collect::<Vec<_>>(), w.core.free().clone()))
                .collect::<Vec<_>>(),
        );
        let view = hive.submitter.job(*job).unwrap();
        assert!(view.totals.spent <= view.budget, "seed {seed}: {view:?}");
        hive.input(Input::StopJob { job: *job });
    }
    // Longer than any hold lives.
    hive.run(40 * MINUTE);
    assert!(hive.submitter.is_settled(), "seed {seed}");
    for w in &hive.workers {
        assert!(
            w.core.is_settled(),
            "seed {seed}: {:#?}",
            w.core.leases().collect::<Vec<_>>()
        );
        assert_eq!(
            w.core.free().cpu_milli,
            w.config.terms.capabilities.total.cpu_milli,
            "seed {seed}: resources returned"
        );
        assert!(w.executors.is_empty(), "seed {seed}: executors left");
    }
    assert_eq!(open_holds(&hive), 0, "seed {seed}");
    let spent: u64 = jobs
        .iter()
        .map(|j| hive.submitter.job(*j).unwrap().totals.spent.0)
        .sum();
    let paid = MicroCpt::cpt(1_000_000).0 - hive.authority.balances[&PAYER].0;
    assert!(paid <= spent, "seed {seed}: paid {paid}, countersigned {spent}");
    for job in &jobs {
        let tasks = hive.journal[job].tasks.len();
        assert_eq!(hive.journal[job].ended.len(), tasks, "seed {seed}: a task lost");
    }
}

#[test]
fn forty_storms_and_a_calm_after_each() {
    // `HIVE_STORMS=1000` plays more, `HIVE_STORM=17` only that one.
    let number = |name| -> Option<u64> { std::env::var_os(name)?.to_str()?.parse().ok() };
    let (from, n) = match number("HIVE_STORM") {
        Some(seed) => (seed, 1),
        None => (0, number("HIVE_STORMS").unwrap_or(40)),
    };
    for seed in from..from + n {
        storm(seed);
    }
}
