//! Jobs and the tasks in them.

use super::Route;
use crate::{
    answer::{Answer, Failure, document, done, made},
    ask::{Args, Held, Id, parse, read},
    context::Context,
    job_check,
    limits::{BODY_TASKS, LIST_DEFAULT, LIST_MOST, WAIT_TASKS},
};
use axum::{
    extract::{Request, State},
    routing::{delete, get, post},
};
use hive_runtime::port::{TaskFilter, TaskRequest, TaskState};
use serde::Deserialize;

pub(super) const ROUTES: &[Route] = &[
    Route::new(
        "POST",
        "/v1/jobs",
        "Submits a job; answered when it is in the journal",
        || post(submit),
    ),
    Route::new("GET", "/v1/jobs", "All jobs, newest first", || get(list)),
    Route::new(
        "GET",
        "/v1/jobs/{id}",
        "One job; with ?wait=true once it has ended",
        || get(one),
    ),
    Route::new(
        "DELETE",
        "/v1/jobs/{id}",
        "Forgets an ended job and its results",
        || delete(remove),
    ),
    Route::new(
        "GET",
        "/v1/jobs/{id}/tasks",
        "Tasks of a job: ?state= &after= &limit=",
        || get(tasks),
    ),
    Route::new(
        "POST",
        "/v1/jobs/{id}/tasks",
        "Adds tasks to an open job; with ?wait=true answered once they have ended",
        || post(add),
    ),
    Route::new(
        "POST",
        "/v1/jobs/{id}/close",
        "Says that no more tasks follow",
        || post(close),
    ),
    Route::new(
        "POST",
        "/v1/jobs/{id}/stop",
        "Stops all that has not ended",
        || post(stop),
    ),
    Route::new(
        "POST",
        "/v1/jobs/{id}/retry",
        "Runs its failed and stopped tasks again",
        || post(retry),
    ),
    Route::new(
        "GET",
        "/v1/jobs/{id}/explain",
        "Why it runs where it does, or nowhere",
        || get(explain),
    ),
];

/// `?wait=true`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    #[serde(default)]
    pub(super) wait: bool,
}

async fn submit(State(context): State<Context>, request: Request) -> Answer {
    let Held {
        bytes,
        budget: _budget,
    } = read(request, BODY_TASKS, &context).await?;
    let job = job_check::job(&bytes)?;
    drop(bytes);
    let job = context.node().job_submit(Box::new(job)).await?;
    Ok(made(job.job.clone(), "job", job))
}

async fn list(State(context): State<Context>) -> Answer {
    Ok(document("jobs", context.node().jobs().await?))
}

async fn one(State(context): State<Context>, id: Id, Args(Wait { wait }): Args<Wait>) -> Answer {
    let id = id.of("job")?;
    let job = if wait {
        context.node().job_wait(id).await?
    } else {
        context.node().job(id).await?
    };
    Ok(document("job", job))
}

async fn remove(State(context): State<Context>, id: Id) -> Answer {
    context.node().job_remove(id.of("job")?).await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    state: Option<TaskState>,
    after: Option<u32>,
    limit: Option<u32>,
}

/// A listing's length: the default when unsaid.
pub(super) fn limit(said: Option<u32>) -> Result<u32, Failure> {
    match said.unwrap_or(LIST_DEFAULT) {
        n @ 1..=LIST_MOST => Ok(n),
        n => Err(Failure::invalid(
            "api.bad_query",
            format!("`limit` is {n}; it must be 1 to {LIST_MOST}"),
        )),
    }
}

async fn tasks(State(context): State<Context>, id: Id, Args(filter): Args<Filter>) -> Answer {
    let filter = TaskFilter {
        state: filter.state,
        after: filter.after,
        limit: limit(filter.limit)?,
    };
    let tasks = context.node().job_tasks(id.of("job")?, filter).await?;
    Ok(document("tasks", tasks))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    tasks: Vec<TaskRequest>,
}

async fn add(
    State(context): State<Context>,
    id: Id,
    Args(Wait { wait }): Args<Wait>,
    request: Request,
) -> Answer {
    let Held {
        bytes,
        budget: _budget,
    } = read(request, BODY_TASKS, &context).await?;
    let Add { tasks } = parse(&bytes)?;
    drop(bytes);
    job_check::tasks(&tasks)?;
    if wait && tasks.len() > WAIT_TASKS {
        return Err(Failure::invalid(
            "api.wait_too_many",
            format!(
                "one call adds and waits for at most {WAIT_TASKS} tasks, not {}; add them without wait, then GET /v1/jobs/ID?wait=true",
                tasks.len()
            ),
        ));
    }
    let ids = context.node().job_add(id.of("job")?, tasks).await?;
    if !wait {
        return Ok(document("ids", ids));
    }
    let mut ended = Vec::with_capacity(ids.len());
    for id in ids {
        ended.push(context.node().task_wait(id).await?);
    }
    Ok(document("tasks", ended))
}

async fn close(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("job", context.node().job_close(id.of("job")?).await?))
}

async fn stop(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("job", context.node().job_stop(id.of("job")?).await?))
}

async fn retry(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("job", context.node().job_retry(id.of("job")?).await?))
}

async fn explain(State(context): State<Context>, id: Id) -> Answer {
    Ok(document("explain", context.node().explain(id.of("job")?).await?))
}
