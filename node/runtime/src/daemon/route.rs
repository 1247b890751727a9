//! Which core a message of a peer is for, and whether a lease request is what it says.

use super::mesh::{Mesh, Side};
use hive_protocol::{
    command::Refusal,
    credential::CredentialError,
    ids::{LeaseId, NodeId},
    receipt::HoldGrant,
    work::{LeaseBody, LeaseRequest, WorkMsg},
};
use hive_scheduler::worker::Checked;

/// Which core a message of a peer is for.
pub(super) fn side_of(mesh: &Mesh, message: &WorkMsg) -> Side {
    match message {
        WorkMsg::Lease { body, .. } => match body {
            LeaseBody::Tasks(_)
            | LeaseBody::Cancel(_)
            | LeaseBody::Countersign(_)
            | LeaseBody::RefuseReceipt { .. }
            | LeaseBody::Close => Side::Worker,
            LeaseBody::Started(_)
            | LeaseBody::Results(_)
            | LeaseBody::Receipt(_)
            | LeaseBody::Closed { .. }
            | LeaseBody::Log { .. } => Side::Submitter,
        },
        WorkMsg::Resume { lease, .. } | WorkMsg::Unknown { lease } | WorkMsg::Ack { lease, .. } => {
            // Lease ids are made by submitters: one that our submitter core does not own is a worker's matter.
            if mesh.submitter.owns(lease) {
                Side::Submitter
            } else {
                Side::Worker
            }
        }
        WorkMsg::LeaseRequest(_) => Side::Worker,
        WorkMsg::Offer(_)
        | WorkMsg::LeaseAccept { .. }
        | WorkMsg::LeaseRefuse { .. }
        | WorkMsg::Log { .. } => Side::Submitter,
    }
}

pub(super) fn lease_of(message: &WorkMsg) -> Option<LeaseId> {
    match message {
        WorkMsg::Lease { lease, .. } | WorkMsg::Resume { lease, .. } => Some(*lease),
        _ => None,
    }
}

/// Checks the signatures of a lease request.
pub(super) fn check_request(
    mesh: &Mesh,
    from: NodeId,
    request: &LeaseRequest,
) -> Result<Box<Checked>, Refusal> {
    let credential = mesh.standing.check(&request.credential, from).map_err(|e| {
        let code = match e {
            CredentialError::Expired { .. } | CredentialError::Future { .. } => "lease.clock",
            _ => "lease.trust",
        };
        Refusal::new(code, e.to_string())
    })?;
    let bad = |e: String| Refusal::new("lease.hold_invalid", e);
    if !mesh.standing.is_authority(&request.hold.signer) {
        return Err(bad(
            "the hold is not signed by an authority of this mesh".to_owned()
        ));
    }
    let grant: HoldGrant = request.hold.verify().map_err(|e| bad(e.to_string()))?;
    if grant.network != mesh.standing.network() {
        return Err(bad("the hold is of another mesh".to_owned()));
    }
    Ok(Box::new(Checked { grant, credential }))
}
