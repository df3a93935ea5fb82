//! A fault for the campaign to find: a link to PostgreSQL that says of a commit that it is done before it asks for it, so
//! that whoever calls answers before its commit. Which commits: those of transactions in which PostgreSQL sent a notice,
//! as a trigger does that is planted with it.
//!
//! Of the protocol of PostgreSQL (version 3, without TLS) it knows where a message ends, and four of them.

use std::{io, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::sleep,
};

/// Instead of its length and version, a first message says with this that it asks for TLS; one byte answers it.
const TLS_WANTED: u32 = 80_877_103;
/// What PostgreSQL answers to a commit: that it is done, and that it is ready for the next statement.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I";
/// The kinds of messages that matter.
const QUERY: u8 = b'Q';
const NOTICE: u8 = b'N';
const READY: u8 = b'Z';

/// Carries one connection until it ends; a commit that was chosen reaches PostgreSQL so much later than it is answered.
pub(super) async fn carry(
    near: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    far: (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    late: Duration,
) -> io::Result<()> {
    let ((near_reads, mut near), (far_reads, mut far)) = (near, far);
    let (mut asked, mut told) = (Messages::of(near_reads), Messages::of(far_reads));
    loop {
        let first = asked.next(0).await?;
        far.write_all(&first).await?;
        if first.get(4..8) != Some(&TLS_WANTED.to_be_bytes()) {
            break;
        }
        near.write_all(&[told.byte().await?]).await?;
    }
    let mut chosen = false;
    loop {
        tokio::select! {
            message = asked.next(1) => {
                let message = message?;
                if !chosen || !is_commit(&message) {
                    far.write_all(&message).await?;
                    continue;
                }
                near.write_all(COMMITTED).await?;
                // Whoever dies meanwhile has answered, and takes the commit with it.
                tokio::select! {
                    () = sleep(late) => {}
                    ended = asked.until_ended() => return ended,
                }
                far.write_all(&message).await?;
                while told.next(1).await?.first() != Some(&READY) {}
                chosen = false;
            }
            message = told.next(1) => {
                let message = message?;
                match message.first() {
                    Some(&NOTICE) => chosen = true,
                    // Ready, and in no transaction.
                    Some(&READY) if message.last() == Some(&b'I') => chosen = false,
                    _ => {}
                }
                near.write_all(&message).await?;
            }
        }
    }
}

fn is_commit(message: &[u8]) -> bool {
    let text = message.get(5..).and_then(|text| text.strip_suffix(b"\0"));
    message.first() == Some(&QUERY) && text.is_some_and(|text| text.eq_ignore_ascii_case(b"commit"))
}

/// The messages of one side. Whoever stops waiting for one loses nothing.
struct Messages<R> {
    reads: R,
    read: BytesMut,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    fn of(reads: R) -> Self {
        Self { reads, read: BytesMut::with_capacity(16 * 1024) }
    }

    /// The next message, whose length stands after so many bytes.
    async fn next(&mut self, before: usize) -> io::Result<Bytes> {
        loop {
            if let Some(mut length) = self.read.get(before..before + 4) {
                let length = before + usize::try_from(length.get_u32()).map_err(io::Error::other)?;
                if self.read.len() >= length {
                    return Ok(self.read.split_to(length).freeze());
                }
            }
            self.more().await?;
        }
    }

    async fn byte(&mut self) -> io::Result<u8> {
        while self.read.is_empty() {
            self.more().await?;
        }
        Ok(self.read.get_u8())
    }

    /// Keeps what comes until nothing can come any more.
    async fn until_ended(&mut self) -> io::Result<()> {
        loop {
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.reads.read_buf(&mut self.read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
