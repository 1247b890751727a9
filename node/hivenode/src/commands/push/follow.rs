//! Following a push: until all who are there have taken it; those who are away get it when they return.

use crate::{
    output::{CliError, Exit, Moving, Now, clean},
    quantity::show_size,
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{Kind, NoticeView, RecipientRow};
use std::time::{Duration, Instant};

/// How long one question waits for the end.
const LOOK_MS: u64 = 250;
/// A receiver that has not moved for this long is taken to be away, or to take its time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a receiver stands, in one of four ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Has it.
    Done,
    /// Never will.
    Failed,
    /// Is at it.
    Moving,
    /// Away, or waits for somebody's word or a time.
    Later,
}

/// Where this receiver stands.
pub fn standing(row: &RecipientRow) -> Standing {
    match row.state.as_str() {
        "done" => Standing::Done,
        "declined" | "failed" | "expired" | "cancelled" => Standing::Failed,
        "pulling" => Standing::Moving,
        _ => Standing::Later,
    }
}

fn now(view: &NoticeView) -> Now {
    let total = view.size.saturating_mul(view.recipients.len() as u64);
    let done = view.recipients.iter().map(|r| match standing(r) {
        Standing::Done => view.size,
        _ => r.done.min(view.size),
    });
    let (ended, failed) = view.counts();
    let mut message = format!("{ended}/{} nodes done", view.recipients.len());
    if failed > 0 {
        message.push_str(&format!(" {failed} failed"));
    }
    let moving = view.recipients.iter().filter(|r| standing(r) == Standing::Moving);
    Now {
        done: done.sum(),
        total,
        message,
        stalled: None,
        peers: moving
            .map(|r| {
                format!(
                    "{:<14} {:>10} of {}",
                    label(r),
                    show_size(r.done),
                    show_size(r.total)
                )
            })
            .collect(),
    }
}

/// A receiver's name, or its id.
pub fn label(row: &RecipientRow) -> &str {
    if row.name.is_empty() { &row.node } else { &row.name }
}

/// Follows; `None` when interrupted. With `all`, absent receivers are waited for too.
pub async fn follow(
    session: &Session,
    client: &Client,
    first: NoticeView,
    all: bool,
) -> Result<Option<NoticeView>, CliError> {
    let mut moving = Moving::new(&session.out, &format!("push {}", first.name));
    let mut view = first;
    let mut since = Instant::now();
    loop {
        if view.ended || (!all && settled(&view, since)) {
            return Ok(Some(view));
        }
        moving.set(&now(&view));
        let next = tokio::select! {
            next = client.notice(&view.notice, LOOK_MS) => next?,
            _ = tokio::signal::ctrl_c() => {
                moving.finish();
                let id = clean(&view.notice);
                session.out.say(&format!(
                    "the push {id} goes on in the daemon: {}\n  take it back: {}",
                    session.command(&format!("push show -w {id}")),
                    session.command(&format!("push cancel {id}")),
                ));
                return Ok(None);
            }
        };
        let state = |v: &NoticeView| -> Vec<(String, u64)> {
            v.recipients.iter().map(|r| (r.state.clone(), r.done)).collect()
        };
        if state(&next) != state(&view) {
            since = Instant::now();
        }
        view = next;
    }
}

/// Whether nobody who is there has anything left to do.
fn settled(view: &NoticeView, since: Instant) -> bool {
    let kept = |r: &RecipientRow| r.state == "mailbox" || since.elapsed() >= PATIENCE;
    view.recipients.iter().all(|r| match standing(r) {
        Standing::Done | Standing::Failed => true,
        Standing::Moving => false,
        Standing::Later => kept(r),
    })
}

/// What became of it, told on standard error, and the exit code.
pub fn outcome(session: &Session, view: &NoticeView) -> Result<Exit, CliError> {
    let of = |what: Standing| -> Vec<&RecipientRow> {
        view.recipients.iter().filter(|r| standing(r) == what).collect()
    };
    let (done, failed) = (of(Standing::Done), of(Standing::Failed));
    let mut later = of(Standing::Later);
    later.extend(of(Standing::Moving));
    if !done.is_empty() {
        let names: Vec<&str> = done.iter().map(|r| label(r)).collect();
        session.out.step("done", &names.join(", "));
    }
    for row in &later {
        let why = match row.state.as_str() {
            "queued" => "away; it gets it when it returns",
            "mailbox" => "away; an authority keeps the notice for it",
            "received" | "waiting" => "has been told",
            other => other,
        };
        let detail = if row.detail.is_empty() {
            String::new()
        } else {
            format!(": {}", row.detail)
        };
        session
            .out
            .say(&clean(&format!("… {:<12} {why}{detail}", label(row))));
    }
    for row in &failed {
        session
            .out
            .warn(&format!("{} {}: {}", label(row), row.state, row.detail));
    }
    if !later.is_empty() {
        session.out.say(&format!(
            "  follow: {}",
            session.command(&format!("push show -w {}", clean(&view.notice)))
        ));
    }
    if failed.is_empty() {
        return Ok(Exit::OK);
    }
    if done.is_empty() && later.is_empty() {
        let first = failed.first().map_or("", |r| r.detail.as_str());
        return Err(CliError::new(
            Kind::Conflict,
            "push.refused",
            format!("no receiver took it: {first}"),
        )
        .hint(session.command(&format!("push show {}", view.notice))));
    }
    Ok(Exit::PARTIAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: &str) -> RecipientRow {
        RecipientRow {
            node: "n_1".into(),
            name: "w1".into(),
            state: state.into(),
            detail: String::new(),
            done: 0,
            total: 0,
        }
    }

    fn view(states: &[&str]) -> NoticeView {
        NoticeView {
            notice: "u_1".into(),
            kind: "file".into(),
            name: "x".into(),
            hash: None,
            size: 1,
            priority: "normal".into(),
            created: 0,
            expires: 0,
            ended: false,
            recipients: states.iter().map(|s| row(s)).collect(),
        }
    }

    #[test]
    fn the_absent_are_not_waited_for_and_those_at_it_are() {
        let long_ago = Instant::now()
            .checked_sub(PATIENCE * 2)
            .unwrap_or_else(Instant::now);
        assert!(settled(&view(&["done", "mailbox", "failed"]), Instant::now()));
        assert!(!settled(&view(&["done", "queued"]), Instant::now()));
        assert!(settled(&view(&["done", "queued"]), long_ago));
        assert!(!settled(&view(&["done", "pulling"]), long_ago));
    }
}
