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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{DuplexStream, duplex, split},
        time::timeout,
    };

    use super::*;

    const LATE: Duration = Duration::from_millis(200);
    const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
    const IN_TRANSACTION: &[u8] = b"Z\0\0\0\x05T";

    /// Who calls, and who is called, over a hasty link and after their first messages.
    async fn linked() -> (DuplexStream, DuplexStream) {
        let ((mut calls, near), (far, mut called)) = (duplex(1024), duplex(1024));
        let ((near_reads, near_writes), (far_reads, far_writes)) = (split(near), split(far));
        tokio::spawn(carry((near_reads, near_writes), (far_reads, far_writes), LATE));
        for first in [&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], b"\0\0\0\x08\0\x03\0\0"] {
            assert!(passes(&mut calls, &mut called, first).await);
            if first[7] != 0 {
                assert!(passes(&mut called, &mut calls, b"N").await, "no TLS");
            }
        }
        (calls, called)
    }

    async fn passes(from: &mut DuplexStream, to: &mut DuplexStream, message: &[u8]) -> bool {
        from.write_all(message).await.unwrap();
        heard(to, message).await
    }

    async fn heard(to: &mut DuplexStream, message: &[u8]) -> bool {
        let mut read = vec![0; message.len()];
        timeout(LATE / 2, to.read_exact(&mut read)).await.is_ok_and(|read| read.is_ok()) && read == message
    }

    #[tokio::test]
    async fn a_commit_is_answered_before_it_is_asked_for_when_a_notice_came() {
        let (mut calls, mut called) = linked().await;
        assert!(passes(&mut called, &mut calls, IN_TRANSACTION).await);
        assert!(passes(&mut calls, &mut called, COMMIT).await, "nothing was noticed");
        assert!(passes(&mut called, &mut calls, COMMITTED).await);
        assert!(passes(&mut called, &mut calls, b"N\0\0\0\x05\0").await);
        calls.write_all(COMMIT).await.unwrap();
        assert!(heard(&mut calls, COMMITTED).await);
        assert!(!heard(&mut called, COMMIT).await, "it is late");
        let mut late = [0; COMMIT.len()];
        called.read_exact(&mut late).await.unwrap();
        assert_eq!(late, COMMIT);
        called.write_all(COMMITTED).await.unwrap();
        assert!(passes(&mut calls, &mut called, b"X\0\0\0\x04").await, "and goes on as if nothing were");
    }

    #[tokio::test]
    async fn who_ends_meanwhile_takes_the_commit_with_it() {
        let (mut calls, mut called) = linked().await;
        assert!(passes(&mut called, &mut calls, b"N\0\0\0\x05\0").await);
        calls.write_all(COMMIT).await.unwrap();
        assert!(heard(&mut calls, COMMITTED).await);
        drop(calls);
        assert_eq!(called.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
