//! Nothing is paid but work: of each lease no more than its price for the fuel that was burnt under it (for a
//! liar: that it reported, within the limits, for tries it was handed), and of each job no more than its journal
//! says is spent, which is never more than its budget.

use super::Violation;
use crate::oracle::{JobFacts, LeaseFacts, Oracle};
use hive_protocol::{
    ids::{HoldId, JobId},
    money::MicroCpt,
};

impl LeaseFacts {
    /// The most its worker may be paid by what was truly done.
    #[must_use]
    pub fn worth(&self) -> MicroCpt {
        self.price.cost(self.executed.values().sum())
    }

    /// The most it may be paid by what was said.
    #[must_use]
    pub fn claim(&self) -> MicroCpt {
        let handed = self.reported.iter().filter(|(t, _)| self.handed.contains(t));
        self.price.cost(handed.map(|(_, fuel)| fuel).sum())
    }
}

/// Looks at a capture that has just been made.
///
/// # Errors
/// It pays for what was not done.
pub fn captured(oracle: &Oracle, hold: &HoldId) -> Result<(), Violation> {
    let bad = |detail| Err(Violation::new("paid_for_work", detail));
    let Some(h) = oracle.books.holds.get(hold) else {
        return Ok(());
    };
    let Some(lease) = oracle.lease(&h.lease) else {
        return bad(format!("{} is paid for a lease nobody asked for", h.paid));
    };
    let most = if oracle.is_liar(lease.worker) {
        lease.claim()
    } else {
        lease.worth()
    };
    if h.paid > most {
        return bad(format!(
            "lease {} is paid {}, its work is worth {most}",
            h.lease, h.paid
        ));
    }
    let Some(job) = oracle.job(&lease.job) else {
        return bad(format!("lease {} is for no job", h.lease));
    };
    let paid = oracle.captured_for(&lease.job);
    if paid > job.spent {
        return bad(format!(
            "job {} has paid {paid}, its journal says {}",
            lease.job, job.spent
        ));
    }
    if job.spent > job.budget {
        return bad(format!(
            "job {} has spent {} of a budget of {}",
            lease.job, job.spent, job.budget
        ));
    }
    Ok(())
}

/// Looks at what a journal is told that its job has spent.
///
/// # Errors
/// It is less than before.
pub fn spent(job: &JobId, facts: &JobFacts, spent: MicroCpt) -> Result<(), Violation> {
    if spent < facts.spent {
        return Err(Violation::new(
            "paid_for_work",
            format!("job {job} has spent {spent} after {}", facts.spent),
        ));
    }
    Ok(())
}
