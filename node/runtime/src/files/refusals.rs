//! Errors of the engines as refusals: which family, and what to do next.

use crate::port::{Kind, Refused};

/// The family of a code.
pub fn kind_of(code: &str) -> Kind {
    match code {
        "file.not_found" | "file.missing" | "file.not_here" | "file.no_transfer" | "notice.not_found"
        | "sync.not_found" | "blob.not_found" => Kind::NotFound,
        "file.no_provider" | "file.stopped" | "file.waiting" | "file.silent" | "file.slow" => {
            Kind::Unreachable
        }
        "file.denied" => Kind::Denied,
        "file.unsafe"
        | "file.bad_path"
        | "file.bad_destination"
        | "file.range"
        | "file.request"
        | "file.manifest"
        | "file.manifest_order"
        | "file.manifest_size"
        | "file.too_many_entries"
        | "file.no_ticket"
        | "file.ticket_damaged"
        | "file.ticket_version" => Kind::Invalid,
        "file.corrupt" | "file.damaged" | "file.order" | "store.io" => Kind::Internal,
        code if code.starts_with("net.") => Kind::Unreachable,
        code if code.starts_with("journal.") => Kind::Internal,
        _ => Kind::Conflict,
    }
}

/// The next thing to do.
fn hint_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "file.exists" => "name another destination, or replace it: --overwrite",
        "file.no_provider" => "is its owner online? hivenode node ls",
        "file.denied" => "the daemon does it, as the user it runs as: choose a place that user may use",
        "file.unsafe" => "leave such things out: --skip-unsafe",
        "file.changed" => "add it again: hivenode file add PATH",
        "file.unsteady" => "try again when nothing writes to it, or keep a copy: --copy",
        "file.busy" => "hivenode file status",
        "file.too_many_transfers" => "hivenode file status",
        "store.disk_full" => "free space there; then go on: hivenode file resume ID",
        "store.quota" => "hivenode file gc, or: hivenode config set store_quota BYTES",
        _ => return None,
    })
}

/// A refusal of this code and text.
pub fn refused(code: &str, text: impl std::fmt::Display) -> Refused {
    let refused = Refused::new(kind_of(code), code, text.to_string());
    let refused = match hint_of(code) {
        Some(hint) => refused.hint(hint),
        None => refused,
    };
    if matches!(refused.kind, Kind::Unreachable) || code == "store.disk_full" {
        refused.retryable()
    } else {
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_follow_the_code() {
        assert_eq!(kind_of("file.no_provider"), Kind::Unreachable);
        assert_eq!(kind_of("file.unsafe"), Kind::Invalid);
        assert_eq!(kind_of("file.exists"), Kind::Conflict);
        let full = refused("store.disk_full", "no space");
        assert!(full.retryable && full.hint.is_some());
    }
}
