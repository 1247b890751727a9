//! The part of a command's checks that needs no state: signatures, mesh, sizes. Costs 100-200 µs a signature.
//!
//! Must not know balances or members; whoever signed may still have no right to.

use hive_protocol::{
    codec,
    command::{Command, CommandBody, MAX_MEMO, Refusal},
    credential::Delegation,
    genesis::MAX_SCORE,
    ids::{AccountId, NetworkId},
    keys::{Document, Signed, SignedError},
    receipt::{Countersigned, Receipt},
    resources::{Capabilities, MAX_NAME},
};

/// Most runtimes a node names.
pub const MAX_RUNTIMES: usize = 8;
/// Most uses of one invitation.
pub const MAX_USES: u32 = 10_000;

/// A command whose signatures are right, with the signed documents inside it already opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    pub(crate) command: Command,
    /// The key that signed: the account's or a node's.
    pub(crate) signer: [u8; 32],
    /// Tells the same command sent again from another one under the same id.
    pub(crate) fingerprint: [u8; 16],
    pub(crate) receipt: Option<Receipt>,
    pub(crate) delegation: Option<Delegation>,
}

/// Checks a command's signatures, mesh and sizes.
///
/// # Errors
/// `command.signature`, `command.wrong_mesh`, `command.signer`, `command.invalid`, `receipt.signature`,
/// `receipt.wrong_mesh`, `delegation.invalid`.
pub fn verify(signed: &Signed<Command>, network: NetworkId) -> Result<Verified, Refusal> {
    let command = signed
        .verify()
        .map_err(|e| Refusal::new("command.signature", e.to_string()))?;
    Verified::open(signed, command, network, true)
}

impl Verified {
    /// Opens a command of this authority's own log without checking signatures again.
    ///
    /// # Errors
    /// As [`verify`], but for the signatures.
    pub fn trusted(signed: &Signed<Command>, network: NetworkId) -> Result<Self, Refusal> {
        let command = signed
            .peek()
            .map_err(|e| Refusal::new("command.signature", e.to_string()))?;
        Self::open(signed, command, network, false)
    }

    /// The command.
    #[must_use]
    pub const fn command(&self) -> &Command {
        &self.command
    }

    /// Whether the account itself signed, not a node for it.
    #[must_use]
    pub fn by_account(&self) -> bool {
        self.signer == self.command.account.0
    }

    fn open(
        signed: &Signed<Command>,
        command: Command,
        network: NetworkId,
        check: bool,
    ) -> Result<Self, Refusal> {
        if command.network != network {
            return Err(Refusal::new(
                "command.wrong_mesh",
                format!(
                    "the command is for mesh {}, this one is {}",
                    command.network.short(),
                    network.short()
                ),
            ));
        }
        if signed.signer != command.account.0 && !command.body.node_may_sign() {
            return Err(Refusal::new(
                "command.signer",
                format!(
                    "`{}` must be signed by the account's own key",
                    command.body.name()
                ),
            ));
        }
        check_sizes(&command.body)?;
        let mut out = Self {
            signer: signed.signer,
            fingerprint: fingerprint(&command.body)?,
            receipt: None,
            delegation: None,
            command,
        };
        match &out.command.body {
            CommandBody::Capture { receipt } => {
                out.receipt = Some(open_receipt(receipt, network, check)?);
            }
            CommandBody::Join { delegation, .. } | CommandBody::Delegate { delegation } => {
                out.delegation = Some(open_delegation(delegation, out.command.account, network, check)?);
            }
            _ => {}
        }
        Ok(out)
    }
}

/// Over what is wished, not over the frame: signed again with a later end, or by another of the account's keys, it
/// is the same command.
fn fingerprint(body: &CommandBody) -> Result<[u8; 16], Refusal> {
    let bytes = codec::encode("command body", body, Command::MAX).map_err(|e| invalid(e.to_string()))?;
    let mut out = [0; 16];
    blake3::Hasher::new_derive_key("hivenode command fingerprint 1")
        .update(&bytes)
        .finalize_xof()
        .fill(&mut out);
    Ok(out)
}

fn open_receipt(countersigned: &Countersigned, network: NetworkId, check: bool) -> Result<Receipt, Refusal> {
    let bad = |e: SignedError| Refusal::new("receipt.signature", e.to_string());
    let receipt = if check {
        countersigned.verify().map_err(bad)?
    } else {
        countersigned.receipt.peek().map_err(|e| bad(e.into()))?
    };
    if receipt.network != network {
        return Err(Refusal::new(
            "receipt.wrong_mesh",
            "the receipt is for another mesh",
        ));
    }
    Ok(receipt)
}

fn open_delegation(
    signed: &Signed<Delegation>,
    account: AccountId,
    network: NetworkId,
    check: bool,
) -> Result<Delegation, Refusal> {
    let bad = |e: String| Refusal::new("delegation.invalid", e);
    let delegation = if check {
        signed.verify_by(&account.0).map_err(|e| bad(e.to_string()))
    } else {
        signed.peek().map_err(|e| bad(e.to_string()))
    }?;
    if delegation.account != account || signed.signer != account.0 {
        return Err(bad("the delegation is of another account".into()));
    }
    if delegation.network != network {
        return Err(bad("the delegation is for another mesh".into()));
    }
    Ok(delegation)
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new("command.invalid", detail)
}

fn check_sizes(body: &CommandBody) -> Result<(), Refusal> {
    let text = |what: &str, s: &str, max: usize| {
        if s.len() > max {
            return Err(invalid(format!(
                "{what} has {} bytes, {max} are allowed",
                s.len()
            )));
        }
        Ok(())
    };
    match body {
        CommandBody::Transfer { memo, .. } => text("the memo", memo, MAX_MEMO),
        CommandBody::SetScore { reason, score, .. } => {
            if *score > MAX_SCORE {
                return Err(invalid(format!("a score is 0 to {MAX_SCORE}, not {score}")));
            }
            text("the reason", reason, MAX_MEMO)
        }
        CommandBody::Invite { uses, score, .. } => {
            if !(1..=MAX_USES).contains(uses) {
                return Err(invalid(format!(
                    "an invitation has 1 to {MAX_USES} uses, not {uses}"
                )));
            }
            if *score > MAX_SCORE {
                return Err(invalid(format!("a score is 0 to {MAX_SCORE}, not {score}")));
            }
            Ok(())
        }
        CommandBody::Join {
            name, capabilities, ..
        } => {
            text("the name", name, MAX_NAME)?;
            check_capabilities(capabilities)
        }
        CommandBody::Hold { .. }
        | CommandBody::Capture { .. }
        | CommandBody::Release { .. }
        | CommandBody::RevokeInvite { .. }
        | CommandBody::Delegate { .. }
        | CommandBody::RemoveNode { .. } => Ok(()),
    }
}

/// Checks the texts and lists a node says of itself against their bounds.
///
/// # Errors
/// `command.invalid`, naming what is too long.
pub fn check_capabilities(c: &Capabilities) -> Result<(), Refusal> {
    let texts = [
        ("the GPU's name", &c.total.gpu_name),
        ("the location", &c.location),
        ("the version", &c.version),
    ];
    let runtimes = c.runtimes.iter().map(|r| ("a runtime's name", r));
    for (what, s) in texts.into_iter().chain(runtimes) {
        if s.len() > MAX_NAME {
            return Err(invalid(format!(
                "{what} has {} bytes, {MAX_NAME} are allowed",
                s.len()
            )));
        }
    }
    if c.runtimes.len() > MAX_RUNTIMES {
        return Err(invalid(format!(
            "{} runtimes are named, {MAX_RUNTIMES} are allowed",
            c.runtimes.len()
        )));
    }
    Ok(())
}
