//! The load generator, a process of its own so that what it costs is known and stays off the server's processor.
//!
//! It is told what to do in one line of JSON on standard input, warms up, says `warm`, waits for a line, loads, and
//! answers with one line of JSON. It speaks HTTP/2 with the `h2` crate itself: every layer between would cost more than
//! a bare server does, and what was measured would be the generator.
//!
//! - [`connection`]: TCP, TLS, HTTP/2; [`call`]: one call, to its status
//! - [`saturate`]: a closed loop, as many calls as the server takes; [`pace`]: an open loop, so many calls a second

mod call;
mod connection;
mod pace;
mod saturate;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What the generator says when it has warmed up.
pub(crate) const WARM: &str = "warm";

/// A load: which calls, how many at once, how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// The calls.
    pub(crate) call: Call,
    /// Connections.
    pub(crate) connections: usize,
    /// How fast.
    pub(crate) pace: Pace,
    /// How long to warm up.
    pub(crate) warm_up: Duration,
    /// How long to load.
    pub(crate) duration: Duration,
}

/// What to send where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Certificates; plaintext without.
    pub(crate) tls: Option<Tls>,
    /// Path of the method.
    pub(crate) path: String,
    /// Headers of every call beside those of the protocol.
    pub(crate) headers: Vec<Header>,
    /// How many calls in a thousand are in a sampled trace; `None` sends no trace context at all.
    pub(crate) sampled_in_thousand: Option<u32>,
    /// A file of request messages, each framed as gRPC frames them.
    pub(crate) messages: PathBuf,
    /// Which of them.
    pub(crate) choice: Choice,
}

/// Which messages are sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Choice {
    /// Any, as often as it comes.
    Any {
        /// The first so many are the popular ones.
        popular: usize,
        /// How many calls in a thousand pick from all messages alike, and not from the popular ones.
        unpopular_in_thousand: u32,
    },
    /// Each once, in their order. A load is over when all were sent.
    EachOnce,
}

/// A header of every call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
    /// Whether HPACK must not remember it, as the gateway asks for its assertions.
    pub(crate) sensitive: bool,
}

impl Header {
    /// A header that HPACK may remember.
    pub(crate) fn plain(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into(), sensitive: false }
    }
}

/// What the generator shows, and whom it expects.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tls {
    /// Its certificate.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// The authority of both sides.
    pub(crate) authority: PathBuf,
    /// The server's name.
    pub(crate) server: String,
}

/// How fast calls are sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// So many under way on each connection at any time.
    Saturated { in_flight: usize },
    /// So many a second, whether or not earlier ones were answered.
    Fixed { per_second: u32 },
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Calls answered with OK.
    pub(crate) answered: u64,
    /// Other statuses, with a message of each, and how often.
    pub(crate) refused: BTreeMap<String, u64>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// To the end of an answer: in an open loop from the moment the call was due, in a closed one from its sending.
    pub(crate) latency: Latency,
}

/// Quantiles, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

/// Times that calls took, in nanoseconds.
type Times = Histogram<u64>;

fn times() -> anyhow::Result<Times> {
    Ok(Histogram::new_with_max(Duration::from_secs(60).as_nanos().try_into()?, 3)?)
}

impl Latency {
    fn of(times: &Times) -> Self {
        let micros = |quantile| times.value_at_quantile(quantile) / 1000;
        Self { p50: micros(0.5), p99: micros(0.99) }
    }
}

/// Runs the generator.
pub(crate) fn run() -> anyhow::Result<()> {
    chassis::tls::install_provider();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(converse())
}

async fn converse() -> anyhow::Result<()> {
    // Nothing else happens while it waits for a line.
    let mut orders = std::io::stdin().lines();
    let order = orders.next().context("no order")??;
    let spec: Spec = serde_json::from_str(&order)?;
    let connections = connection::open_all(&spec.call, spec.connections).await?;
    let caller = call::Caller::of(&spec.call)?;
    load(&spec, &caller, &connections, spec.warm_up).await.context("warming up")?;
    crate::say(WARM)?;
    orders.next().context("told to warm up only")??;
    let report = load(&spec, &caller, &connections, spec.duration).await?;
    crate::say(&serde_json::to_string(&report)?)
}

async fn load(
    spec: &Spec,
    caller: &call::Caller,
    connections: &[connection::Sender],
    duration: Duration,
) -> anyhow::Result<Report> {
    match spec.pace {
        Pace::Saturated { in_flight } => saturate::run(caller, connections, in_flight, duration).await,
        Pace::Fixed { per_second } => pace::run(caller, connections, per_second, duration).await,
    }
}
