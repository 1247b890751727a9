//! Landlock: file access below two directories only, no TCP, no signals or abstract sockets outwards.

use super::{Bounds, SandboxReport};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::path::Path;

/// The newest interface this program was written for; an older kernel grants what it has.
const NEWEST: ABI = ABI::V6;

pub(super) fn restrict(bounds: &Bounds<'_>, report: &mut SandboxReport) {
    match apply(bounds) {
        Ok(status) => {
            let abi = match status.landlock {
                LandlockStatus::Available { effective_abi, .. }
                    if status.ruleset != RulesetStatus::NotEnforced =>
                {
                    effective_abi
                }
                _ => ABI::Unsupported,
            };
            let since = |first: ABI| match abi >= first {
                true => Ok(format!("interface {}", abi as i32)),
                false => Err(format!("{:?}", status.landlock)),
            };
            report.note("landlock_fs", since(ABI::V1));
            report.note("landlock_net", since(ABI::V4));
            report.note("landlock_scope", since(ABI::V6));
        }
        Err(e) => {
            for name in ["landlock_fs", "landlock_net", "landlock_scope"] {
                report.note(name, Err(e.to_string()));
            }
        }
    }
}

fn apply(bounds: &Bounds<'_>) -> Result<RestrictionStatus, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    // Files are only data here: nothing may be executed, no device, socket or pipe made.
    let write = all
        & !(AccessFs::Execute
            | AccessFs::MakeChar
            | AccessFs::MakeBlock
            | AccessFs::MakeSock
            | AccessFs::MakeFifo
            | AccessFs::IoctlDev);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in bounds.read {
        rules = add(rules, path, read)?;
    }
    for path in bounds.write {
        rules = add(rules, path, write)?;
    }
    rules.restrict_self()
}

fn add(
    rules: landlock::RulesetCreated,
    path: &Path,
    access: landlock::BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => rules.add_rule(PathBeneath::new(fd, access)),
        // A directory that is not there cannot be used: nothing to allow.
        Err(_) => Ok(rules),
    }
}
