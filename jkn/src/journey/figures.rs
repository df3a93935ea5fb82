//! What the journey moved: indicators, and the roadmap that shows each edge by the run's own exchanges.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::civil::Date;
use proto::sismonev::v1 as pb;

use super::{
    DJSN, Run,
    billing::Billed,
    care::Visited,
    desk::{Desks, given},
    report::Edge,
};

/// How long SISMONEV may take to hear of what happened.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// The counts behind the indicators of the current month.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    visits: i64,
    referrals: i64,
    hospital_cases: i64,
    open_claims: i64,
}

impl Figures {
    /// As they stand now.
    pub(super) async fn of(desks: &Desks, month: Date) -> anyhow::Result<Self> {
        let month = month.strftime("%Y-%m").to_string();
        let ask = async |indicator_id: &str| {
            let request = pb::QueryIndicatorRequest {
                indicator_id: indicator_id.to_owned(),
                month: month.clone(),
                ..pb::QueryIndicatorRequest::default()
            };
            let answer = desks.sismonev(DJSN)?.query_indicator(request).await?.into_inner();
            given(answer.figures.into_iter().next())
        };
        Ok(Self {
            visits: ask("fktp-visit-rate").await?.numerator(),
            referrals: ask("fktp-referral-ratio").await?.numerator(),
            hospital_cases: ask("fkrtl-utilisation").await?.numerator(),
            open_claims: ask("claims-pending-over-14-days").await?.denominator(),
        })
    }

    /// Whether they rose by at least what the journey added; others may call at the same time.
    fn rose(self, before: Self) -> bool {
        self.visits >= before.visits + 4
            && self.referrals >= before.referrals + 4
            && self.hospital_cases >= before.hospital_cases + 2
            && self.open_claims >= before.open_claims + 2
    }
}

impl Run<'_> {
    /// Waits until the indicators moved and each edge shows an exchange of this run.
    pub(super) async fn moved(
        &mut self,
        before: &Figures,
        visited: &Visited,
        claims: [&Billed; 2],
    ) -> anyhow::Result<()> {
        let (desks, today, before) = (self.desks, self.today, *before);
        let moved = async {
            let begun = Instant::now();
            loop {
                let now = Figures::of(desks, today).await?;
                if now.rose(before) {
                    return Ok(());
                }
                ensure!(begun.elapsed() < PATIENCE, "they went from {before:?} only to {now:?}");
                tokio::time::sleep(PAUSE).await;
            }
        };
        let title = "indicators moved: visits, referrals, hospital cases, open claims";
        self.report.step(DJSN, title, &[], moved).await?;

        let own =
            [&visited.first.sep_number, &visited.second.sep_number, &claims[0].claim_id, &claims[1].claim_id];
        let title = "roadmap shows the exchanges of this journey";
        let shown = self.report.step(DJSN, title, &[], exchanges(desks, &own)).await?;
        for (edge, evidence) in Edge::ALL.into_iter().zip(shown) {
            self.report.prove(edge, evidence);
        }
        Ok(())
    }
}

/// The evidence of each edge that names one of the documents, in the order of [`Edge::ALL`].
async fn exchanges(desks: &Desks, documents: &[&String]) -> anyhow::Result<Vec<Vec<String>>> {
    let begun = Instant::now();
    loop {
        let roadmap = desks.sismonev(DJSN)?.get_roadmap(pb::GetRoadmapRequest {}).await?.into_inner();
        let mut all = Vec::new();
        for edge in Edge::ALL {
            let found = roadmap.edges.iter().find(|shown| shown.edge == edge.name());
            let found = found.with_context(|| format!("the roadmap does not know {}", edge.name()))?;
            let of_ours = |id: &&String| documents.iter().any(|document| id.contains(document.as_str()));
            let own: Vec<String> =
                found.evidence.iter().map(|e| &e.evidence_id).filter(of_ours).cloned().collect();
            all.push(if found.state() == pb::EdgeState::Live { own } else { Vec::new() });
        }
        // Two patients: each edge carried both. One that did not in time is shown with what it carried.
        if all.iter().all(|evidence| evidence.len() >= 2) || begun.elapsed() > PATIENCE {
            return Ok(all);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
