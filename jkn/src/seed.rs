//! `jkn seed`: a synthetic nation from published facts, loaded straight into the databases of the services.
//!
//! It is the same for the same seed, number of members and day, and what is there already is not added again. The
//! events of what is added are written with it, so that the other systems learn of it as of any other change.
//!
//! Not simulated: SEPs and claims. These rest on answers that other services gave and are kept as evidence; `jkn
//! journey` makes them by asking.

mod care;
mod chance;
mod load;
mod load_visits;
mod nation;
mod published;

use std::{collections::BTreeMap, io::IsTerminal as _, process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use chassis::{Db, policy::Rule};
use clap::Args;
use embedded::postgres;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::{Timestamp, ToSpan as _, civil::Date};
use serde::Deserialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use vocabulary::Rupiah;

use self::nation::Nation;
use crate::{Place, operate, processes::Process, runtime};

/// The services whose databases are filled.
const FILLED: [&str; 4] = ["accreditation", "referral", "membership", "primary-care"];

/// Families in one transaction.
const BATCH: u64 = 2_000;

/// Arguments of `jkn seed`.
#[derive(Debug, Args)]
pub(crate) struct Seed {
    /// How many members the nation has.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=300_000_000))]
    members: u64,
    /// From which everything follows: the same seed makes the same nation.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The day the nation is as of, YYYY-MM-DD; today when it is left out.
    #[arg(long, value_name = "DATE", value_parser = vocabulary::date)]
    today: Option<Date>,
    /// Full months of visits and referrals before that day; families are registered for at least five months.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    months: u8,
}

/// What was added.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) facilities: u64,
    pub(crate) families: u64,
    pub(crate) members: u64,
    pub(crate) visits: u64,
    pub(crate) referrals: u64,
}

/// Connections to the databases that are filled.
pub(crate) struct Databases {
    pub(crate) accreditation: PgPool,
    pub(crate) referral: PgPool,
    pub(crate) membership: PgPool,
    pub(crate) primary_care: PgPool,
}

/// What of `policy/membership/family.toml` matters here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FamilyRule {
    class_2_up_to_wage_rupiah: Rupiah,
}

impl Rule for FamilyRule {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Seed {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(async {
            let (cluster, databases) = open(place).await?;
            let outcome = self.fill(&databases).await;
            for pool in
                [databases.accreditation, databases.referral, databases.membership, databases.primary_care]
            {
                pool.close().await;
            }
            if let Some(cluster) = cluster {
                cluster.stop().await?;
            }
            let added = outcome?;
            if added == Added::default() {
                println!("Nothing to add: this nation is there already.");
            } else {
                println!(
                    "Added {} facilities, {} members of {} families, {} visits and {} referrals.",
                    added.facilities, added.members, added.families, added.visits, added.referrals
                );
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    /// Fills the databases with what is not there yet.
    pub(crate) async fn fill(&self, databases: &Databases) -> anyhow::Result<Added> {
        let today = self.today.unwrap_or_else(|| chassis::time::today_at(Timestamp::now()));
        let rule = chassis::policy::parse::<FamilyRule>(
            "membership/family.toml",
            include_str!("../../policy/membership/family.toml"),
        )?;
        let nation = Nation::new(self.seed, self.members, today, rule.on(today)?.class_2_up_to_wage_rupiah)?;
        let months: Vec<Date> = (1..=i64::from(self.months))
            .rev()
            .map(|ago| today.first_of_month().saturating_sub(ago.months()))
            .collect();
        let mut added = Added { facilities: load::facilities(databases, &nation).await?, ..Added::default() };
        let progress = progress(self.members);
        let mut numbers = load_visits::Numbers::default();
        let (mut next, mut made) = (0, 0);
        while made < self.members {
            let mut families = Vec::new();
            for number in next..next + BATCH {
                let left = usize::try_from(self.members - made).unwrap_or(usize::MAX);
                if left == 0 {
                    break;
                }
                let family = nation.family(number, left)?;
                made += family.members.len() as u64;
                families.push((number, family));
            }
            next += BATCH;
            let (new_families, new_members) =
                load::families(databases, &nation, self.seed, &families).await?;
            added.families += new_families;
            added.members += new_members;
            for month in &months {
                let (visits, referrals) =
                    load_visits::visits(databases, &nation, &families, *month, &mut numbers).await?;
                added.visits += visits;
                added.referrals += referrals;
            }
            progress.set_position(made);
        }
        load_visits::remember_numbers(databases, &nation, &numbers).await?;
        progress.finish_and_clear();
        Ok(added)
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(members: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} members, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(members), target).with_style(style)
}

/// The configured databases; where none is configured, those of the private cluster, which is started if it does not
/// run. Their tables are brought up to date.
async fn open(place: &Place) -> anyhow::Result<(Option<postgres::Cluster>, Databases)> {
    let mut cluster = None;
    let mut running = postgres::running(&place.data).await?;
    let mut pools = BTreeMap::new();
    for name in FILLED {
        let process = Process::named(name)?;
        let mut layers = place.layers();
        // Filling opens no port, so it needs no certificate.
        layers.computed.insert("insecure-loopback".to_owned(), "true".to_owned());
        let effective = layers.describe(process.name, process.defaults)?;
        if effective.iter().any(|setting| setting.key == "database.url" && setting.value.is_empty()) {
            if running.is_none() && cluster.is_none() {
                cluster = Some(postgres::Cluster::start(&place.data, postgres::Options::default()).await?);
                running = postgres::running(&place.data).await?;
            }
            let running = running.as_ref().context("the private PostgreSQL does not answer")?;
            let database = name.replace('-', "_");
            running.ensure_database(&database).await?;
            layers.computed.insert("database.url".to_owned(), running.url(&database));
        }
        operate::migrate(process, &layers).await?;
        let settings = process.settings(&layers)?;
        let db = Db::connect(name, &settings.database, Duration::from_secs(30), CancellationToken::new())?;
        pools.insert(name, db.pool);
    }
    let mut take = |name| pools.remove(name).context("a database that was not opened");
    let databases = Databases {
        accreditation: take("accreditation")?,
        referral: take("referral")?,
        membership: take("membership")?,
        primary_care: take("primary-care")?,
    };
    ensure!(pools.is_empty(), "a database that is not filled");
    Ok((cluster, databases))
}

#[cfg(test)]
mod tests {
    use chassis::Service;
    use embedded::testing::{TestDatabase, database};

    use super::*;

    async fn service<S: Service>() -> TestDatabase {
        let own = S::migrations().unwrap();
        database(S::NAME, &[&chassis::db::MIGRATOR, own]).await.unwrap()
    }

    #[tokio::test]
    async fn a_second_time_adds_nothing() {
        let (accreditation, referral) =
            (service::<accreditation::Accreditation>().await, service::<referral::Referral>().await);
        let (membership, care) =
            (service::<membership::Membership>().await, service::<primary_care::PrimaryCare>().await);
        let databases = Databases {
            accreditation: accreditation.pool.clone(),
            referral: referral.pool.clone(),
            membership: membership.pool.clone(),
            primary_care: care.pool.clone(),
        };
        let seed = Seed { members: 3_000, seed: 7, today: Some(jiff::civil::date(2026, 11, 22)), months: 2 };
        let added = seed.fill(&databases).await.unwrap();
        assert_eq!(added.members, 3_000);
        assert!(added.facilities >= 552 && added.visits > 700 && added.referrals > 30, "{added:?}");
        let count = |pool: PgPool, sql: &'static str| async move {
            sqlx::query_scalar::<_, i64>(sql).fetch_one(&pool).await.unwrap()
        };
        let events = count(membership.pool.clone(), "select count(*) from outbox").await;
        assert_eq!(events, 3_000);
        let visits = count(care.pool.clone(), "select count(*) from visit").await;
        assert_eq!(u64::try_from(visits).unwrap(), added.visits);
        // Registered, examined, ended: three events a visit.
        assert_eq!(count(care.pool.clone(), "select count(*) from outbox").await, 3 * visits);
        let referrals = count(referral.pool.clone(), "select count(*) from referral").await;
        assert_eq!(u64::try_from(referrals).unwrap(), added.referrals);
        assert_eq!(seed.fill(&databases).await.unwrap(), Added::default());
        assert_eq!(count(membership.pool.clone(), "select count(*) from outbox").await, events);
    }
}
