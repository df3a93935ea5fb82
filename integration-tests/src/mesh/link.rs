//! A link between two processes, through which their bytes go and which can be harmed: cut, as a partition looks;
//! slowed; refused; and healed again.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};
use tokio_util::{
    either::Either,
    sync::{CancellationToken, DropGuard},
};

use super::{hasty, process::Addresses};

/// How long a link tries to reach its far end.
const CONNECT: Duration = Duration::from_secs(1);

/// What a link does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Passes it on.
    Open,
    /// Passes nothing on, either way; connections stay open, new ones are taken and hang.
    Cut,
    /// Passes it on later.
    Slow(Duration),
    /// Ends every connection at once.
    Refused,
    /// To PostgreSQL, connections that begin from now on: statements outside of transactions during which a notice was sent
    /// are answered so much earlier than their commit is asked for. A fault for the campaign to find.
    Hasty(Duration),
}

#[derive(Clone, Copy)]
struct State {
    way: Way,
    /// How often all connections were ended; each ends when this moves on from what it was born with.
    resets: u64,
}

/// What a link leads to.
pub(crate) enum Target {
    /// A process, wherever it listens at the moment.
    Process(watch::Receiver<Option<Addresses>>),
    /// A unix socket.
    Socket(PathBuf),
}

/// A link. It ends, with its connections, when it is dropped.
pub(crate) struct Link {
    /// Where the near end calls.
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    _carrying: DropGuard,
}

impl Link {
    pub(crate) async fn open(target: Target) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("opening a link")?;
        let address = listener.local_addr()?;
        let state = watch::Sender::new(State { way: Way::Open, resets: 0 });
        let stop = CancellationToken::new();
        let (watched, stopped) = (state.subscribe(), stop.clone());
        tokio::spawn(async move {
            let target = std::sync::Arc::new(target);
            loop {
                let near = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stopped.cancelled() => return,
                };
                // Out of file descriptors: the near end sees what it would see of a machine that is.
                let Ok((near, _)) = near else { continue };
                let (target, watched, stopped) = (target.clone(), watched.clone(), stopped.clone());
                tokio::spawn(async move { stopped.run_until_cancelled(carry(near, &target, watched)).await });
            }
        });
        Ok(Self { address, state, _carrying: stop.drop_guard() })
    }

    /// From now on.
    pub(crate) fn set(&self, way: Way) {
        self.state.send_modify(|state| {
            state.way = way;
            state.resets += u64::from(way == Way::Refused);
        });
    }

    /// Ends the connections there are; new ones are taken.
    pub(crate) fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

/// Carries one connection until it ends.
async fn carry(mut near: TcpStream, target: &Target, mut state: watch::Receiver<State>) {
    let born = state.borrow().resets;
    let _no_option = near.set_nodelay(true);
    let mut ended = state.clone();
    let carried = async {
        let way = passable(&mut state).await;
        if way == Way::Refused {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let far = tokio::time::timeout(CONNECT, connect(target)).await??;
        let (near_reads, near_writes) = near.split();
        let (far_reads, far_writes) = tokio::io::split(far);
        if let Way::Hasty(late) = way {
            return hasty::carry((near_reads, near_writes), (far_reads, far_writes), late).await;
        }
        let (there, back) = (state.clone(), state.clone());
        tokio::try_join!(pump(near_reads, far_writes, there), pump(far_reads, near_writes, back)).map(|_| ())
    };
    let in_order = tokio::select! {
        carried = carried => carried.is_ok(),
        _reset = ended.wait_for(|state| state.resets != born) => false,
    };
    if !in_order {
        // The near end is told as the system would tell it of a far end that is no more.
        let _ended_already = near.set_zero_linger();
    }
}

async fn connect(target: &Target) -> io::Result<Either<TcpStream, UnixStream>> {
    match target {
        Target::Process(addresses) => {
            // Nobody listens while it is down; its port may be another's by now.
            let Some(addresses) = *addresses.borrow() else {
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let stream = TcpStream::connect(addresses.grpc).await?;
            stream.set_nodelay(true)?;
            Ok(Either::Left(stream))
        }
        Target::Socket(path) => Ok(Either::Right(UnixStream::connect(path).await?)),
    }
}

/// Passes bytes on in one direction until the end of them.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        passable(&mut state).await;
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            _ = state.changed() => continue,
        };
        // What was read just before a cut stays here with what comes after it.
        if let Way::Slow(latency) = passable(&mut state).await {
            tokio::time::sleep(latency).await;
        }
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}

/// Waits while the link is cut.
async fn passable(state: &mut watch::Receiver<State>) -> Way {
    match state.wait_for(|state| state.way != Way::Cut).await {
        Ok(state) => state.way,
        // The link is gone, and this connection with it.
        Err(_) => Way::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A far end that says everything back.
    async fn echo() -> (Link, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    tokio::io::copy(&mut reads, &mut writes).await
                });
            }
        });
        (Link::open(Target::Socket(path)).await.unwrap(), folder)
    }

    async fn said_back(stream: &mut TcpStream, word: &[u8]) -> Option<Vec<u8>> {
        stream.write_all(word).await.ok()?;
        let mut heard = vec![0; word.len()];
        let read = stream.read_exact(&mut heard);
        tokio::time::timeout(Duration::from_millis(150), read).await.ok()?.ok()?;
        Some(heard)
    }

    #[tokio::test]
    async fn a_cut_link_is_silent_and_loses_nothing_when_it_heals() {
        let (link, _folder) = echo().await;
        let mut old = TcpStream::connect(link.address).await.unwrap();
        assert_eq!(said_back(&mut old, b"one").await.as_deref(), Some(&b"one"[..]));
        link.set(Way::Cut);
        assert_eq!(said_back(&mut old, b"two").await, None);
        let mut new = TcpStream::connect(link.address).await.unwrap();
        assert_eq!(said_back(&mut new, b"three").await, None);
        link.set(Way::Open);
        let mut late = [0; 3];
        old.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"two");
        let mut late = [0; 5];
        new.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"three");
    }

    #[tokio::test]
    async fn a_reset_ends_what_is_open_and_a_refused_link_takes_nobody() {
        let (link, _folder) = echo().await;
        let mut old = TcpStream::connect(link.address).await.unwrap();
        assert!(said_back(&mut old, b"one").await.is_some());
        link.reset();
        assert!(old.read(&mut [0; 1]).await.map_or(true, |read| read == 0), "it ended");
        let mut new = TcpStream::connect(link.address).await.unwrap();
        assert!(said_back(&mut new, b"two").await.is_some());
        link.set(Way::Refused);
        assert!(new.read(&mut [0; 1]).await.map_or(true, |read| read == 0), "it ended");
        let mut refused = TcpStream::connect(link.address).await.unwrap();
        assert_eq!(said_back(&mut refused, b"three").await, None);
        link.set(Way::Open);
        let mut healed = TcpStream::connect(link.address).await.unwrap();
        assert!(said_back(&mut healed, b"four").await.is_some());
    }

    #[tokio::test]
    async fn a_slow_link_passes_on_later() {
        let (link, _folder) = echo().await;
        let mut stream = TcpStream::connect(link.address).await.unwrap();
        link.set(Way::Slow(Duration::from_millis(100)));
        assert_eq!(said_back(&mut stream, b"one").await, None, "200 ms there and back");
        let mut late = [0; 3];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"one");
    }
}
