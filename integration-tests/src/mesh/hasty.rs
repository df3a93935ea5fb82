//! A fault for the campaign to find: a link to PostgreSQL that says of a statement that it is committed before it asks for
//! that, so that whoever calls answers before its commit. Which statements: those outside of transactions, while which
//! PostgreSQL sent a notice, as a trigger does that is planted with it.
//!
//! Of the protocol of PostgreSQL (version 3, without TLS) it knows where a message ends, and seven of them. A statement is
//! committed when its caller asks for a point of synchronisation; who calls here asks for the end of its portal before.

use std::{io, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::sleep,
};

/// Instead of its length and version, a first message says with this that it asks for TLS; one byte answers it.
const TLS_WANTED: u32 = 80_877_103;
/// What is asked: that a statement is executed; that it is committed, and that this is answered; that what there is to
/// answer is.
const EXECUTE: u8 = b'E';
const SYNC: &[u8] = b"S\0\0\0\x04";
const FLUSH: &[u8] = b"H\0\0\0\x04";
/// What PostgreSQL answers: a notice; that a statement went wrong; that its portal is closed; that it is ready for the next
/// one, here outside of transactions.
const NOTICE: u8 = b'N';
const ERROR: u8 = b'E';
const CLOSED: u8 = b'3';
const READY: u8 = b'Z';
const COMMITTED: &[u8] = b"Z\0\0\0\x05I";

/// Carries one connection until it ends; a statement that was chosen is committed so much later than that is answered.
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
    let (mut executes, mut in_transaction) = (false, false);
    loop {
        tokio::select! {
            message = asked.next(1) => {
                let message = message?;
                executes |= message.first() == Some(&EXECUTE);
                // What comes after this point, as a preparation does, executes nothing by itself.
                if message != SYNC || !std::mem::take(&mut executes) || in_transaction {
                    far.write_all(&message).await?;
                    continue;
                }
                far.write_all(FLUSH).await?;
                let mut chosen = false;
                let wrong = loop {
                    let message = told.next(1).await?;
                    near.write_all(&message).await?;
                    match message.first() {
                        Some(&NOTICE) => chosen = true,
                        Some(&CLOSED) => break false,
                        Some(&ERROR) => break true,
                        _ => {}
                    }
                };
                if !chosen || wrong {
                    far.write_all(SYNC).await?;
                    continue;
                }
                near.write_all(COMMITTED).await?;
                // Whoever dies meanwhile has answered, and takes the commit with it.
                tokio::select! {
                    () = sleep(late) => {}
                    ended = asked.until_ended() => return ended,
                }
                far.write_all(SYNC).await?;
                while told.next(1).await?.first() != Some(&READY) {}
            }
            message = told.next(1) => {
                let message = message?;
                if message.first() == Some(&READY) {
                    in_transaction = message != COMMITTED;
                }
                near.write_all(&message).await?;
            }
        }
    }
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
    const EXECUTED: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
    const NOTICED: &[u8] = b"N\0\0\0\x05\0";
    const PORTAL_CLOSED: &[u8] = b"3\0\0\0\x04";
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

    /// A statement that is executed, and its commit asked for.
    async fn executes(calls: &mut DuplexStream, called: &mut DuplexStream) {
        assert!(passes(calls, called, EXECUTED).await);
        calls.write_all(SYNC).await.unwrap();
        assert!(heard(called, FLUSH).await, "it is answered, and not committed");
    }

    #[tokio::test]
    async fn a_statement_is_answered_before_its_commit_when_a_notice_came() {
        let (mut calls, mut called) = linked().await;
        executes(&mut calls, &mut called).await;
        assert!(passes(&mut called, &mut calls, PORTAL_CLOSED).await);
        assert!(heard(&mut called, SYNC).await, "nothing was noticed");
        assert!(passes(&mut called, &mut calls, COMMITTED).await);
        executes(&mut calls, &mut called).await;
        for message in [NOTICED, PORTAL_CLOSED] {
            assert!(passes(&mut called, &mut calls, message).await);
        }
        assert!(heard(&mut calls, COMMITTED).await);
        assert!(!heard(&mut called, SYNC).await, "it is late");
        let mut late = [0; SYNC.len()];
        called.read_exact(&mut late).await.unwrap();
        assert_eq!(late, SYNC);
        called.write_all(COMMITTED).await.unwrap();
        assert!(passes(&mut calls, &mut called, b"X\0\0\0\x04").await, "and goes on as if nothing were");
    }

    #[tokio::test]
    async fn what_is_wrong_or_in_a_transaction_is_answered_in_its_turn() {
        let (mut calls, mut called) = linked().await;
        executes(&mut calls, &mut called).await;
        for message in [NOTICED, b"E\0\0\0\x05\0"] {
            assert!(passes(&mut called, &mut calls, message).await);
        }
        assert!(heard(&mut called, SYNC).await);
        assert!(passes(&mut called, &mut calls, IN_TRANSACTION).await);
        assert!(passes(&mut calls, &mut called, EXECUTED).await);
        assert!(passes(&mut calls, &mut called, SYNC).await);
        assert!(passes(&mut called, &mut calls, COMMITTED).await);
        assert!(passes(&mut calls, &mut called, SYNC).await, "nothing was executed since the transaction");
    }

    #[tokio::test]
    async fn who_ends_meanwhile_takes_the_commit_with_it() {
        let (mut calls, mut called) = linked().await;
        executes(&mut calls, &mut called).await;
        for message in [NOTICED, PORTAL_CLOSED] {
            assert!(passes(&mut called, &mut calls, message).await);
        }
        assert!(heard(&mut calls, COMMITTED).await);
        drop(calls);
        assert_eq!(called.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
