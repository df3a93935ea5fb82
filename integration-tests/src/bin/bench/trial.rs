//! One repetition of one side of a row: warm up, read the clocks, load, read them again.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context;
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use crate::{
    Bench,
    load::{Call, Latency, Pace, Report, Spec, WARM},
    process::Process,
    usage::{self, Memory, Reading},
};

/// The load that finds out what a call costs: few connections, each busy, as between processes of the mesh.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 16;
/// The load that finds out how long a call takes.
const PACED_CONNECTIONS: usize = 4;

const WARM_UP: Duration = Duration::from_secs(1);
/// How long a generator may take beyond its warm-up and its load.
const PATIENCE: Duration = Duration::from_secs(30);

/// One side of a row.
pub(crate) struct Side {
    /// Its name in notes and errors.
    pub(crate) name: &'static str,
    /// The processes whose use is read, with their numbers. The first is the one under test.
    pub(crate) watched: Vec<(&'static str, i32)>,
    /// Calls a second at which its latency is measured, far from saturation.
    pub(crate) paced: u32,
    /// What is sent where. Made anew for each repetition: an assertion lives for a minute.
    pub(crate) call: Box<dyn Fn() -> anyhow::Result<Call>>,
}

/// What a repetition measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Calls a second, saturated.
    pub(crate) rate: f64,
    /// Processor time of each watched process for a call, saturated, in microseconds.
    pub(crate) micros: BTreeMap<&'static str, f64>,
    /// The same of the load generator.
    pub(crate) generator_micros: f64,
    /// Latency at a fixed rate.
    pub(crate) latency: Latency,
    /// Memory of the process under test after the load.
    pub(crate) megabytes: Memory,
    /// Processors that others kept busy meanwhile.
    pub(crate) foreign_processors: f64,
}

impl Side {
    /// Measures it once.
    pub(crate) async fn measure(&self, bench: &Bench) -> anyhow::Result<Sample> {
        let measured = async {
            let saturated = Spec {
                call: (self.call)()?,
                connections: CONNECTIONS,
                pace: Pace::Saturated { in_flight: IN_FLIGHT },
                warm_up: WARM_UP,
                duration: bench.duration,
            };
            let paced = Spec {
                connections: PACED_CONNECTIONS,
                pace: Pace::Fixed { per_second: self.paced },
                ..saturated.clone()
            };
            let (report, used) = load(bench, &self.watched, &saturated).await?;
            let micros = |name: &str| -> anyhow::Result<f64> {
                let time = used.by_name.get(name).context("a process that was not watched")?;
                Ok(time.as_secs_f64() * 1e6 / report.answered as f64)
            };
            let (at_rate, _) = load(bench, &self.watched, &paced).await?;
            Ok::<_, anyhow::Error>(Sample {
                rate: report.answered as f64 / report.seconds,
                micros: self
                    .watched
                    .iter()
                    .map(|(name, _)| Ok((*name, micros(name)?)))
                    .collect::<anyhow::Result<_>>()?,
                generator_micros: micros(GENERATOR)?,
                latency: at_rate.latency,
                megabytes: Memory::of(self.watched[0].1)?,
                foreign_processors: used.foreign_processors,
            })
        };
        measured.await.with_context(|| format!("measuring {}", self.name))
    }
}

/// Loads a server once, and tells what the watched processes and the generator used.
pub(crate) async fn load(
    bench: &Bench,
    watched: &[(&'static str, i32)],
    spec: &Spec,
) -> anyhow::Result<(Report, usage::Used)> {
    let mut command = Process::command(&std::env::current_exe()?, Some(bench.processors.rest));
    command.arg("load");
    let mut generator = Process::start(command, GENERATOR, bench.folder())?;
    let mut watched = watched.to_vec();
    watched.push((GENERATOR, generator.pid()?));
    let (mut says, mut told) = generator.conversation()?;

    let conversation = async {
        told.write_all(format!("{}\n", serde_json::to_string(spec)?).as_bytes()).await?;
        let warm = says.next_line().await?;
        anyhow::ensure!(warm.as_deref() == Some(WARM), "it did not warm up");
        usage::give_precedence(&watched)?;
        let before = Reading::take(&watched)?;
        told.write_all(b"go\n").await?;
        let report = says.next_line().await?.context("it did not report")?;
        let used = Reading::take(&watched)?.since(&before);
        Ok((serde_json::from_str::<Report>(&report)?, used))
    };
    let limit = spec.warm_up + spec.duration + PATIENCE;
    let ended = tokio::time::timeout(limit, conversation).await.context("it does not end");
    let (report, used) = ended
        .and_then(|ended| ended)
        .with_context(|| format!("the load generator:\n{}", generator.last_words()))?;
    generator.end().await?;
    anyhow::ensure!(report.refused.is_empty(), "calls were refused: {:?}", report.refused);
    anyhow::ensure!(report.answered > 0, "no call was answered");
    Ok((report, used))
}

pub(crate) const GENERATOR: &str = "load generator";

/// Measures two sides in turn: A B A B. What the machine does meanwhile then falls on both.
pub(crate) async fn interleave(
    bench: &Bench,
    ours: &Side,
    peer: &Side,
) -> anyhow::Result<Vec<(Sample, Sample)>> {
    let mut pairs = Vec::new();
    for number in 1..=bench.repetitions {
        let pair = (ours.measure(bench).await?, peer.measure(bench).await?);
        bench.tell(&format!(
            "  {number}/{}  {}  |  {}",
            bench.repetitions,
            pair.0.line(ours.name),
            pair.1.line(peer.name)
        ));
        pairs.push(pair);
    }
    Ok(pairs)
}

impl Sample {
    /// The processor time of several of the watched processes together.
    pub(crate) fn micros_of(&self, names: &[&str]) -> f64 {
        self.micros.iter().filter(|(name, _)| names.contains(name)).map(|(_, micros)| micros).sum()
    }

    fn line(&self, name: &str) -> String {
        let micros: Vec<_> = self.micros.iter().map(|(name, micros)| format!("{name} {micros:.1}")).collect();
        format!(
            "{name}: {:.0}/s, µs {}, generator {:.1}, p50 {} p99 {} µs, {:.0} MB, others {:.2}",
            self.rate,
            micros.join(" + "),
            self.generator_micros,
            self.latency.p50,
            self.latency.p99,
            self.megabytes.resident,
            self.foreign_processors
        )
    }
}

/// Writes request messages to a file, framed as gRPC frames them.
pub(crate) fn write_messages<M: prost::Message>(path: &Path, messages: &[M]) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for message in messages {
        bytes.push(0);
        bytes.extend(u32::try_from(message.encoded_len())?.to_be_bytes());
        message.encode(&mut bytes)?;
    }
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
