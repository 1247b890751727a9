//! Waiting for a task and ending as it ended.

use super::list;
use crate::{
    commands::job::patience::ask,
    output::{CliError, Exit, clean},
    session::Session,
};
use hive_api::client::Client;
use hive_runtime::port::{TaskState, TaskView};

/// The exit code of an ended task: its own; 124 lost, 125 our failure.
pub fn exit_of(task: &TaskView) -> Exit {
    if task.row.state == TaskState::Succeeded {
        return Exit::OK;
    }
    if let Some(code) = task.row.exit_code.filter(|c| *c != 0) {
        // Programs may end with any 32-bit number; a process's code has 8 bits and 0 would be a lie.
        return Exit(u8::try_from(code).unwrap_or(1));
    }
    let code = task.row.failure.as_ref().map_or("", |f| f.code.as_str());
    if matches!(code, "task.lost" | "task.given_up" | "lease.lost") {
        Exit::LOST
    } else {
        Exit::OWN_FAULT
    }
}

/// Says why a task failed, when it did not end by itself.
pub fn say_failure(session: &Session, task: &TaskView) {
    if task.row.state == TaskState::Succeeded {
        return;
    }
    if let Some(failure) = &task.row.failure {
        let mut error = CliError::internal(&failure.code, format!("{}: {}", task.row.task, failure.message));
        error.hint.clone_from(&failure.hint);
        // The document of the task is the answer under --json; the failure is part of it.
        if !session.out.json {
            error.print(&session.out);
        }
    }
}

/// `task wait`
pub async fn wait(session: &Session, client: &Client, id: &str) -> Result<Exit, CliError> {
    let task = tokio::select! {
        task = ask(|| client.task_wait(id)) => task,
        _ = tokio::signal::ctrl_c() => {
            session.out.say(&format!("the task goes on: {}", clean(&session.command(&format!("task wait {id}")))));
            return Ok(Exit::INTERRUPTED);
        }
    };
    let task = task.map_err(own_fault)?;
    say_failure(session, &task);
    if session.out.json {
        list::show(&session.out, &task)?;
    }
    Ok(exit_of(&task))
}

/// Our own failure must not look like one of the task's.
pub fn own_fault(refused: impl Into<CliError>) -> CliError {
    refused.into().exit(Exit::OWN_FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hive_runtime::port::{Problem, TaskRow};

    fn task(state: TaskState, exit_code: Option<i32>, failure: Option<&str>) -> TaskView {
        TaskView {
            row: TaskRow {
                task: "t_x.0".into(),
                index: 0,
                label: String::new(),
                state,
                attempt: 1,
                node: None,
                exit_code,
                failure: failure.map(|code| Problem {
                    code: code.into(),
                    message: String::new(),
                    hint: None,
                }),
                fuel: 0,
                wall_us: 0,
                stdout: None,
                stderr: None,
                outputs: Vec::new(),
            },
            job: String::new(),
            args: Vec::new(),
            cpu_us: 0,
            memory: 0,
        }
    }

    #[test]
    fn exit_codes_tell_program_loss_and_own_fault_apart() {
        use TaskState::{Failed, Succeeded};
        assert_eq!(exit_of(&task(Succeeded, Some(0), None)), Exit(0));
        assert_eq!(exit_of(&task(Failed, Some(7), Some("task.exit"))), Exit(7));
        assert_eq!(exit_of(&task(Failed, Some(-1), Some("task.exit"))), Exit(1));
        assert_eq!(exit_of(&task(Failed, None, Some("task.lost"))), Exit(124));
        assert_eq!(exit_of(&task(Failed, None, Some("task.fuel"))), Exit(125));
    }
}
