//! The daemon: in this process (`serve`, `up --foreground`) or started beside it (`up`).

mod announce;
pub mod compose;
mod detach;
mod log;
mod settings;
mod token;
mod trim;

pub use announce::{Announced, Ready, read_announcement};
pub use detach::{ensure_running, last_lines, told};

use crate::{
    args::ServeArgs,
    config::Settings,
    output::{CliError, Exit},
    session::Session,
};
use announce::announce;
use compose::Plan;
use hive_api::{ApiConfig, limits::Bounds};
use std::{io::Read, thread};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// Why it could not start, by code; also announced on standard output to whoever started it.
pub fn run(session: &Session, args: &ServeArgs) -> Result<Exit, CliError> {
    let told = args.detached || args.attached;
    if args.detached {
        // A session of its own: closing the terminal must not take the daemon along. Fails only where this
        // process already leads one, which is as good.
        let _ = rustix::process::setsid();
    }
    let result = serve(session, args, told);
    if let (true, Err(error)) = (told, &result) {
        announce(&Announced::Failed(error.document()));
    }
    result
}

fn serve(session: &Session, args: &ServeArgs, told: bool) -> Result<Exit, CliError> {
    let settings = Settings::load(&session.paths, &args.node.named())?;
    session.paths.create()?;
    log::init(&settings, args.log_file.as_deref())?;
    // Process-wide choice of TLS arithmetic; another part may have made the same one before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let followed = settings::Followed {
        paths: session.paths.clone(),
        flags: args.node.named(),
    };
    let plan = plan(session, &settings, followed)?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::internal("daemon.threads", format!("cannot start threads: {e}")))?;
    let attached = args.attached;
    let out = session.out.clone();
    let ran = runtime.block_on(async move {
        let stop = stop_asked(attached)?;
        compose::run(plan, stop, move |ready| {
            if told {
                announce(&Announced::Ready(ready.clone()));
            } else {
                out.step("serving", &ready.socket);
            }
        })
        .await
    });
    // What still runs (a blocking file copy) must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    ran.map(|()| Exit::OK)
}

fn plan(session: &Session, settings: &Settings, followed: settings::Followed) -> Result<Plan, CliError> {
    let tcp = settings.api_listen();
    let token = match tcp {
        Some(_) => Some(token::load_or_make(&session.paths.data)?),
        None => None,
    };
    Ok(Plan {
        node: settings.node_config(&session.paths)?,
        followed,
        api: ApiConfig {
            socket: session.paths.socket.clone(),
            tcp,
            token,
            bounds: Bounds::default(),
        },
    })
}

/// Completes when the daemon shall stop: a signal, or the end of whoever started it.
fn stop_asked(attached: bool) -> Result<impl Future<Output = &'static str> + Send + 'static, CliError> {
    let handler = |kind| {
        signal(kind)
            .map_err(|e| CliError::internal("daemon.signals", format!("cannot listen for signals: {e}")))
    };
    let (mut term, mut int) = (
        handler(SignalKind::terminate())?,
        handler(SignalKind::interrupt())?,
    );
    let (gone, parent) = oneshot::channel();
    if attached {
        // A thread of its own: a blocking read on the runtime's threads would hold up the end.
        thread::spawn(move || {
            let mut byte = [0_u8; 64];
            let mut input = std::io::stdin().lock();
            while matches!(input.read(&mut byte), Ok(n) if n > 0) {}
            let _ = gone.send(());
        });
    } else {
        // Keeps the receiver pending for ever.
        std::mem::forget(gone);
    }
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
            _ = parent => "the end of the process that started it",
        }
    })
}
