//! `netsim nat`: the laboratory on the command line.

use clap::Subcommand;
use hive_natlab::{Behaviour, Filtering, Lab, LabError, Mapping, NatKind, Plan};
use std::{io::Write as _, net::Ipv4Addr, path::Path};

/// What the laboratory can be asked.
#[derive(Subcommand)]
pub enum Nat {
    /// Build a router of each kind and measure whether it is what it claims to be (root; ip, nft).
    Kinds,
    /// Asked for from inside a namespace: answer questions at two addresses.
    #[command(hide = true)]
    ProbeServer { first: Ipv4Addr, second: Ipv4Addr },
    /// Asked for from inside a namespace: find out what is in between.
    #[command(hide = true)]
    Probe { first: Ipv4Addr, second: Ipv4Addr },
}

/// What a kind's routers must be measured to do to UDP.
const fn claim(kind: NatKind) -> Behaviour {
    let (mapping, filtering) = match kind {
        NatKind::Open => (Mapping::None, Filtering::EndpointIndependent),
        NatKind::FullCone => (Mapping::EndpointIndependent, Filtering::EndpointIndependent),
        NatKind::AddressRestricted => (Mapping::EndpointIndependent, Filtering::AddressDependent),
        NatKind::PortRestricted => (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent),
        NatKind::Symmetric => (Mapping::EndpointDependent, Filtering::AddressAndPortDependent),
        NatKind::UdpBlocked => (Mapping::Blocked, Filtering::Blocked),
    };
    Behaviour { mapping, filtering }
}

/// Carries it out; true when all is as it should be.
///
/// # Errors
/// When the laboratory cannot be built.
pub fn nat(what: &Nat) -> Result<bool, LabError> {
    match what {
        Nat::Kinds => kinds(),
        Nat::ProbeServer { first, second } => hive_natlab::server(*first, *second).map(|()| true),
        Nat::Probe { first, second } => {
            let seen = hive_natlab::client(*first, *second)?;
            let _ = writeln!(std::io::stdout().lock(), "{seen}");
            Ok(true)
        }
    }
}

fn kinds() -> Result<bool, LabError> {
    let program = std::env::current_exe().map_err(|e| LabError::Probe(e.to_string()))?;
    let mut good = true;
    for kind in NatKind::ALL {
        let seen = behind(kind, &program)?;
        let claimed = claim(kind).to_string();
        let verdict = if seen == claimed {
            "as claimed"
        } else {
            "NOT as claimed"
        };
        good &= seen == claimed;
        let _ = writeln!(std::io::stdout().lock(), "{kind:<20} {seen:<64} {verdict}");
    }
    Ok(good)
}

fn behind(kind: NatKind, program: &Path) -> Result<String, LabError> {
    let lab = Lab::raise("hvk", Plan::pair(kind, NatKind::Open))?;
    hive_natlab::measure(&lab, "a", "relay", program)
}
