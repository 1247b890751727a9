//! What each verb does: one file a verb, one folder a noun.

mod config;
mod daemon;
mod events;
mod file;
mod job;
mod local;
mod mesh;
mod net;
mod node;
mod push;
mod relay;
mod sync;
mod task;
mod try_out;
mod wallet;

use crate::{
    args::{Cli, Command},
    output::{CliError, Exit, Output},
    serve,
    session::Session,
};
use clap::{CommandFactory, Parser, error::ErrorKind};
use hive_runtime::port::Kind;
use std::{io::Write, process::ExitCode};
use tokio::runtime::Builder;

/// Reads the command line, does what it says, and turns the outcome into an exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let g = &cli.global;
    let out = Output::new(g.json, g.quiet, g.color, g.no_progress);
    match run(cli, out.clone()) {
        Ok(exit) => ExitCode::from(exit.0),
        Err(error) => {
            error.print(&out);
            ExitCode::from(error.exit.0)
        }
    }
}

/// Help, version and wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    let wanted = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::args_os()
        .take_while(|a| a != "--")
        .any(|a| a == "--json");
    if json && !wanted {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let document = CliError::usage("usage", message).hint("hivenode help").document();
        let _ = writeln!(std::io::stderr(), "{document}");
    } else {
        let _ = error.print();
    }
    ExitCode::from(if wanted { 0 } else { 2 })
}

fn run(cli: Cli, out: Output) -> Result<Exit, CliError> {
    match &cli.command {
        Command::Version => return local::version(&out),
        Command::Help { topic } => return local::help(&out, topic, Cli::command()),
        Command::Completion { shell } => {
            local::completion(*shell, Cli::command());
            return Ok(Exit::OK);
        }
        _ => {}
    }
    let session = Session::new(cli.global, out)?;
    match cli.command {
        Command::Serve(args) => return serve::run(&session, &args),
        Command::Up(args) if args.foreground => return daemon::foreground(&session, &args),
        _ => {}
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2) // a client waits far more than it works
        .enable_all()
        .build()
        .map_err(|e| CliError::internal("cli.threads", format!("cannot start threads: {e}")))?;
    let limit = session.global.timeout;
    let ended = runtime.block_on(async {
        let work = dispatch(&session, cli.command);
        match limit {
            None => work.await,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                Err(CliError::new(
                    Kind::Timeout,
                    "cli.timeout",
                    format!("not done within {}", crate::quantity::show_duration(limit)),
                ))
            }),
        }
    });
    // Reading standard input cannot be interrupted; it must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn dispatch(session: &Session, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Up(args) => daemon::up(session, &args).await,
        Command::Down(args) => daemon::down(session, &args).await,
        Command::Status(args) => daemon::status(session, &args).await,
        Command::Mesh(command) => mesh::run(session, command).await,
        Command::Invite(command) => mesh::invite(session, command).await,
        Command::Node(command) => node::run(session, command).await,
        Command::Net(command) => net::run(session, command).await,
        Command::Relay(command) => relay::run(session, command).await,
        Command::Job(command) => job::run(session, command).await,
        Command::Task(command) => task::run(session, command).await,
        Command::File(command) => file::run(session, command).await,
        Command::Pull(args) => file::pull(session, &args).await,
        Command::Push(command) => push::run(session, *command).await,
        Command::Inbox(command) => push::inbox(session, command).await,
        Command::Sync(command) => sync::run(session, command).await,
        Command::Wallet(command) => wallet::run(session, command).await,
        Command::Trust(command) => wallet::trust(session, command).await,
        Command::Events(args) => events::run(session, &args).await,
        Command::Demo(args) => crate::demo::run(session, &args).await,
        Command::Bench(args) => try_out::bench(session, &args).await,
        Command::Config(command) => config::run(session, command).await,
        Command::Paths => local::paths(session),
        Command::Doctor => local::doctor(session).await,
        // These need neither a session nor threads and were answered before.
        Command::Serve(_) | Command::Version | Command::Completion { .. } | Command::Help { .. } => {
            Ok(Exit::OK)
        }
    }
}
