//! What the journey shows: each step as it is taken, and at the end which integrations are live.

use std::{
    fmt,
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use chassis::Problem;
use serde::Serialize;
use tonic::{Response, Status};

/// The five integrations, in the order of the roadmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    EklaimVklaim,
    PcareVklaim,
    MembershipVklaim,
    VklaimSisrute,
    VklaimSiaf,
}

impl Edge {
    pub(super) const ALL: [Self; 5] = [
        Self::EklaimVklaim,
        Self::PcareVklaim,
        Self::MembershipVklaim,
        Self::VklaimSisrute,
        Self::VklaimSiaf,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EklaimVklaim => "eklaim-vklaim",
            Self::PcareVklaim => "pcare-vklaim",
            Self::MembershipVklaim => "membership-vklaim",
            Self::VklaimSisrute => "vklaim-sisrute",
            Self::VklaimSiaf => "vklaim-siaf",
        }
    }
}

/// For what a call is to be refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The reason of `ErrorInfo`.
    pub(super) reason: &'static str,
    /// A word of its metadata that says why, or nothing.
    pub(super) because: &'static str,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason)?;
        if self.because.is_empty() { Ok(()) } else { write!(f, " ({})", self.because) }
    }
}

/// Whether the details of a refusal hold a word: they are protobuf, in which text stands as it is.
fn tells(status: &Status, word: &str) -> bool {
    status.details().windows(word.len().max(1)).any(|part| part == word.as_bytes()) || word.is_empty()
}

/// What was seen of an edge.
#[derive(Debug, Default)]
struct Seen {
    evidence: Vec<String>,
    refusals: usize,
    faults: Vec<String>,
}

impl Seen {
    /// It carried what it must and held back what it must.
    fn is_live(&self) -> bool {
        !self.evidence.is_empty() && self.refusals > 0 && self.faults.is_empty()
    }
}

/// The journey as it goes.
pub(super) struct Report {
    json: bool,
    begun: Instant,
    steps: usize,
    edges: [Seen; 5],
    failed: Option<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    edges: Vec<ShownEdge<'a>>,
}

#[derive(Serialize)]
struct ShownEdge<'a> {
    edge: &'static str,
    state: &'static str,
    evidence: &'a [String],
}

impl Report {
    /// With `json`, nothing is printed before the end.
    pub(super) fn begin(json: bool, heading: &str) -> Self {
        if !json {
            println!("{heading}");
        }
        Self { json, begun: Instant::now(), steps: 0, edges: Default::default(), failed: None }
    }

    /// A step that must succeed for the journey to go on, with the edges it proves.
    pub(super) async fn step<T>(
        &mut self,
        who: &str,
        title: &str,
        edges: &[Edge],
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        let done = work.await;
        self.print(if done.is_ok() { "ok" } else { "failed" }, who, title, edges, begun.elapsed());
        if done.is_err() {
            for edge in edges {
                self.fault(*edge, format!("{title}: failed"));
            }
        }
        done.with_context(|| format!("{title} ({who})"))
    }

    /// A call that an edge must refuse, after which `unchanged` must find that nothing was written.
    pub(super) async fn refusal<T>(
        &mut self,
        who: &str,
        title: &str,
        edge: Edge,
        expected: Expected,
        call: impl Future<Output = Result<Response<T>, Status>>,
        unchanged: impl Future<Output = anyhow::Result<bool>>,
    ) {
        let begun = Instant::now();
        let judged = async {
            match call.await {
                Ok(_) => bail!("was not refused"),
                Err(status) => {
                    let problem = Problem::from_upstream("the mesh", &status);
                    if problem.reason() != expected.reason || !tells(&status, expected.because) {
                        let (reason, message) = (problem.reason(), status.message());
                        bail!("was refused for {reason} instead of {expected}: {message}");
                    }
                }
            }
            if !unchanged.await.context("reading back")? {
                bail!("was refused, but something was written");
            }
            Ok(())
        };
        match judged.await {
            Ok(()) => {
                self.edges[edge as usize].refusals += 1;
                self.print("refused", who, &format!("{title}: {expected}"), &[edge], begun.elapsed());
            }
            Err(error) => {
                self.print("failed", who, title, &[edge], begun.elapsed());
                self.fault(edge, format!("{title} {error:#}"));
            }
        }
    }

    /// What proves an edge.
    pub(super) fn prove(&mut self, edge: Edge, evidence: Vec<String>) {
        self.edges[edge as usize].evidence = evidence;
    }

    /// The journey could not go on.
    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        // A status shows its whole inside; code and message are what helps.
        self.failed = Some(match error.downcast_ref::<Status>() {
            Some(status) => format!("{error}: {:?}, {}", status.code(), status.message()),
            None => format!("{error:#}"),
        });
    }

    fn fault(&mut self, edge: Edge, fault: String) {
        self.edges[edge as usize].faults.push(fault);
    }

    fn print(&mut self, outcome: &str, who: &str, title: &str, edges: &[Edge], took: Duration) {
        self.steps += 1;
        if !self.json {
            let edges: Vec<_> = edges.iter().map(|edge| edge.name()).collect();
            let proved = if edges.is_empty() { String::new() } else { format!("  [{}]", edges.join(", ")) };
            println!(
                "{:>3}  {outcome:<7}  {:>6} ms  {who:<18}  {title}{proved}",
                self.steps,
                took.as_millis()
            );
        }
    }

    /// Prints the end; whether every edge is live and the journey went through.
    pub(super) fn end(self) -> anyhow::Result<bool> {
        let all_live = self.failed.is_none() && self.edges.iter().all(Seen::is_live);
        let state = |seen: &Seen| if seen.is_live() { "live" } else { "broken" };
        if self.json {
            let edges = Edge::ALL.iter().zip(&self.edges);
            let shown = edges.map(|(edge, seen)| ShownEdge {
                edge: edge.name(),
                state: state(seen),
                evidence: &seen.evidence,
            });
            println!("{}", serde_json::to_string(&Shown { edges: shown.collect() })?);
            if let Some(error) = &self.failed {
                eprintln!("the journey ended early: {error}");
            }
            return Ok(all_live);
        }
        println!();
        for (edge, seen) in Edge::ALL.iter().zip(&self.edges) {
            println!("{:<17}  {:<6}  refusals shown: {}", edge.name(), state(seen), seen.refusals);
            for evidence in &seen.evidence {
                println!("    evidence  {evidence}");
            }
            for fault in &seen.faults {
                println!("    fault     {fault}");
            }
        }
        if let Some(error) = &self.failed {
            println!("\nThe journey ended early: {error}");
        }
        let verdict = if all_live { "All five edges are live" } else { "Not every edge is live" };
        println!("\n{verdict}; {} steps in {:.1} s.", self.steps, self.begun.elapsed().as_secs_f64());
        Ok(all_live)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const EXPECTED: Expected = Expected { reason: "EXPECTED", because: "TOO_OLD" };

    fn refused(reason: &str, because: &str) -> Result<Response<()>, Status> {
        Err(Problem::new(Code::FailedPrecondition, reason, "no").with("reasons", because).into())
    }

    #[tokio::test]
    async fn an_edge_is_live_when_it_carries_and_holds_back() {
        let mut report = Report::begin(true, "");
        for edge in Edge::ALL {
            report
                .refusal(
                    "bpjs:pusat",
                    "t",
                    edge,
                    EXPECTED,
                    async { refused("EXPECTED", "A,TOO_OLD") },
                    async { Ok(true) },
                )
                .await;
            report.prove(edge, vec!["e".into()]);
        }
        assert!(report.end().unwrap());
    }

    #[tokio::test]
    async fn another_reason_a_trace_or_no_refusal_breaks_the_edge() {
        let wrong = [
            (refused("OTHER", "TOO_OLD"), true),
            (refused("EXPECTED", "TOO_NEW"), true),
            (refused("EXPECTED", "TOO_OLD"), false),
            (Ok(Response::new(())), true),
        ];
        for (answer, unchanged) in wrong {
            let mut report = Report::begin(true, "");
            let edge = Edge::VklaimSiaf;
            report.prove(edge, vec!["e".into()]);
            report
                .refusal("bpjs:pusat", "t", edge, EXPECTED, async { answer }, async { Ok(unchanged) })
                .await;
            assert!(!report.edges[edge as usize].is_live());
            assert!(!report.end().unwrap());
        }
    }
}
