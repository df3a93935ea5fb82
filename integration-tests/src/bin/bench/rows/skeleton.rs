//! What every service of the mesh costs before it does anything: certificates on both sides, the gateway's word on who
//! calls, the method's policy, a deadline, metrics, trace context. Beside it tonic with none of that.

use std::{path::Path, time::Duration};

use chassis::{Caller, Service, identity::Purpose};
use futures::{FutureExt, future::LocalBoxFuture};
use jiff::Timestamp;
use proto::feed::v1::ReadEventsRequest;
use serde_json::json;

use super::Rows;
use crate::{
    Bench,
    collector::Collector,
    echo::{Echo, Method, ReadEvents},
    load::{Call, Choice, Header},
    process::Process,
    row::{Goal, Measured, Row},
    serve::{self, Authority, Served},
    skeleton::Skeleton,
    trial::{self, Side},
};

pub(super) const ROWS: Rows = Rows { names: &["skeleton", "skeleton-all-sampled"], measure };

/// One call in a hundred is in a sampled trace, as where a mesh under load is observed.
const SAMPLED_IN_THOUSAND: u32 = 10;
/// Each call is, to know what a span costs.
const ALL: u32 = 1000;

/// Calls a second at which latency is measured.
const PACED: u32 = 2_000;

/// How long the gateway's word is good for, and the deadline it hands on.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
const TIMEOUT: &str = "9950000u";

fn measure(bench: &Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>> {
    run(bench).boxed_local()
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let authority = Authority::open(bench)?;
    let collector = Collector::start().await?;
    let messages = bench.folder().join("read-events");
    trial::write_messages(&messages, &[ReadEventsRequest { after_position: 1_234_567, limit: 100 }])?;

    let skeleton = start(bench, &authority, &collector).await?;
    let echo = Echo::start(bench, bench.processors.server).await?;
    let bare = echo.call::<ReadEvents>(&messages, 1);
    let peer = Side {
        name: "echo",
        watched: vec![("server", echo.process.pid()?)],
        paced: PACED,
        call: Box::new(move || Ok(bare.clone())),
    };
    let ours = |sampled| as_the_gateway_calls(&authority, &skeleton, &messages, sampled);

    let sampled = trial::interleave(bench, &ours(SAMPLED_IN_THOUSAND)?, &peer).await?;
    anyhow::ensure!(collector.spans() > 0, "no span reached the collector");
    let all_sampled = trial::interleave(bench, &ours(ALL)?, &peer).await?;

    let row = |name, what, goal, samples: Vec<(trial::Sample, trial::Sample)>| Row {
        name,
        what,
        unit: "µs of CPU a call",
        goal,
        measured: Measured::Beside(
            samples
                .iter()
                .map(|(ours, peer)| (ours.micros_of(&["server"]), peer.micros_of(&["server"])))
                .collect(),
        ),
        details: json!(samples),
    };
    Ok(vec![
        row(
            "skeleton",
            "the least service of the chassis, mTLS, 1 % of traces sampled, beside bare tonic h2c",
            Goal::AtMost { goal: 2.0, aim: Some(1.6) },
            sampled,
        ),
        row("skeleton-all-sampled", "the same, each trace sampled", Goal::None, all_sampled),
    ])
}

async fn start(bench: &Bench, authority: &Authority, collector: &Collector) -> anyhow::Result<Served> {
    let mut command = Process::command(&std::env::current_exe()?, Some(bench.processors.server));
    command.arg("skeleton");
    let mut command = serve::configured(command, Skeleton::NAME, &authority.settings(Skeleton::NAME)?);
    command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url());
    serve::until_ready(Skeleton::NAME, command, bench.folder()).await
}

/// Calls as the gateway hands them on, for BPJS-K.
fn as_the_gateway_calls(
    authority: &Authority,
    skeleton: &Served,
    messages: &Path,
    sampled_in_thousand: u32,
) -> anyhow::Result<Side> {
    let signer = authority.signer(Purpose::Assertion)?;
    let caller: Caller = "bpjs:pusat".parse()?;
    let call = Call {
        address: skeleton.grpc,
        tls: Some(authority.client("gateway", Skeleton::NAME)?),
        path: ReadEvents::PATH.to_owned(),
        headers: vec![Header::plain(chassis::call::TIMEOUT, TIMEOUT)],
        sampled_in_thousand: Some(sampled_in_thousand),
        messages: messages.to_owned(),
        choice: Choice::Any { popular: 1, unpopular_in_thousand: 0 },
    };
    Ok(Side {
        name: Skeleton::NAME,
        watched: vec![("server", skeleton.process.pid()?)],
        paced: PACED,
        call: Box::new(move || {
            let assertion = signer.sign(&caller, Timestamp::now(), ASSERTION_LIFETIME)?;
            let mut call = call.clone();
            // The gateway asks HPACK not to remember it.
            let name = chassis::call::ASSERTION.to_owned();
            call.headers.push(Header { name, value: assertion, sensitive: true });
            Ok(call)
        }),
    })
}
