//! The journal: which tree a table lies in, reading all of it, writing batches.

use hive_store::{Journal, JournalError, Op, Record};
use hive_transfer::notices::{Table, Write, inbox::Inbox, outbox::Outbox};

/// The trees a journal of notices has.
pub const TREES: &[&str] = &["sent", "delivery", "mirror", "seen", "item"];
/// Version of the records.
const SCHEMA: u16 = 1;
/// Changes of one batch: the journal's own bound.
const BATCH: usize = 1024;
/// Records of one page when reading.
const PAGE: usize = 256;

const fn tree(table: Table) -> &'static str {
    match table {
        Table::Sent => "sent",
        Table::Delivery => "delivery",
        Table::Mirror => "mirror",
        Table::Seen => "seen",
        Table::Item => "item",
    }
}

/// Reads everything back; how many records were of no use.
pub(crate) fn load(
    journal: &dyn Journal,
    outbox: &mut Outbox,
    inbox: &mut Inbox,
) -> Result<usize, JournalError> {
    let mut useless = 0;
    for table in Table::ALL {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = journal.scan(tree(table), &[], after.as_deref(), PAGE)?;
            useless += page.damaged.len();
            for (key, record) in page.records {
                let read = if record.schema == SCHEMA {
                    let both = outbox.restore(table, &key, &record.payload);
                    both.and_then(|()| inbox.restore(table, &key, &record.payload))
                        .is_ok()
                } else {
                    false
                };
                if !read {
                    useless += 1;
                    tracing::warn!(target: "hive_push", ?table, "a record of the journal of notices is of no use");
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    Ok(useless)
}

/// Writes in order, in batches the journal takes.
pub(crate) fn write(journal: &dyn Journal, writes: &[Write]) -> Result<(), JournalError> {
    for batch in writes.chunks(BATCH) {
        let ops = batch.iter().map(|write| {
            let (tree, key) = (tree(write.table), write.key.clone());
            match &write.value {
                Some(payload) => Op::Put {
                    tree,
                    key,
                    record: Record {
                        schema: SCHEMA,
                        payload: payload.clone(),
                    },
                },
                None => Op::Delete { tree, key },
            }
        });
        journal.apply(ops.collect())?;
    }
    Ok(())
}
