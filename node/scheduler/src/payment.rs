//! What work is worth: one rule for both sides, so that an honest receipt always matches.

use hive_protocol::{
    money::{MicroCpt, Price},
    task::{Limits, Outcome, TaskResult},
};

/// Code of a task given back before it was started. It says nothing about the worker or the program.
pub const RECALLED: &str = "task.recalled";
/// Code of a task stopped while it ran because the submitter asked for it. What it burnt is paid.
pub const STOPPED: &str = "task.stopped";

/// Whether a task that ended so is to be paid: it did what it was told, failed by itself, or was stopped by
/// the submitter. What is the worker's fault is not.
#[must_use]
pub fn is_payable(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Exited(_) => true,
        Outcome::Failed { retryable, code, .. } => !retryable || code == STOPPED,
    }
}

/// The fuel of a result that counts: nothing when it is not payable, never more than its limit.
#[must_use]
pub fn payable_fuel(result: &TaskResult, limits: &Limits) -> u64 {
    if is_payable(&result.outcome) {
        result.usage.fuel.min(limits.fuel)
    } else {
        0
    }
}

/// What is owed for this much fuel: never more than the hold. Work beyond it is the worker's own risk,
/// which is why it starts nothing once the hold is used up.
#[must_use]
pub fn owed(price: Price, fuel: u64, hold: MicroCpt) -> MicroCpt {
    price.cost(fuel).min(hold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_protocol::{ids::TaskIndex, task::Usage};

    fn result(outcome: Outcome, fuel: u64) -> TaskResult {
        TaskResult {
            index: TaskIndex(0),
            attempt: 1,
            outcome,
            stdout: None,
            stderr: None,
            outputs: Vec::new(),
            usage: Usage {
                fuel,
                ..Usage::default()
            },
        }
    }

    fn failed(code: &str, retryable: bool) -> Outcome {
        Outcome::Failed {
            code: code.into(),
            detail: String::new(),
            retryable,
        }
    }

    #[test]
    fn the_programs_failure_is_paid_and_the_workers_is_not() {
        let limits = Limits {
            fuel: 100,
            ..Limits::default()
        };
        let fuel = |o, f| payable_fuel(&result(o, f), &limits);
        assert_eq!(fuel(Outcome::Exited(0), 7), 7);
        assert_eq!(fuel(Outcome::Exited(3), 7), 7);
        assert_eq!(fuel(Outcome::Exited(0), 1000), 100, "a lie is cut");
        assert_eq!(fuel(failed("task.fuel", false), 100), 100);
        assert_eq!(fuel(failed("exec.died", true), 100), 0);
        assert_eq!(fuel(failed(STOPPED, true), 50), 50);
    }

    #[test]
    fn nothing_is_owed_beyond_the_hold() {
        let p = Price {
            per_gfuel: MicroCpt(1000),
        };
        assert_eq!(owed(p, 2_000_000_000, MicroCpt(5000)), MicroCpt(2000));
        assert_eq!(owed(p, 9_000_000_000, MicroCpt(5000)), MicroCpt(5000));
    }
}
