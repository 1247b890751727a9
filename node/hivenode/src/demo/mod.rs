//! `demo`: a private mesh of separate processes on this machine renders a picture and settles the bill.

mod account;
mod fleet;
mod picture;
mod render;
mod tiles;

use crate::{
    args::DemoArgs,
    output::{CliError, Exit, Output},
    quantity::show_duration,
    session::Session,
};
use fleet::Fleet;
use render::Rendered;
use std::{path::Path, time::Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the demonstration. Whatever happens, no process is left behind unless `--keep` asked for it.
pub async fn run(session: &Session, args: &DemoArgs) -> Result<Exit, CliError> {
    let out = &session.out;
    let began = Instant::now();
    let target = std::path::absolute(&args.out)
        .map_err(|e| CliError::usage("demo.out", format!("{} is no file: {e}", args.out.display())))?;
    let mut terminated = signal(SignalKind::terminate())
        .map_err(|e| CliError::internal("demo.signals", format!("cannot listen for signals: {e}")))?;
    let mut fleet = Fleet::new(args.workers, args.keep)?;
    out.say(&format!(
        "A mesh of {} processes on this machine, below {}",
        args.workers + 2,
        fleet.home().display()
    ));
    let done = tokio::select! {
        done = scene(out, &mut fleet, args, &target, began) => done,
        _ = tokio::signal::ctrl_c() => Err(interrupted()),
        _ = terminated.recv() => Err(interrupted()),
    };
    match done {
        Ok(()) if args.keep => {
            fleet.keep(out);
            Ok(Exit::OK)
        }
        Ok(()) => {
            let stopped = fleet.stop().await;
            let stopped = stopped.map_err(|left| CliError::internal("demo.left_over", left))?;
            out.step("shut down", &stopped);
            Ok(Exit::OK)
        }
        Err(error) => {
            let failed = error.exit != Exit::INTERRUPTED;
            let logs = if failed { fleet.last_words() } else { Vec::new() };
            let error = match fleet.stop().await {
                Ok(_) => error,
                Err(left) => error.note("left", left),
            };
            Err(logs.into_iter().fold(error, |e, line| e.note("log", line)))
        }
    }
}

fn interrupted() -> CliError {
    CliError::internal("demo.interrupted", "interrupted").exit(Exit::INTERRUPTED)
}

async fn scene(
    out: &Output,
    fleet: &mut Fleet,
    args: &DemoArgs,
    target: &Path,
    began: Instant,
) -> Result<(), CliError> {
    fleet.launch(out).await?;
    out.step("mesh", &format!("ready after {}", show_duration(began.elapsed())));
    let rendered: Rendered = render::render(out, fleet, args, began).await?;
    picture::write(target, args.size, &rendered.pixels)?;
    let books = account::settle(fleet, &rendered).await?;
    account::print(out, &books, &rendered, target)?;
    account::verdict(&books)
}
