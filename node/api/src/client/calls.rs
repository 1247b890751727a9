//! Every call of the API as a method.

use super::{
    Client,
    failure::unreadable,
    pool::{Ask, whole},
    streams::{BlobReader, EventStream, LogStream, upload},
};
use crate::{
    document::{self, TrustView},
    limits::CLIENT_CHANGE,
};
use bytes::Bytes;
use hive_protocol::{money::MicroCpt, resources::Role};
use hive_runtime::port::{
    BlobView, FunnelView, InviteRequest, InviteView, JobRequest, JobView, JoinView, MeshRequest, MeshView,
    NodeRow, Refused, StatusView, TaskFilter, TaskRequest, TaskRow, TaskView, WalletLine, WalletView,
};
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{fmt::Write, path::Path};
use tokio::io::AsyncRead;

/// Escapes text for one segment of a path or one value of a query.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl Client {
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: String,
    ) -> Result<T, Refused> {
        let bytes = self.pool.fetch(Ask::get(path)).await?;
        document::read(name, &bytes).map_err(|e| unreadable(&e))
    }

    /// A question that is answered when something has ended: no limit of time.
    pub(super) async fn wait<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: String,
    ) -> Result<T, Refused> {
        let ask = Ask {
            wait: None,
            ..Ask::get(path)
        };
        let bytes = self.pool.fetch(ask).await?;
        document::read(name, &bytes).map_err(|e| unreadable(&e))
    }

    async fn change(
        &self,
        method: Method,
        path: String,
        body: Option<&impl Serialize>,
    ) -> Result<Bytes, Refused> {
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).map_err(|e| unreadable(&e))?,
            None => Vec::new(),
        };
        let ask = Ask {
            method,
            json: !bytes.is_empty(),
            body: whole(bytes.into()),
            wait: Some(CLIENT_CHANGE),
            ..Ask::get(path)
        };
        self.pool.fetch(ask).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, Refused> {
        let bytes = self.change(Method::POST, path, Some(body)).await?;
        document::read(name, &bytes).map_err(|e| unreadable(&e))
    }

    pub(super) async fn act<T: DeserializeOwned>(
        &self,
        name: &'static str,
        path: String,
    ) -> Result<T, Refused> {
        let bytes = self.change(Method::POST, path, None::<&()>).await?;
        document::read(name, &bytes).map_err(|e| unreadable(&e))
    }

    pub(super) async fn delete(&self, path: String) -> Result<(), Refused> {
        self.change(Method::DELETE, path, None::<&()>).await.map(drop)
    }
}

/// Each returns the daemon's refusal, or one of its own: `daemon.not_running`, `daemon.denied`, `daemon.unreachable`,
/// `daemon.connection_lost`, `daemon.slow`, `api.unreadable`.
#[allow(clippy::missing_errors_doc)] // said once above for all
impl Client {
    /// This node at a glance.
    pub async fn status(&self) -> Result<StatusView, Refused> {
        self.ask("status", "/v1/status".into()).await
    }
    /// Founds a mesh.
    pub async fn mesh_create(&self, request: &MeshRequest) -> Result<MeshView, Refused> {
        self.post("mesh", "/v1/mesh".into(), request).await
    }
    /// Joins the mesh of a ticket.
    pub async fn join(&self, ticket: &str) -> Result<JoinView, Refused> {
        self.post("join", "/v1/join".into(), &json!({ "ticket": ticket }))
            .await
    }
    /// Makes an invitation.
    pub async fn invite(&self, request: &InviteRequest) -> Result<InviteView, Refused> {
        let role: Role = request.role;
        let body = json!({
            "role": role.name(),
            "score": request.score,
            "grant": request.grant,
            "uses": request.uses,
            "ttl_ms": request.ttl_ms,
        });
        self.post("invite", "/v1/invites".into(), &body).await
    }
    /// Ends an invitation.
    pub async fn invite_revoke(&self, invite: &str) -> Result<(), Refused> {
        self.delete(format!("/v1/invites/{}", escape(invite))).await
    }
    /// All nodes of the mesh.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, Refused> {
        self.ask("nodes", "/v1/nodes".into()).await
    }
    /// One node, by id, prefix or name.
    pub async fn node(&self, node: &str) -> Result<NodeRow, Refused> {
        self.ask("node", format!("/v1/nodes/{}", escape(node))).await
    }
    /// Submits a job.
    pub async fn job_submit(&self, request: &JobRequest) -> Result<JobView, Refused> {
        self.post("job", "/v1/jobs".into(), request).await
    }
    /// All jobs, newest first.
    pub async fn jobs(&self) -> Result<Vec<JobView>, Refused> {
        self.ask("jobs", "/v1/jobs".into()).await
    }
    /// One job.
    pub async fn job(&self, job: &str) -> Result<JobView, Refused> {
        self.ask("job", format!("/v1/jobs/{}", escape(job))).await
    }
    /// The job once it has ended.
    pub async fn job_wait(&self, job: &str) -> Result<JobView, Refused> {
        self.wait("job", format!("/v1/jobs/{}?wait=true", escape(job)))
            .await
    }
    /// Tasks of a job. A limit of 0 is the server's default of 100.
    pub async fn job_tasks(&self, job: &str, filter: &TaskFilter) -> Result<Vec<TaskRow>, Refused> {
        let mut path = format!("/v1/jobs/{}/tasks?", escape(job));
        if let Some(state) = filter.state {
            let state = serde_json::to_value(state).map_err(|e| unreadable(&e))?;
            let _ = write!(path, "state={}&", state.as_str().unwrap_or_default());
        }
        if let Some(after) = filter.after {
            let _ = write!(path, "after={after}&");
        }
        if filter.limit > 0 {
            let _ = write!(path, "limit={}", filter.limit);
        }
        self.ask("tasks", path).await
    }
    /// Adds tasks to an open job; their ids.
    pub async fn job_add(&self, job: &str, tasks: &[TaskRequest]) -> Result<Vec<String>, Refused> {
        let path = format!("/v1/jobs/{}/tasks", escape(job));
        self.post("ids", path, &json!({ "tasks": tasks })).await
    }
    /// Adds tasks to an open job and returns them once all have ended; at most
    /// [`WAIT_TASKS`](crate::limits::WAIT_TASKS) of them.
    pub async fn job_add_wait(&self, job: &str, tasks: &[TaskRequest]) -> Result<Vec<TaskView>, Refused> {
        let body = serde_json::to_vec(&json!({ "tasks": tasks })).map_err(|e| unreadable(&e))?;
        let ask = Ask {
            method: Method::POST,
            body: whole(body.into()),
            json: true,
            wait: None,
            ..Ask::get(format!("/v1/jobs/{}/tasks?wait=true", escape(job)))
        };
        let bytes = self.pool.fetch(ask).await?;
        document::read("tasks", &bytes).map_err(|e| unreadable(&e))
    }
    /// Says that no more tasks follow.
    pub async fn job_close(&self, job: &str) -> Result<JobView, Refused> {
        self.act("job", format!("/v1/jobs/{}/close", escape(job))).await
    }
    /// Stops all of a job that has not ended.
    pub async fn job_stop(&self, job: &str) -> Result<JobView, Refused> {
        self.act("job", format!("/v1/jobs/{}/stop", escape(job))).await
    }
    /// Runs a job's failed and stopped tasks again.
    pub async fn job_retry(&self, job: &str) -> Result<JobView, Refused> {
        self.act("job", format!("/v1/jobs/{}/retry", escape(job))).await
    }
    /// Forgets an ended job and its results.
    pub async fn job_remove(&self, job: &str) -> Result<(), Refused> {
        self.delete(format!("/v1/jobs/{}", escape(job))).await
    }
    /// One task.
    pub async fn task(&self, task: &str) -> Result<TaskView, Refused> {
        self.ask("task", format!("/v1/tasks/{}", escape(task))).await
    }
    /// The task once it has ended.
    pub async fn task_wait(&self, task: &str) -> Result<TaskView, Refused> {
        self.wait("task", format!("/v1/tasks/{}?wait=true", escape(task)))
            .await
    }
    /// Stops a task.
    pub async fn task_stop(&self, task: &str) -> Result<TaskView, Refused> {
        self.act("task", format!("/v1/tasks/{}/stop", escape(task))).await
    }
    /// Runs an ended task again.
    pub async fn task_retry(&self, task: &str) -> Result<TaskView, Refused> {
        self.act("task", format!("/v1/tasks/{}/retry", escape(task)))
            .await
    }
    /// Why a task runs where it does, or nowhere.
    pub async fn explain_task(&self, task: &str) -> Result<FunnelView, Refused> {
        self.ask("explain", format!("/v1/tasks/{}/explain", escape(task)))
            .await
    }
    /// Why a job runs where it does, or nowhere.
    pub async fn explain_job(&self, job: &str) -> Result<FunnelView, Refused> {
        self.ask("explain", format!("/v1/jobs/{}/explain", escape(job)))
            .await
    }
    /// A task's log so far and, with `follow`, until the task ends.
    pub async fn logs(&self, task: &str, follow: bool) -> Result<LogStream, Refused> {
        let path = format!("/v1/tasks/{}/logs?follow={follow}", escape(task));
        LogStream::open(&self.pool, path).await
    }
    /// Everything that happens from now on.
    pub async fn events(&self) -> Result<EventStream, Refused> {
        EventStream::open(&self.pool).await
    }
    /// Stores the bytes of a reader; `size` where it is known.
    pub async fn blob_put(
        &self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        size: Option<u64>,
    ) -> Result<BlobView, Refused> {
        upload(&self.pool, reader, size).await
    }
    /// Stores a file of the daemon's machine, by absolute path.
    pub async fn blob_import(&self, path: &Path) -> Result<BlobView, Refused> {
        self.post("blob", "/v1/blobs".into(), &json!({ "path": path }))
            .await
    }
    /// Opens a blob for reading.
    pub async fn blob_get(&self, blob: &str) -> Result<BlobReader, Refused> {
        BlobReader::open(&self.pool, format!("/v1/blobs/{}", escape(blob))).await
    }
    /// A wallet; this node's own when `None`.
    pub async fn wallet(&self, account: Option<&str>) -> Result<WalletView, Refused> {
        let path = match account {
            Some(account) => format!("/v1/wallet?account={}", escape(account)),
            None => "/v1/wallet".into(),
        };
        self.ask("wallet", path).await
    }
    /// This account's history, newest first, before a line's number; a limit of 0 is the server's default of 100.
    pub async fn wallet_history(&self, before: Option<u64>, limit: u32) -> Result<Vec<WalletLine>, Refused> {
        let mut path = "/v1/wallet/history?".to_owned();
        if let Some(before) = before {
            let _ = write!(path, "before={before}&");
        }
        if limit > 0 {
            let _ = write!(path, "limit={limit}");
        }
        self.ask("history", path).await
    }
    /// Sends money.
    pub async fn wallet_send(&self, to: &str, amount: MicroCpt, memo: &str) -> Result<WalletLine, Refused> {
        let body = json!({ "to": to, "amount": amount, "memo": memo });
        self.post("line", "/v1/wallet/send".into(), &body).await
    }
    /// Trust in an account, node or name.
    pub async fn trust(&self, who: &str) -> Result<TrustView, Refused> {
        self.ask("trust", format!("/v1/trust/{}", escape(who))).await
    }
    /// Prometheus text.
    pub async fn metrics(&self) -> Result<String, Refused> {
        let bytes = self.pool.fetch(Ask::get("/metrics".into())).await?;
        String::from_utf8(bytes.into()).map_err(|e| unreadable(&e))
    }
    /// Has the settings read again; those that need no restart hold then.
    pub async fn reload(&self) -> Result<(), Refused> {
        self.change(Method::POST, "/v1/reload".into(), None::<&()>)
            .await
            .map(drop)
    }
    /// Stops the daemon, after at most `drain_ms` of finishing what runs.
    pub async fn stop(&self, drain_ms: u64) -> Result<(), Refused> {
        let body = json!({ "drain_ms": drain_ms });
        self.change(Method::POST, "/v1/stop".into(), Some(&body))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_as_an_id_reaches_another_path() {
        assert_eq!(escape("../x y/é?"), "..%2Fx%20y%2F%C3%A9%3F");
        assert_eq!(escape("t_9f3a-2.~"), "t_9f3a-2.~");
    }
}
