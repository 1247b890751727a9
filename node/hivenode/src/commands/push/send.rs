//! `push`: a notice to nodes, then following it until all who are there have taken it.

use super::follow::{follow, outcome};
use crate::{
    args::PushArgs,
    commands::file::whole,
    output::{CliError, Exit, clean},
    quantity::show_size,
    session::Session,
};
use hive_protocol::ids::BlobHash;
use hive_runtime::port::{NoticeView, PushRequest};

fn request(args: &PushArgs) -> Result<PushRequest, CliError> {
    if args.to.is_empty() {
        return Err(CliError::usage(
            "push.nobody",
            "say to whom: --to NODE…, --to role=worker, or --to all",
        )
        .hint("hivenode node ls"));
    }
    let event = args.event.as_ref().map(|event| {
        let (kind, data) = event.split_once('=').unwrap_or((event, ""));
        (kind.to_owned(), data.to_owned())
    });
    let mut request = PushRequest {
        text: args.text.clone(),
        event,
        to: args.to.clone(),
        name: args.name.clone(),
        priority: args.priority.map(|p| p.name().to_owned()),
        ttl_ms: u64::try_from(args.ttl.as_millis()).ok(),
        copy: args.copy,
        skip_unsafe: args.skip_unsafe,
        ..PushRequest::default()
    };
    match &args.path {
        None if request.text.is_none() && request.event.is_none() => {
            return Err(CliError::usage(
                "push.nothing",
                "say what: a path, --text LINE, or --event KIND",
            ));
        }
        None => {}
        Some(path) => {
            let named = path.to_string_lossy();
            // An id is one only where no file is called like that.
            if named.parse::<BlobHash>().is_ok() && !path.exists() {
                request.what = Some(named.into_owned());
            } else {
                request.path = Some(crate::commands::file::existing(path).and_then(|p| whole(&p))?);
            }
        }
    }
    Ok(request)
}

/// `push`
pub async fn send(session: &Session, args: &PushArgs) -> Result<Exit, CliError> {
    let request = request(args)?;
    let client = session.client()?;
    let view = client.push(&request).await?;
    session.out.step(
        "sent",
        &format!(
            "{} to {} nodes ({})",
            what(&view),
            view.recipients.len(),
            view.notice
        ),
    );
    if args.detach {
        if session.out.json {
            session.out.document("notice", &view)?;
        } else {
            session.out.line(&view.notice);
        }
        return Ok(Exit::OK);
    }
    let Some(view) = follow(session, &client, view, args.wait).await? else {
        return Ok(Exit::INTERRUPTED);
    };
    if session.out.json {
        session.out.document("notice", &view)?;
    } else {
        session.out.line(&clean(&view.notice));
    }
    outcome(session, &view)
}

/// What a notice carries, in a few words.
pub fn what(view: &NoticeView) -> String {
    match view.kind.as_str() {
        "file" | "sync" => format!("{} ({})", view.name, show_size(view.size)),
        "text" => "a text".to_owned(),
        kind => format!("{kind} {}", view.name),
    }
}
