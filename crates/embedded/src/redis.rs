//! A private Redis server. It caches, counts and wakes up: nothing in it is worth keeping, so it writes no file.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    account::Account,
    place::{self, Ownership},
    program,
};

/// A running server that this process owns.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    home: PathBuf,
    socket: PathBuf,
    server: Child,
    _ownership: Ownership,
}

impl Server {
    /// Starts a server in `<root>/redis` and returns when it answers; `None` when no `redis-server` is installed.
    /// What a killed owner left running there is stopped first.
    pub async fn start(root: &Path) -> anyhow::Result<Option<Self>> {
        let Some(program) = program::redis_server() else { return Ok(None) };
        let account = Account::own()?;
        let home = place::home(root, "redis", account)?;
        let ownership = Ownership::take(&home)?;
        let socket = place::socket_folder(&home, account)?.join("redis.sock");
        shut_down(&socket).await?;
        let server = spawn(&program, &home, &socket)?;
        let mut server = Self { program, home, socket, server, _ownership: ownership };
        server.until_ready().await?;
        Ok(Some(server))
    }

    /// The server's URL.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    /// The unix socket it listens on.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The number of its process; `None` after it was killed.
    pub fn pid(&self) -> Option<u32> {
        self.server.id()
    }

    /// Ends the server at once, with all that it held.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.server.kill().await.context("cannot kill redis-server")
    }

    /// Starts the server again after [`Server::kill`], empty; [`Server::until_ready`] waits for it.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.server.try_wait()?.is_some() {
            self.server = spawn(&self.program, &self.home, &self.socket)?;
        }
        Ok(())
    }

    /// Returns when the server answers; fails when it has ended.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let log = self.home.join("log");
        let deadline = Instant::now() + Duration::from_secs(20);
        while ask(&self.socket, "PING").await.as_deref() != Some("+PONG") {
            if let Some(status) = self.server.try_wait()? {
                bail!("redis-server ended with {status} at its start: {}", place::last_lines(&log, 5));
            }
            if Instant::now() > deadline {
                bail!("redis-server does not answer: {}", place::last_lines(&log, 5));
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Stops the server.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        shut_down(&self.socket).await?;
        if timeout(Duration::from_secs(10), self.server.wait()).await.is_err() {
            self.server.kill().await?;
        }
        Ok(())
    }
}

fn spawn(program: &Path, home: &Path, socket: &Path) -> anyhow::Result<Child> {
    let path = home.join("log");
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Command::new(program)
        .arg("--unixsocket")
        .arg(socket)
        .args([
            "--unixsocketperm",
            "700",
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
        ])
        .arg("--dir")
        .arg(home)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start redis-server")
}

/// Sends one command and returns the first line of the answer; `None` when nobody answers.
async fn ask(socket: &Path, command: &str) -> Option<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let mut answer = [0; 128];
        let length = stream.read(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer[..length]).lines().next()?.to_owned())
    };
    timeout(Duration::from_secs(2), exchange).await.ok().flatten()
}

/// Tells whoever listens on the socket to end, and waits until nobody does.
async fn shut_down(socket: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(socket).await.is_ok() {
        if Instant::now() > deadline {
            bail!("a redis-server on {} does not stop; end it", socket.display());
        }
        ask(socket, "SHUTDOWN NOSAVE").await;
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
