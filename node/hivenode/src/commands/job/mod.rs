//! `job …`

pub mod collect;
pub mod explain;
mod gather;
mod list;
mod map;
mod output_file;
pub mod patience;
mod report;
pub mod request;
mod submit;

pub use output_file::{Fetched, save_output};

use crate::{
    args::JobCommand,
    output::{CliError, Exit, clean},
    session::Session,
};
use hive_runtime::port::JobView;

/// Runs a verb.
pub async fn run(session: &Session, command: JobCommand) -> Result<Exit, CliError> {
    let client = session.client()?;
    let out = &session.out;
    match command {
        JobCommand::Map(args) => return map::map(session, &args).await,
        JobCommand::Ls => list::ls(out, &client.jobs().await?)?,
        JobCommand::Show(id) => list::show(out, &client.job(&id.job).await?)?,
        JobCommand::Wait(id) => return wait(session, &id.job).await,
        JobCommand::Stop(id) => list::changed(out, "stopped", &client.job_stop(&id.job).await?)?,
        JobCommand::Retry(id) => list::changed(out, "runs again", &client.job_retry(&id.job).await?)?,
        JobCommand::Rm(id) => {
            client.job_remove(&id.job).await?;
            out.step("removed", &id.job);
            if out.json {
                out.document("removed", &id.job)?;
            }
        }
        JobCommand::Explain(id) => explain::show(out, &client.explain_job(&id.job).await?)?,
        JobCommand::Results(args) => return map::results(session, &args).await,
    }
    Ok(Exit::OK)
}

/// The exit code of an ended job.
pub fn exit_of(job: &JobView) -> Exit {
    if job.succeeded == job.tasks {
        Exit::OK
    } else if job.succeeded == 0 {
        Exit::FAILED
    } else {
        Exit::PARTIAL
    }
}

async fn wait(session: &Session, id: &str) -> Result<Exit, CliError> {
    let client = session.client()?;
    let job = tokio::select! {
        job = client.job_wait(id) => job?,
        _ = tokio::signal::ctrl_c() => {
            session.out.say(&format!("the job goes on: {}", clean(&session.command(&format!("job wait {id}")))));
            return Ok(Exit::INTERRUPTED);
        }
    };
    list::show(&session.out, &job)?;
    Ok(exit_of(&job))
}
