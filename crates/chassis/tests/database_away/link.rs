//! A network between a process and its database, which may be cut.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of a connection that sends a COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Commit {
    Carried,
    /// The connection ends before the server gets it.
    LostOnTheWay,
    /// The server gets it; the connection ends before its answer arrives.
    AnswerLost,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Nothing arrives, in neither direction, and nobody is told.
    cut: bool,
    /// Connections made before this many others lead nowhere any more.
    oldest: usize,
    commit: Commit,
}

pub(crate) struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    made: Arc<std::sync::atomic::AtomicUsize>,
    _carrying: JoinSet<()>,
}

impl Link {
    pub(crate) async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(State { cut: false, oldest: 0, commit: Commit::Carried });
        let made = Arc::default();
        let mut carrying = JoinSet::new();
        carrying.spawn(accept(listener, socket, state.subscribe(), Arc::clone(&made)));
        Self { address, state, made, _carrying: carrying }
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://jkn@{}/{database}?sslmode=disable", self.address)
    }

    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cut = true);
    }

    /// What waited arrives.
    pub(crate) fn heal(&self) {
        self.state.send_modify(|state| state.cut = false);
    }

    /// Another server has taken the place of the old one: only connections made from now on lead anywhere.
    pub(crate) fn heal_for_new_connections(&self) {
        let made = self.made.load(Ordering::SeqCst);
        self.state.send_modify(|state| (state.cut, state.oldest) = (false, made));
    }

    pub(crate) fn on_commit(&self, commit: Commit) {
        self.state.send_modify(|state| state.commit = commit);
    }
}

async fn accept(
    listener: TcpListener,
    socket: PathBuf,
    state: watch::Receiver<State>,
    made: Arc<std::sync::atomic::AtomicUsize>,
) {
    let mut carried = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = made.fetch_add(1, Ordering::SeqCst);
        carried.spawn(carry(client, socket.clone(), state.clone(), number));
    }
}

async fn carry(client: TcpStream, socket: PathBuf, mut state: watch::Receiver<State>, number: usize) {
    arrives(&mut state, number).await;
    let Ok(server) = UnixStream::connect(socket).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let severed = AtomicBool::new(false);
    // Whichever ends takes the other with it, and so both connections.
    tokio::select! {
        () = pass(from_client, to_server, state.clone(), number, &severed, true) => {}
        () = pass(from_server, to_client, state, number, &severed, false) => {}
    }
}

async fn arrives(state: &mut watch::Receiver<State>, number: usize) -> State {
    let whole = state.wait_for(|state| !state.cut && state.oldest <= number).await.map(|state| *state);
    match whole {
        Ok(state) => state,
        Err(_) => std::future::pending().await,
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    number: usize,
    severed: &AtomicBool,
    asks: bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let commit = arrives(&mut state, number).await.commit;
        if read == 0 || (!asks && severed.load(Ordering::SeqCst)) {
            return;
        }
        if asks && commit != Commit::Carried && buffer[..read].windows(6).any(|bytes| bytes == b"COMMIT") {
            if commit == Commit::LostOnTheWay {
                return;
            }
            severed.store(true, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
