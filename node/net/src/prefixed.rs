//! Protobuf messages with a variable-length prefix, as libp2p's own protocols have them on a stream. Knows no protocol.

use prost::Message;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest message, in bytes, of any protocol read here: AutoNAT's filling of 4096 bytes with its head. The relay's and
/// the punch's are smaller; none needs a bound of its own.
pub(crate) const MAX_MESSAGE: usize = 4104;
/// Bytes a length of at most [`MAX_MESSAGE`] takes.
pub(crate) const MAX_PREFIX: usize = 2;

/// Reads one message and not a byte more: what follows belongs to somebody else.
///
/// # Errors
/// The stream's, and `InvalidData` for what is too large (before it is stored) or no such message.
pub(crate) async fn read<M: Message + Default>(from: &mut (impl AsyncRead + Unpin)) -> Result<M> {
    let mut len = 0usize;
    for n in 0..MAX_PREFIX {
        let byte = from.read_u8().await?;
        len |= usize::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            if len > MAX_MESSAGE {
                break;
            }
            let mut bytes = vec![0; len];
            from.read_exact(&mut bytes).await?;
            return M::decode(bytes.as_slice()).map_err(|e| Error::new(ErrorKind::InvalidData, e));
        }
    }
    Err(Error::new(ErrorKind::InvalidData, "a message over 4104 bytes"))
}

/// Writes one message.
///
/// # Errors
/// The stream's.
pub(crate) async fn write<M: Message>(to: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<()> {
    to.write_all(&message.encode_length_delimited_to_vec()).await?;
    to.flush().await
}
