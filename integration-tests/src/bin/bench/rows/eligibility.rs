//! Is this member eligible today: the question that the mesh is asked most. `jkn serve membership` answers it from its
//! database and cache, to a service that calls it directly. Beside it a bare server whose answer is as long.

use std::{path::Path, time::Duration};

use anyhow::Context;
use chassis::Service;
use futures::{FutureExt, future::LocalBoxFuture};
use membership::Membership;
use proto::membership::v1::{CheckEligibilityRequest, check_eligibility_request::Known};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::Rows;
use crate::{
    Bench,
    databases::Databases,
    echo::{CheckEligibility, Echo, Method},
    load::{Call, Choice},
    process::{self, Process},
    row::{Goal, Measured, Row},
    serve::{self, Authority, Served},
    trial::{self, Sample, Side},
};

pub(super) const ROWS: Rows = Rows { names: &["eligibility-cached", "eligibility-uncached"], measure };

/// Members that are asked for, those that almost every call asks for, and those that the cache holds: so many more than
/// the popular that they stay in it, and so many fewer than all that a call for anybody misses it.
const MEMBERS: usize = 60_000;
const POPULAR: usize = 2_000;
const CACHED: usize = 4_000;
/// How many calls in a thousand ask for anybody.
const FOR_ANYBODY: u32 = 50;

/// Calls a second at which latency is measured.
const PACED: u32 = 1_000;

/// The setting that says how many members the cache holds, as `jkn config` and as the environment write it.
const CACHE_SETTING: (&str, &str) = ("service.cache-records", "SERVICE__CACHE_RECORDS");
/// The services whose databases `jkn seed` fills.
const SEEDED: [&str; 4] = ["accreditation", "referral", "membership", "primary-care"];
/// How long the events of new members may take to be relayed.
const PATIENCE: Duration = Duration::from_secs(120);

fn measure(bench: &Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>> {
    run(bench).boxed_local()
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let authority = Authority::open(bench)?;
    let databases = Databases::start(bench, "eligibility").await?;
    bench.tell(&format!("  registering {MEMBERS} members"));
    let members = MEMBERS.to_string();
    databases.run(bench, &SEEDED, &["seed", "--members", &members, "--months", "0"]).await?;
    let messages = bench.folder().join("check-anybody");
    write_messages(&databases, &messages).await?;

    let asks = Asks { bench, authority: &authority, databases: &databases, messages: &messages };
    let cached = asks.measure(CACHED, POPULAR, FOR_ANYBODY).await?;
    let uncached = asks.measure(0, MEMBERS, 0).await?;
    databases.stop().await?;

    let row = |name, what, goal, samples: Vec<(Sample, Sample)>| Row {
        name,
        what,
        unit: "calls/s",
        goal,
        measured: Measured::Beside(samples.iter().map(|(ours, peer)| (ours.rate, peer.rate)).collect()),
        details: json!(samples),
    };
    Ok(vec![
        row(
            "eligibility-cached",
            "jkn serve membership, mTLS, 95 % of calls from its cache, beside bare tonic h2c",
            Goal::AtLeast { goal: 0.85, aim: Some(0.92) },
            cached,
        ),
        row(
            "eligibility-uncached",
            "the same, each call from PostgreSQL",
            Goal::AtLeast { goal: 0.40, aim: None },
            uncached,
        ),
    ])
}

/// A request for each member, in an order that has nothing to do with their registration.
async fn write_messages(databases: &Databases, file: &Path) -> anyhow::Result<()> {
    let mut database = PgConnection::connect(&databases.url(Membership::NAME).await?).await?;
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("select member_id from member order by md5(member_id::text)")
            .fetch_all(&mut database)
            .await?;
    anyhow::ensure!(ids.len() == MEMBERS, "{} members of {MEMBERS}", ids.len());
    let messages: Vec<_> = ids
        .iter()
        .map(|id| CheckEligibilityRequest {
            known: Some(Known::MemberId(id.to_string())),
            ..Default::default()
        })
        .collect();
    trial::write_messages(file, &messages)
}

struct Asks<'a> {
    bench: &'a Bench,
    authority: &'a Authority,
    databases: &'a Databases,
    messages: &'a Path,
}

impl Asks<'_> {
    async fn measure(
        &self,
        cached: usize,
        popular: usize,
        unpopular_in_thousand: u32,
    ) -> anyhow::Result<Vec<(Sample, Sample)>> {
        let bench = self.bench;
        let membership = self.start(cached).await?;
        self.quiet().await?;
        let echo = Echo::start(bench, bench.processors.server).await?;
        let choice = Choice::Any { popular, unpopular_in_thousand };
        let bare = Call { choice, ..echo.call::<CheckEligibility>(self.messages, popular) };
        let call = Call {
            address: membership.grpc,
            tls: Some(self.authority.client("claims", Membership::NAME)?),
            path: CheckEligibility::PATH.to_owned(),
            ..bare.clone()
        };
        let ours = Side {
            name: Membership::NAME,
            watched: vec![("server", membership.process.pid()?), ("postgres", self.databases.pid()?)],
            paced: PACED,
            call: Box::new(move || Ok(call.clone())),
        };
        let peer = Side {
            name: "echo",
            watched: vec![("server", echo.process.pid()?)],
            paced: PACED,
            call: Box::new(move || Ok(bare.clone())),
        };
        let samples = trial::interleave(bench, &ours, &peer).await?;
        membership.process.end().await?;
        Ok(samples)
    }

    async fn start(&self, cached: usize) -> anyhow::Result<Served> {
        let mut settings = self.authority.settings(Membership::NAME)?;
        settings.push(self.databases.setting(Membership::NAME).await?);
        // Asked about facilities at registrations only, and there are none.
        settings.push(("UPSTREAM__ACCREDITATION".to_owned(), "https://127.0.0.1:1".to_owned()));
        if knows_the_cache().await? {
            settings.push((CACHE_SETTING.1.to_owned(), cached.to_string()));
        } else {
            self.bench.tell(&format!("  there is no setting {}: nothing is cached", CACHE_SETTING.0));
        }
        let server = Some(self.bench.processors.server);
        serve::start(self.bench, Membership::NAME, server, &settings).await
    }

    /// Waits until nothing is left to do of the registrations.
    async fn quiet(&self) -> anyhow::Result<()> {
        let mut database = PgConnection::connect(&self.databases.url(Membership::NAME).await?).await?;
        let relayed = async {
            while sqlx::query_scalar::<_, bool>("select exists (select from outbox)")
                .fetch_one(&mut database)
                .await?
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            sqlx::raw_sql("vacuum analyze").execute(&mut database).await?;
            anyhow::Ok(())
        };
        tokio::time::timeout(PATIENCE, relayed).await.context("the events are not relayed")?
    }
}

async fn knows_the_cache() -> anyhow::Result<bool> {
    let mut command = Process::command(&serve::program()?, None);
    command.args(["config", Membership::NAME]);
    let settings = process::run(serve::configured(command, Membership::NAME, &Vec::new())).await?;
    Ok(settings.lines().any(|line| line.starts_with(CACHE_SETTING.0)))
}
