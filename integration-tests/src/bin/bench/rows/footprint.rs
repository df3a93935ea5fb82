//! What a process of the mesh takes: memory after people have worked with it, and time from its start until it is
//! ready. All seven run, with certificates, databases and Redis, as in production.

use std::collections::BTreeMap;

use anyhow::Context;
use embedded::redis;
use futures::{FutureExt, future::LocalBoxFuture};
use integration_tests::Mesh;
use serde_json::json;

use super::Rows;
use crate::{
    Bench,
    databases::Databases,
    process::{self, Process},
    row::{Goal, Measured, Row},
    serve::{self, Authority, Served},
    usage::Memory,
};

pub(super) const ROWS: Rows = Rows { names: &["memory", "start"], measure };

const GATEWAY: &str = "gateway";
const CIVIL_REGISTRY: &str = "civil-registry";
/// Journeys that are walked before memory is read.
const JOURNEYS: usize = 5;

fn measure(bench: &Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>> {
    run(bench).boxed_local()
}

async fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let authority = Authority::open(bench)?;
    let databases = Databases::start(bench, "footprint").await?;
    databases.run(bench, &Mesh::services(), &["migrate"]).await?;
    let redis = redis::Server::start(&bench.folder().join("footprint"))
        .await?
        .context("redis-server is not installed; tools/install bench installs it")?;

    let house = House { bench, authority: &authority, databases: &databases, redis: redis.url() };
    let mut lives = Vec::new();
    for number in 1..=bench.repetitions {
        let life = house.live().await?;
        bench.tell(&format!("  {number}/{}  {}", bench.repetitions, json!(life)));
        lives.push(life);
    }
    redis.stop().await?;
    databases.stop().await?;

    let most = |figure: fn(&Figures) -> f64| {
        Measured::Alone(lives.iter().map(|life| life.values().map(figure).fold(0.0, f64::max)).collect())
    };
    let row = |name, what, unit, goal, measured| Row {
        name,
        what,
        unit,
        goal: Goal::AtMost { goal, aim: None },
        measured,
        details: json!(lives),
    };
    Ok(vec![
        row(
            "memory",
            "the largest of the seven processes after five journeys",
            "MB",
            40.0,
            most(|figures| figures.megabytes.resident),
        ),
        row(
            "start",
            "the slowest of the seven processes, from its start until it is ready",
            "s",
            2.0,
            most(|figures| figures.ready_after_seconds),
        ),
    ])
}

/// Of one process, from its start to its end.
#[derive(serde::Serialize)]
struct Figures {
    megabytes: Memory,
    ready_after_seconds: f64,
}

struct House<'a> {
    bench: &'a Bench,
    authority: &'a Authority,
    databases: &'a Databases,
    redis: String,
}

impl House<'_> {
    /// Starts the mesh, works with it, and reads what each process took.
    async fn live(&self) -> anyhow::Result<BTreeMap<&'static str, Figures>> {
        let mut command = Process::command(&serve::program()?, None);
        command.args(["serve", CIVIL_REGISTRY]);
        let mut registry = Process::start(command, CIVIL_REGISTRY, self.bench.folder())?;
        let registry_url = format!("http://{}", registry.addresses().await?[0]);

        let mut mesh: BTreeMap<&'static str, Served> = BTreeMap::new();
        for name in Mesh::services().into_iter().chain([GATEWAY]) {
            let settings = self.settings(name, &mesh, &registry_url).await?;
            let served = serve::start(self.bench, name, None, &settings).await?;
            mesh.insert(name, served);
        }
        let gateway = format!("http://{}", mesh[GATEWAY].grpc);
        for _ in 0..JOURNEYS {
            let mut journey = Process::command(&serve::program()?, None);
            journey.arg("--data").arg(self.bench.folder());
            journey.args(["journey", "--json", "--gateway", &gateway, "--civil-registry", &registry_url]);
            process::run(journey).await?;
        }
        let mut figures = BTreeMap::new();
        for (name, served) in mesh {
            let pid = served.process.pid()?;
            let of = Figures {
                megabytes: Memory::of(pid)?,
                ready_after_seconds: served.ready_after.as_secs_f64(),
            };
            figures.insert(name, of);
            served.process.end().await?;
        }
        registry.end().await?;
        Ok(figures)
    }

    async fn settings(
        &self,
        name: &str,
        others: &BTreeMap<&'static str, Served>,
        registry_url: &str,
    ) -> anyhow::Result<serve::Settings> {
        let mut settings = self.authority.settings(name)?;
        let mut set = |key: &str, value: String| settings.push((key.to_owned(), value));
        set("REDIS__URL", self.redis.clone());
        for (other, served) in others {
            let key = format!("UPSTREAM__{}", other.to_uppercase().replace('-', "_"));
            set(&key, format!("https://{}", served.grpc));
        }
        match name {
            GATEWAY => {
                set("SERVICE__PLAINTEXT", "true".to_owned());
                set("SERVICE__CALLER_KEY", self.authority.path("token.pub"));
                set("SERVICE__ASSERTION_SIGNING_KEY", self.authority.path("assertion.key"));
            }
            "membership" => set("SERVICE__CIVIL_REGISTRY__URL", registry_url.to_owned()),
            _ => {}
        }
        if name != GATEWAY {
            let (key, url) = self.databases.setting(name).await?;
            set(&key, url);
        }
        Ok(settings)
    }
}
