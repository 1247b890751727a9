//! A stand-in for the authorities: holds and captures in memory, idempotent like the real ones.

use hive_protocol::{
    command::Refusal,
    ids::{AccountId, CommandId, HoldId, LeaseId, NetworkId},
    keys::{SecretKey, Signed},
    money::MicroCpt,
    receipt::{Countersigned, HoldGrant},
    time::Timestamp,
};
use std::collections::BTreeMap;

/// Where a hold stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldState {
    /// Open.
    Open,
    /// Paid out, this much.
    Captured(MicroCpt),
    /// Given back.
    Released,
    /// Ended by time.
    Expired,
}

/// One hold.
#[derive(Clone, Debug)]
pub struct Hold {
    /// The lease it pays for.
    pub lease: LeaseId,
    /// Who pays.
    pub payer: AccountId,
    /// Who is paid.
    pub payee: AccountId,
    /// How much.
    pub amount: MicroCpt,
    /// When it ends.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: HoldState,
}

/// The ledger of the test mesh.
#[derive(Debug)]
pub struct Authority {
    key: SecretKey,
    network: NetworkId,
    /// Free balances.
    pub balances: BTreeMap<AccountId, MicroCpt>,
    /// All holds ever.
    pub holds: BTreeMap<HoldId, Hold>,
    done: BTreeMap<CommandId, Result<MicroCpt, Refusal>>,
    /// Whether it answers.
    pub up: bool,
}

impl Authority {
    pub(super) fn new(network: NetworkId) -> Self {
        Self {
            key: SecretKey::from_seed(&[250; 32]),
            network,
            balances: BTreeMap::new(),
            holds: BTreeMap::new(),
            done: BTreeMap::new(),
            up: true,
        }
    }

    /// Everything there is: must never change.
    #[must_use]
    pub fn total(&self) -> u64 {
        let free: u64 = self.balances.values().map(|b| b.0).sum();
        let held: u64 = self
            .holds
            .values()
            .filter(|h| h.state == HoldState::Open)
            .map(|h| h.amount.0)
            .sum();
        free + held
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        for hold in self.holds.values_mut() {
            if hold.state == HoldState::Open && now >= hold.expires {
                hold.state = HoldState::Expired;
                let back = self.balances.entry(hold.payer).or_default();
                *back = back.saturating_add(hold.amount);
            }
        }
    }

    fn away() -> Refusal {
        Refusal::new("authority.unreachable", "no authority answers")
    }

    pub(super) fn hold(
        &mut self,
        command: CommandId,
        id: HoldId,
        hold: Hold,
    ) -> Result<(HoldGrant, Signed<HoldGrant>), Refusal> {
        if !self.up {
            return Err(Self::away());
        }
        let grant = HoldGrant {
            network: self.network,
            hold: id,
            lease: hold.lease,
            payer: hold.payer,
            payee: hold.payee,
            amount: hold.amount,
            expires: hold.expires,
        };
        let signed =
            Signed::sign(&self.key, &grant).map_err(|e| Refusal::new("hold.encoding", e.to_string()))?;
        if self.done.contains_key(&command) {
            return Ok((grant, signed));
        }
        let free = self.balances.entry(hold.payer).or_default();
        let Some(rest) = free.checked_sub(hold.amount) else {
            return Err(Refusal::new(
                "wallet.insufficient",
                format!("{free} are free, {} are needed", hold.amount),
            ));
        };
        *free = rest;
        self.done.insert(command, Ok(MicroCpt::ZERO));
        self.holds.insert(id, hold);
        Ok((grant, signed))
    }

    pub(super) fn capture(
        &mut self,
        command: CommandId,
        receipt: &Countersigned,
    ) -> Result<MicroCpt, Refusal> {
        if !self.up {
            return Err(Self::away());
        }
        if let Some(done) = self.done.get(&command) {
            return done.clone();
        }
        let r = receipt
            .verify()
            .map_err(|e| Refusal::new("receipt.signature", e.to_string()))?;
        let hold = self
            .holds
            .get_mut(&r.hold)
            .ok_or_else(|| Refusal::new("hold.unknown", "no such hold"))?;
        match hold.state {
            HoldState::Open => {}
            HoldState::Captured(_) => {
                return Err(Refusal::new("hold.captured", "captured before"));
            }
            _ => return Err(Refusal::new("hold.expired", "over")),
        }
        if r.amount > hold.amount || r.lease != hold.lease {
            return Err(Refusal::new("hold.exceeded", "more than was held"));
        }
        hold.state = HoldState::Captured(r.amount);
        let (payer, payee, rest) = (hold.payer, hold.payee, hold.amount.saturating_sub(r.amount));
        let to = self.balances.entry(payee).or_default();
        *to = to.saturating_add(r.amount);
        let back = self.balances.entry(payer).or_default();
        *back = back.saturating_add(rest);
        self.done.insert(command, Ok(r.amount));
        Ok(r.amount)
    }

    pub(super) fn release(&mut self, id: HoldId) {
        if !self.up {
            return;
        }
        if let Some(hold) = self.holds.get_mut(&id)
            && hold.state == HoldState::Open
        {
            hold.state = HoldState::Released;
            let back = self.balances.entry(hold.payer).or_default();
            *back = back.saturating_add(hold.amount);
        }
    }
}
