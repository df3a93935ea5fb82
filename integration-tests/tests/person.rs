//! The mesh as a person starts it: `jkn up`, with everything brought along.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use std::{
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use integration_tests::program;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A mesh in one process.
struct Up {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Up {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(program().unwrap())
            .args(["--data", &data.display().to_string(), "--log", "warn", "up", "--journey"])
            .env("JKN_GATEWAY__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads what it says until a line that holds a text.
    async fn until(&mut self, text: &str) -> Vec<String> {
        let mut said = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let found = line.contains(text);
                said.push(line);
                if found {
                    return;
                }
            }
        };
        let in_time = timeout(Duration::from_secs(120), reading).await;
        assert!(
            in_time.is_ok() && said.last().is_some_and(|line| line.contains(text)),
            "no {text:?} in\n{}",
            said.join("\n")
        );
        said
    }

    async fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().unwrap();
        Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await.unwrap();
        timeout(Duration::from_secs(60), self.child.wait()).await.unwrap().unwrap()
    }
}

/// Members registered, as the tables of the cluster in the folder say.
async fn members(data: &Path) -> i64 {
    let cluster = embedded::postgres::running(data).await.unwrap().expect("a running cluster");
    let pool = sqlx::PgPool::connect(&cluster.url("membership")).await.unwrap();
    sqlx::query_scalar("select count(*) from member").fetch_one(&pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_is_killed_starts_again_with_its_data_and_a_stop_is_clean() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Up::start(folder.path());
    first.until("All five edges are live").await;
    let before = members(folder.path()).await;
    assert!(before > 0);

    // While it runs, a second one in the same folder is told so.
    let second = Command::new(program().unwrap())
        .args(["--data", &folder.path().display().to_string(), "--log", "warn", "up"])
        .env("JKN_GATEWAY__LISTEN", "127.0.0.1:0")
        .output()
        .await
        .unwrap();
    assert!(!second.status.success());
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("already running"),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );

    first.child.kill().await.unwrap();
    let mut again = Up::start(folder.path());
    again.until("All five edges are live").await;
    assert!(
        members(folder.path()).await > before,
        "the data of the first is there, and the second journey's with it"
    );
    let status = again.stop().await;
    assert!(status.success(), "{status}");
    assert!(
        embedded::postgres::running(folder.path()).await.unwrap().is_none(),
        "the cluster is stopped too"
    );
}
