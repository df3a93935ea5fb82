//! Verification by rules: the whole of both sets of `policy/claims` judges claims, on one processor. What ValidateClaim
//! and submission run for each claim, without reading its facts.

use std::{hint::black_box, time::Instant};

use claims::rules::{
    RuleSet,
    facts::{Facts, Recent},
    judge, load,
};
use futures::{FutureExt, future::LocalBoxFuture};
use jiff::civil::date;
use serde_json::json;

use super::Rows;
use crate::{
    Bench,
    row::{Goal, Measured, Row},
};

pub(super) const ROWS: Rows = Rows { names: &["verification"], measure };

/// Sets that have come with the program.
const SETS: [(&str, &str); 2] = [
    ("edits.toml", include_str!("../../../../../policy/claims/edits.toml")),
    ("tracers.toml", include_str!("../../../../../policy/claims/tracers.toml")),
];
/// Other episodes of the member, as many as somebody has who is treated often.
const EPISODES: i64 = 12;

fn measure(bench: &Bench) -> LocalBoxFuture<'_, anyhow::Result<Vec<Row>>> {
    async { run(bench) }.boxed_local()
}

fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let sets = SETS
        .iter()
        .map(|(name, text)| load::parse(name, text).map_err(|wrong| anyhow::anyhow!("{wrong:?}")))
        .collect::<anyhow::Result<Vec<RuleSet>>>()?;
    let rules: usize = sets.iter().map(|set| set.rules.len()).sum();
    let claims = [admission(), Facts::default()];
    let rates: Vec<f64> = (0..bench.repetitions)
        .map(|_| {
            let (mut judged, begun) = (0_usize, Instant::now());
            while begun.elapsed() < bench.duration {
                for facts in &claims {
                    black_box(judge(&sets, black_box(facts)));
                    judged += 1;
                }
            }
            (judged * rules) as f64 / begun.elapsed().as_secs_f64()
        })
        .collect();
    bench.tell(&format!("  {rules} rules: {rates:.0?} evaluations a second"));
    Ok(vec![Row {
        name: "verification",
        what: "both sets of rules on an in-patient and an out-patient claim, one processor",
        unit: "rules/s",
        goal: Goal::AtLeast { goal: 20_000.0, aim: None },
        details: json!({ "rules": rules, "rates": rates }),
        measured: Measured::Alone(rates),
    }])
}

/// A claim with much to look at, and nothing to object to.
fn admission() -> Facts {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    Facts {
        service_date: date(2026, 3, 2),
        care: "inpatient".into(),
        stay_days: 6,
        stay_hours: 124,
        primary: "J18.9".into(),
        secondary: words(&["E11.9", "I10", "N39.0", "D64.9", "K29.7"]),
        procedures: words(&["87.44", "90.59", "93.94", "99.18"]),
        documents: words(&["medical-summary", "laboratory", "radiology"]),
        package: "J-4-16".into(),
        severity: 2,
        tariff_rupiah: 5_400_000,
        charges_rupiah: 6_100_000,
        charge_parts: 9,
        clinic: String::new(),
        episodes: (1..=EPISODES)
            .map(|number| Recent {
                days_before: number * 7,
                days_since_discharge: number * 7,
                package: "Q-5-44".into(),
                ..Recent::default()
            })
            .collect(),
        ..Facts::default()
    }
}
