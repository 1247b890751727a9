//! Calls about files, transfers, notices and mirrors.

use super::{Client, calls::escape, streams::BlobReader};
use hive_runtime::port::{
    AddRequest, FileRow, FileView, GcView, InboxRow, NoticeView, PullRequest, PushRequest, Refused,
    SyncRequest, SyncView, TransferDo, TransferView, VerifyView,
};
use serde_json::json;
use std::path::Path;

/// Each returns the daemon's refusal, or one of its own, as those in [`super::calls`].
#[allow(clippy::missing_errors_doc)] // said once above for all
impl Client {
    /// Takes in a file or folder of the daemon's machine.
    pub async fn file_add(&self, request: &AddRequest) -> Result<FileView, Refused> {
        self.post("file", "/v1/files".into(), request).await
    }
    /// All contents kept there.
    pub async fn files(&self) -> Result<Vec<FileRow>, Refused> {
        self.ask("files", "/v1/files".into()).await
    }
    /// One content.
    pub async fn file(&self, file: &str) -> Result<FileView, Refused> {
        self.ask("file", format!("/v1/files/{}", escape(file))).await
    }
    /// Lets all members pull it.
    pub async fn file_share(&self, file: &str) -> Result<FileView, Refused> {
        self.act("file", format!("/v1/files/{}/share", escape(file)))
            .await
    }
    /// Ends that.
    pub async fn file_unshare(&self, file: &str) -> Result<(), Refused> {
        self.delete(format!("/v1/files/{}/share", escape(file))).await
    }
    /// Reads all its bytes again.
    pub async fn file_verify(&self, file: &str) -> Result<VerifyView, Refused> {
        self.act("verify", format!("/v1/files/{}/verify", escape(file)))
            .await
    }
    /// Keeps it no longer.
    pub async fn file_remove(&self, file: &str) -> Result<(), Refused> {
        self.delete(format!("/v1/files/{}", escape(file))).await
    }
    /// Frees what nobody keeps.
    pub async fn file_gc(&self, dry_run: bool) -> Result<GcView, Refused> {
        self.post("gc", "/v1/files/gc".into(), &json!({ "dry_run": dry_run }))
            .await
    }
    /// Verified bytes `from..to` of a content or ticket.
    pub async fn file_read(&self, what: &str, from: u64, to: Option<u64>) -> Result<BlobReader, Refused> {
        let to = to.map_or_else(String::new, |to| format!("&to={to}"));
        let path = format!("/v1/files/bytes?of={}&from={from}{to}", escape(what));
        BlobReader::open(&self.pool, path).await
    }
    /// Begins to bring content to the daemon's machine.
    pub async fn file_pull(&self, request: &PullRequest) -> Result<TransferView, Refused> {
        self.post("transfer", "/v1/transfers".into(), request).await
    }
    /// Transfers that run, and the latest ended ones.
    pub async fn transfers(&self) -> Result<Vec<TransferView>, Refused> {
        self.ask("transfers", "/v1/transfers".into()).await
    }
    /// One transfer, once it has ended or `wait_ms` have passed.
    pub async fn transfer(&self, transfer: &str, wait_ms: u64) -> Result<TransferView, Refused> {
        let path = format!("/v1/transfers/{}?wait_ms={wait_ms}", escape(transfer));
        self.wait("transfer", path).await
    }
    /// Pauses, resumes or cancels a transfer, or `all`.
    pub async fn transfer_do(&self, transfer: &str, what: TransferDo) -> Result<Vec<TransferView>, Refused> {
        let verb = match what {
            TransferDo::Pause => "pause",
            TransferDo::Resume => "resume",
            TransferDo::Cancel => "cancel",
        };
        let path = format!("/v1/transfers/{}/{verb}", escape(transfer));
        self.act("transfers", path).await
    }
    /// Sends a notice.
    pub async fn push(&self, request: &PushRequest) -> Result<NoticeView, Refused> {
        self.post("notice", "/v1/notices".into(), request).await
    }
    /// The outbox, newest first.
    pub async fn notices(&self) -> Result<Vec<NoticeView>, Refused> {
        self.ask("notices", "/v1/notices".into()).await
    }
    /// One notice, once nothing more will happen to it or `wait_ms` have passed.
    pub async fn notice(&self, notice: &str, wait_ms: u64) -> Result<NoticeView, Refused> {
        let path = format!("/v1/notices/{}?wait_ms={wait_ms}", escape(notice));
        self.wait("notice", path).await
    }
    /// Takes a notice back.
    pub async fn notice_cancel(&self, notice: &str) -> Result<(), Refused> {
        self.delete(format!("/v1/notices/{}", escape(notice))).await
    }
    /// What others have sent there, newest first.
    pub async fn inbox(&self) -> Result<Vec<InboxRow>, Refused> {
        self.ask("inbox", "/v1/inbox".into()).await
    }
    /// One of it.
    pub async fn inbox_item(&self, notice: &str) -> Result<InboxRow, Refused> {
        self.ask("item", format!("/v1/inbox/{}", escape(notice))).await
    }
    /// Accepts what waits for it.
    pub async fn inbox_accept(&self, notice: &str, dest: Option<&Path>) -> Result<InboxRow, Refused> {
        let path = format!("/v1/inbox/{}/accept", escape(notice));
        self.post("item", path, &json!({ "dest": dest })).await
    }
    /// Declines it.
    pub async fn inbox_decline(&self, notice: &str, reason: &str) -> Result<InboxRow, Refused> {
        let path = format!("/v1/inbox/{}/decline", escape(notice));
        self.post("item", path, &json!({ "reason": reason })).await
    }
    /// Begins to mirror a folder.
    pub async fn sync_start(&self, request: &SyncRequest) -> Result<SyncView, Refused> {
        self.post("sync", "/v1/syncs".into(), request).await
    }
    /// All mirrors.
    pub async fn syncs(&self) -> Result<Vec<SyncView>, Refused> {
        self.ask("syncs", "/v1/syncs".into()).await
    }
    /// One mirror, once all receivers have its latest state or `wait_ms` have passed.
    pub async fn sync(&self, sync: &str, wait_ms: u64) -> Result<SyncView, Refused> {
        let path = format!("/v1/syncs/{}?wait_ms={wait_ms}", escape(sync));
        self.wait("sync", path).await
    }
    /// Ends a mirror.
    pub async fn sync_remove(&self, sync: &str) -> Result<(), Refused> {
        self.delete(format!("/v1/syncs/{}", escape(sync))).await
    }
}
