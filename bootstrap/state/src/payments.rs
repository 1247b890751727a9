//! Commands that move money: transfer, hold, capture, release.

use crate::{
    event::Event,
    state::{Effect, State, refused},
    verify::Verified,
};
use hive_ledger::{LedgerError, NewHold, Stamp};
use hive_protocol::{
    authority::HoldState,
    command::{Command, CommandBody, Refusal},
    ids::{AccountId, HoldId},
    money::MicroCpt,
};
use hive_trust::Evidence;

impl State {
    pub(crate) fn transfer(
        &mut self,
        from: AccountId,
        to: AccountId,
        amount: MicroCpt,
        memo: &str,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        self.ledger
            .transfer(from, to, amount, memo, stamp)
            .map_err(|e| refused(&e))?;
        events.push(Event::Transferred { from, to, amount });
        Ok(Effect::default())
    }

    pub(crate) fn hold(
        &mut self,
        c: &Command,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let CommandBody::Hold {
            hold,
            lease,
            payee,
            amount,
            expires,
        } = c.body
        else {
            return Err(misrouted());
        };
        let new = NewHold {
            hold,
            lease,
            payer: c.account,
            payee,
            amount,
            expires,
        };
        let made = self.ledger.hold(&new, stamp).map_err(|e| refused(&e))?;
        if made == stamp.index {
            events.push(Event::Held {
                hold,
                payer: c.account,
                payee,
                amount,
            });
        }
        Ok(Effect {
            hold: Some(hold),
            ..Effect::default()
        })
    }

    pub(crate) fn capture(
        &mut self,
        v: &Verified,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let receipt = v.receipt.as_ref().ok_or_else(misrouted)?;
        let id = receipt.hold;
        let hold = *self
            .ledger
            .get_hold(&id)
            .ok_or_else(|| refused(&LedgerError::HoldUnknown(id)))?;
        let by = v.command.account;
        if by != hold.payer && by != hold.payee {
            return Err(Refusal::new(
                "hold.not_party",
                format!("only its payer and its payee can have hold {id} paid out"),
            ));
        }
        if receipt.lease != hold.lease {
            return Err(Refusal::new(
                "receipt.lease",
                format!(
                    "the receipt is for lease {}, the hold pays for {}",
                    receipt.lease, hold.lease
                ),
            ));
        }
        if !self.registry.belongs(&receipt.worker, &hold.payee) {
            return Err(Refusal::new(
                "receipt.worker",
                format!(
                    "node {} worked, but it is not one of the payee's",
                    receipt.worker.short()
                ),
            ));
        }
        if !self.registry.belongs(&receipt.submitter, &hold.payer) {
            return Err(Refusal::new(
                "receipt.submitter",
                format!(
                    "node {} countersigned, but it is not one of the payer's",
                    receipt.submitter.short()
                ),
            ));
        }
        let effect = Effect {
            paid: receipt.amount,
            ..Effect::default()
        };
        // Both parties may send the same receipt, each under an id of its own: the second is told the same.
        if hold.state == HoldState::Captured(receipt.amount) {
            return Ok(effect);
        }
        self.ledger
            .capture(id, receipt.amount, stamp)
            .map_err(|e| refused(&e))?;
        events.push(Event::Captured {
            hold: id,
            payer: hold.payer,
            payee: hold.payee,
            paid: receipt.amount,
        });
        let evidence = Evidence::Captured {
            worker: hold.payee,
            submitter: hold.payer,
            tasks: receipt.tasks,
            paid: receipt.amount.0,
        };
        self.learn(&evidence, stamp.time, events);
        Ok(effect)
    }

    pub(crate) fn release(
        &mut self,
        by: AccountId,
        id: HoldId,
        stamp: Stamp,
        events: &mut Vec<Event>,
    ) -> Result<Effect, Refusal> {
        let hold = *self
            .ledger
            .get_hold(&id)
            .ok_or_else(|| refused(&LedgerError::HoldUnknown(id)))?;
        if by != hold.payee {
            return Err(Refusal::new(
                "hold.not_payee",
                format!(
                    "only the payee can give hold {id} back; for the payer it ends at {}",
                    hold.expires.0
                ),
            ));
        }
        self.ledger.release(id, stamp).map_err(|e| refused(&e))?;
        if hold.state == HoldState::Pending {
            events.push(Event::Released { hold: id });
        }
        Ok(Effect::default())
    }
}

/// A command handed to the wrong function: refused rather than trusted.
pub(crate) fn misrouted() -> Refusal {
    Refusal::new(
        "command.invalid",
        "the command does not carry what its kind must carry",
    )
}
