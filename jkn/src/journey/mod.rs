//! `jkn journey`: one family's way through the six systems, through the gateway only, as the institutions that would
//! take each step; and, for each integration, what it must refuse.
//!
//! - [`cast`]: facilities and people; [`desk`]: the institutions' connections
//! - [`facilities`], [`care`], [`billing`]: the steps; [`refusals`]: what must be held back; [`figures`]: what moved
//! - [`report`]: what is shown

mod billing;
mod care;
mod cast;
mod desk;
mod facilities;
mod figures;
mod refusals;
mod report;

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use jiff::{Timestamp, civil::Date};

use self::{cast::Cast, desk::Desks, figures::Figures, report::Report};
use crate::{Place, operate::Tokens, runtime};

/// The institutions that are no facilities.
const MINISTRY: &str = "ministry:yankes";
const SURVEYOR: &str = "surveyor:lafkespri";
const BPJS: &str = "bpjs:pusat";
const BANK: &str = "bank:bni";
const DJSN: &str = "djsn:djsn";

/// The file in the data folder in which a running mesh names its civil-registry stand-in.
pub(crate) const CIVIL_REGISTRY_FILE: &str = "civil-registry.url";

/// Arguments of `jkn journey`.
#[derive(Debug, Args)]
pub(crate) struct Journey {
    /// Address of the gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    gateway: String,
    /// Address of the civil-registry stand-in; by default the one of the mesh on the data folder.
    #[arg(long, value_name = "URL")]
    civil_registry: Option<String>,
    /// Print nothing but the edges at the end, as JSON.
    #[arg(long)]
    json: bool,
    /// Number from which the people of this run are made up; a new one each time by default.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

impl Journey {
    /// The journey on a mesh whose addresses are known.
    pub(crate) fn on(gateway: String, civil_registry: String) -> Self {
        Self { gateway, civil_registry: Some(civil_registry), json: false, seed: None }
    }

    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(self.walk(place))
    }

    /// Walks it. The exit status tells whether all five edges are live.
    pub(crate) async fn walk(self, place: &Place) -> anyhow::Result<ExitCode> {
        let registry = match &self.civil_registry {
            Some(address) => address.clone(),
            None => {
                let path = place.data.join(CIVIL_REGISTRY_FILE);
                let address = std::fs::read_to_string(&path).with_context(|| {
                    format!("{} names the civil-registry stand-in of a running mesh; start one with jkn up, or give --civil-registry", path.display())
                })?;
                address.trim().to_owned()
            }
        };
        let desks = Desks::on(&self.gateway, Tokens::of(place)?)?;
        let seed = self.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
        let today = chassis::time::today_at(Timestamp::now());
        let cast = Cast::of(seed, today)?;
        let mut report =
            Report::begin(self.json, &format!("The journey through {}, seed {seed}", self.gateway));
        let mut run = Run { desks: &desks, cast: &cast, today, report: &mut report };
        if let Err(error) = Box::pin(run.walk(&registry)).await {
            report.fail(&error);
        }
        Ok(if report.end()? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// One run of the journey.
struct Run<'a> {
    desks: &'a Desks,
    cast: &'a Cast,
    today: Date,
    report: &'a mut Report,
}

impl Run<'_> {
    async fn walk(&mut self, registry: &str) -> anyhow::Result<()> {
        self.facilities().await?;
        let before = Figures::of(self.desks, self.today).await.context("reading the indicators before")?;
        let people = self.registered(registry).await?;
        let visited = self.cared_for(&people).await?;
        let paid = self.billed(&visited.first, false).await?;
        let pending = self.billed(&visited.second, true).await?;
        self.refused(&people, &visited).await?;
        self.moved(&before, &visited, [&paid, &pending]).await
    }
}
