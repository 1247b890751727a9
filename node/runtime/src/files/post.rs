//! The authorities' mailbox as the push engine asks it.

use hive_authority::Mailbox;
use hive_protocol::{ids::NodeId, notice::NoticeMsg};
use hive_push::{Answered, Answering, PostOffice};

/// The mailbox of the authority in this process.
pub(super) struct Post(pub(super) Mailbox);

impl PostOffice for Post {
    fn ask(&self, from: NodeId, msg: NoticeMsg) -> Answering {
        let mailbox = self.0.handle();
        Box::pin(async move {
            let answer = mailbox.ask(from, msg).await;
            Answered {
                reply: answer.reply,
                news: answer.news,
            }
        })
    }
}
