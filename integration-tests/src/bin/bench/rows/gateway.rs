//! The gateway as a client meets it (token, policy, deadline, metrics, trace context), beside nginx, which only passes
//! calls on. Both stand before the same bare server. nginx opens a connection to it for each call under way, which
//! makes the server dearer as well: so the whole path is a row of its own.

use chassis::{Caller, contract, identity::Purpose};
use futures::{FutureExt, future::LocalBoxFuture};
use jiff::Timestamp;
use proto::membership::v1::{CheckEligibilityRequest, check_eligibility_request::Known};
use serde_json::json;

use super::Rows;
use crate::{
    Bench,
    echo::{CheckEligibility, Echo},
    load::{Call, Header},
    nginx,
    row::{Goal, Measured, Row},
    serve::{self, Authority, Served},
    trial::{self, Side},
};

pub(super) const ROWS: Rows = Rows { names: &["gateway", "gateway-path"], measure };

/// Calls a second at which latency is measured.
const PACED: u32 = 2_000;

fn measure(bench: &Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>> {
    run(bench).boxed_local()
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let authority = Authority::open(bench)?;
    let messages = bench.folder().join("check-eligibility");
    let known = Some(Known::MemberId("01931f3e-7d1e-7000-8000-000000000001".to_owned()));
    trial::write_messages(&messages, &[CheckEligibilityRequest { known, ..Default::default() }])?;

    let echo = Echo::start(bench, bench.processors.rest).await?;
    let gateway = start(bench, &authority, &echo).await?;
    let nginx = nginx::start(bench, echo.address).await?;

    // A client shows its token to whoever stands there.
    let caller: Caller = "hospital:9901R001".parse()?;
    let token = authority.signer(Purpose::Token)?.sign(
        &caller,
        Timestamp::now(),
        std::time::Duration::from_secs(24 * 3600),
    )?;
    let call = Call {
        headers: vec![Header::plain("authorization", format!("Bearer {token}"))],
        ..echo.call::<CheckEligibility>(&messages, 1)
    };
    let behind = echo.process.pid()?;
    let side = |name, pid, address| {
        let call = Call { address, ..call.clone() };
        Side {
            name,
            watched: vec![("proxy", pid), ("upstream", behind)],
            paced: PACED,
            call: Box::new(move || Ok(call.clone())),
        }
    };
    let ours = side("gateway", gateway.process.pid()?, gateway.grpc);
    let peer = side("nginx", nginx.process.pid()?, nginx.address);
    let samples = trial::interleave(bench, &ours, &peer).await?;

    nginx.process.end().await?;
    let row = |name, what, goal, processes: &[&str]| Row {
        name,
        what,
        unit: "µs of CPU a call",
        goal: Goal::AtMost { goal, aim: None },
        measured: Measured::Beside(
            samples
                .iter()
                .map(|(ours, peer)| (ours.micros_of(processes), peer.micros_of(processes)))
                .collect(),
        ),
        details: json!(samples),
    };
    Ok(vec![
        row("gateway", "jkn serve gateway beside nginx grpc_pass, before the same server", 0.75, &["proxy"]),
        row("gateway-path", "the same, with the server behind", 0.65, &["proxy", "upstream"]),
    ])
}

async fn start(bench: &Bench, authority: &Authority, echo: &Echo) -> anyhow::Result<Served> {
    let set = |key: &str, value: String| (key.to_owned(), value);
    let mut settings = vec![
        set("INSECURE_LOOPBACK", "true".to_owned()),
        set("SERVICE__CALLER_KEY", authority.path("token.pub")),
        set("SERVICE__ASSERTION_SIGNING_KEY", authority.path("assertion.key")),
    ];
    // Every service of the contracts must have an address: here all have the same.
    let mut systems: Vec<_> = contract::methods().map(|method| method.system).collect();
    systems.sort_unstable();
    systems.dedup();
    for system in systems.iter().filter(|system| **system != contract::FEED) {
        let key = format!("UPSTREAM__{}", system.to_uppercase().replace('-', "_"));
        settings.push(set(&key, format!("http://{}", echo.address)));
    }
    serve::start(bench, "gateway", Some(bench.processors.server), &settings).await
}
