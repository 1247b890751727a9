//! Holds and receipts: what pays for work.

use crate::{
    ids::{AccountId, HoldId, LeaseId, NetworkId, NodeId},
    keys::{self, Document, SecretKey, Signature, Signed, SignedError},
    money::MicroCpt,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// An authority's word that money is set aside for one lease. Signed by an authority's node key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct HoldGrant {
    /// The mesh.
    pub network: NetworkId,
    /// The hold.
    pub hold: HoldId,
    /// The lease it pays for.
    pub lease: LeaseId,
    /// Who pays.
    pub payer: AccountId,
    /// Who may be paid.
    pub payee: AccountId,
    /// At most this much.
    pub amount: MicroCpt,
    /// What is not captured by then goes back to the payer.
    pub expires: Timestamp,
}

impl Document for HoldGrant {
    const DOMAIN: &'static str = "hold-grant/1";
    const MAX: usize = 512;
}

/// What a worker has done under a lease so far. Cumulative: a later receipt replaces an earlier one. Signed by the worker's node key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Receipt {
    /// The mesh.
    pub network: NetworkId,
    /// The lease.
    pub lease: LeaseId,
    /// The hold it draws on.
    pub hold: HoldId,
    /// The worker's node.
    pub worker: NodeId,
    /// The submitter's node, whose countersignature makes it payable.
    pub submitter: NodeId,
    /// Counts up from 1 with every receipt of the lease.
    pub sequence: u64,
    /// Tasks ended so far that are to be paid (success or the program's own failure).
    pub tasks: u64,
    /// Fuel burnt so far in all of them.
    pub fuel: u64,
    /// µCPT owed so far.
    pub amount: MicroCpt,
    /// When it was signed.
    pub time: Timestamp,
}

impl Document for Receipt {
    const DOMAIN: &'static str = "receipt/1";
    const MAX: usize = 512;
}

const COUNTERSIGN_DOMAIN: &str = "receipt-countersigned/1";

/// A receipt that both sides have signed: what an authority pays out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Countersigned {
    /// The worker's receipt.
    pub receipt: Signed<Receipt>,
    /// The submitter's node key.
    pub signer: [u8; 32],
    signature: Signature,
}

impl Countersigned {
    /// Countersigns a receipt the submitter has checked.
    #[must_use]
    pub fn sign(key: &SecretKey, receipt: Signed<Receipt>) -> Self {
        let signature = key.sign(COUNTERSIGN_DOMAIN, receipt.bytes());
        Self {
            receipt,
            signer: key.public(),
            signature,
        }
    }

    /// Checks both signatures and that they are the two nodes the receipt names.
    ///
    /// # Errors
    /// A signature that does not verify, or signers other than the named ones.
    pub fn verify(&self) -> Result<Receipt, SignedError> {
        let receipt = self.receipt.verify()?;
        if self.receipt.signer != receipt.worker.0 || self.signer != receipt.submitter.0 {
            return Err(SignedError::Signer {
                what: COUNTERSIGN_DOMAIN,
            });
        }
        if !keys::verify(
            COUNTERSIGN_DOMAIN,
            &self.signer,
            self.receipt.bytes(),
            &self.signature,
        ) {
            return Err(SignedError::Signature {
                what: COUNTERSIGN_DOMAIN,
            });
        }
        Ok(receipt)
    }
}
