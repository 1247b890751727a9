//! `events`: what happens in the daemon, one line each.

use crate::{
    args::EventsArgs,
    output::{CliError, Exit, clean},
    quantity::rfc3339,
    session::Session,
};
use hive_api::client::EventItem;
use serde_json::json;

/// Follows until interrupted, until the daemon stops, or until enough came.
pub async fn run(session: &Session, args: &EventsArgs) -> Result<Exit, CliError> {
    let out = &session.out;
    let mut stream = session.client()?.events().await?;
    let mut shown = 0_u64;
    loop {
        let item = tokio::select! {
            item = stream.next() => item?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::INTERRUPTED),
        };
        match item {
            None => {
                out.say("the daemon stops");
                return Ok(Exit::OK);
            }
            Some(EventItem::Lost(n)) if out.json => out.document("lost", json!(n))?,
            Some(EventItem::Lost(n)) => out.warn(&format!("{n} events came faster than they could be shown")),
            Some(EventItem::Event(e)) => {
                if args
                    .subject
                    .as_ref()
                    .is_some_and(|s| !e.subject.starts_with(s.as_str()))
                {
                    continue;
                }
                if out.json {
                    out.document("event", &e)?;
                } else {
                    let (kind, subject) = (clean(&e.kind), clean(&e.subject));
                    out.line(&format!(
                        "{}  {kind:<18} {subject}  {}",
                        rfc3339(e.time),
                        clean(&e.message)
                    ));
                }
                shown += 1;
                if args.count == Some(shown) {
                    return Ok(Exit::OK);
                }
            }
        }
    }
}
