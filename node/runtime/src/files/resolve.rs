//! From what people type to the thing meant: contents, transfers, notices.

use super::{desk::Desk, refusals::refused};
use crate::port::{Kind, NodeHandle, Refused};
use hive_files::Hint;
use hive_protocol::{
    ids::BlobHash,
    share::{FileTicket, FileTicketError},
};
use hive_store::files::RootInfo;
use std::path::Path;

/// Shortest beginning of an id that is taken for one.
const MIN_PREFIX: usize = 5;

/// Content meant by a text, as far as it is known.
#[derive(Debug, Clone)]
pub(super) struct Meant {
    pub(super) hash: BlobHash,
    /// Whether it is a folder, where that is known.
    pub(super) folder: Option<bool>,
    /// Bytes, as told.
    pub(super) size: Option<u64>,
    pub(super) name: String,
    pub(super) hints: Vec<Hint>,
}

/// Picks the one whose id is this text, begins with it, or is the newest for `last`.
///
/// # Errors
/// `<what>.not_found`, `<what>.ambiguous`.
pub(super) fn pick<'a, T>(
    what: &'static str,
    all: &'a [T],
    text: &str,
    id: impl Fn(&T) -> String,
) -> Result<&'a T, Refused> {
    if text == "last" {
        return all.first().ok_or_else(|| NodeHandle::not_found(what, text));
    }
    if let Some(whole) = all.iter().find(|t| id(t) == text) {
        return Ok(whole);
    }
    let mut found = all
        .iter()
        .filter(|t| text.len() >= MIN_PREFIX && id(t).starts_with(text));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(NodeHandle::not_found(what, text)),
        _ => Err(Refused::new(
            Kind::Invalid,
            "file.ambiguous",
            format!("several begin with `{text}`"),
        )),
    }
}

impl Desk {
    /// A content kept here, by id, beginning of an id, name or path.
    ///
    /// # Errors
    /// `file.not_found`, `file.ambiguous`.
    pub(super) fn kept(&self, text: &str) -> Result<RootInfo, Refused> {
        if let Ok(hash) = text.parse::<BlobHash>() {
            return self
                .0
                .store
                .root(&hash)
                .ok_or_else(|| NodeHandle::not_found("file", text));
        }
        let roots = self.0.store.roots();
        let at_path = roots.iter().find(|r| r.path.as_deref() == Some(Path::new(text)));
        if let Some(found) = at_path {
            return Ok(found.clone());
        }
        let mut named = roots.iter().filter(|r| r.root.name == text);
        if let Some(first) = named.next() {
            return match named.next() {
                None => Ok(first.clone()),
                Some(_) => Err(Refused::new(
                    Kind::Invalid,
                    "file.ambiguous",
                    format!("several are called `{text}`; name one by its id"),
                )
                .hint("hivenode file ls")),
            };
        }
        pick("file", &roots, text, |r| r.root.hash.to_string()).cloned()
    }

    /// A content meant by a ticket, an id, or as in [`Desk::kept`].
    ///
    /// # Errors
    /// A bad ticket, one of another mesh, nothing of that name.
    pub(super) fn meant(&self, text: &str) -> Result<Meant, Refused> {
        let text = text.trim();
        if text.starts_with("hivefile") {
            let ticket: FileTicket = text.parse().map_err(|e: FileTicketError| refused(e.code(), &e))?;
            return self.of_ticket(&ticket);
        }
        match self.kept(text) {
            Ok(info) => Ok(Meant {
                hash: info.root.hash,
                folder: Some(info.root.folder),
                size: Some(info.root.size),
                name: info.root.name,
                hints: Vec::new(),
            }),
            Err(missing) => match text.parse::<BlobHash>() {
                Ok(hash) => Ok(Meant {
                    hash,
                    folder: None,
                    size: None,
                    name: hash.short(),
                    hints: Vec::new(),
                }),
                Err(_) => Err(missing),
            },
        }
    }

    fn of_ticket(&self, ticket: &FileTicket) -> Result<Meant, Refused> {
        if let Some(engines) = self.engines_now()
            && engines.network != ticket.network
        {
            return Err(Refused::new(
                Kind::Denied,
                "file.wrong_mesh",
                format!(
                    "the ticket is of mesh {}, this node of {}",
                    ticket.network.short(),
                    engines.network.short()
                ),
            ));
        }
        let hint = |(node, addr): &(hive_protocol::ids::NodeId, String)| {
            let told = Some(addr.clone()).filter(|a| !a.is_empty());
            let mut addrs: Vec<String> = told.into_iter().collect();
            addrs.extend(self.0.people.addrs(node));
            Hint {
                node: *node,
                addrs,
                whole: true,
            }
        };
        Ok(Meant {
            hash: ticket.root,
            folder: Some(ticket.folder),
            size: Some(ticket.size),
            name: ticket.name.clone(),
            hints: ticket.hints.iter().map(hint).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_are_picked_whole_by_beginning_and_last() {
        let all = ["x_abcd".to_owned(), "x_abef".to_owned()];
        let id = String::clone;
        assert_eq!(pick("transfer", &all, "last", id).unwrap(), "x_abcd");
        assert_eq!(pick("transfer", &all, "x_abef", id).unwrap(), "x_abef");
        assert_eq!(pick("transfer", &all, "x_abe", id).unwrap(), "x_abef");
        for (text, code) in [("x_ab", "transfer.not_found"), ("x_abz", "transfer.not_found")] {
            assert_eq!(pick("transfer", &all, text, id).unwrap_err().code, code);
        }
        let many = ["x_abcd1".to_owned(), "x_abcd2".to_owned()];
        assert_eq!(
            pick("transfer", &many, "x_abcd", id).unwrap_err().code,
            "file.ambiguous"
        );
    }
}
