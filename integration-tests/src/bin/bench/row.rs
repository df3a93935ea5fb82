//! A row: what was measured of ours and of the peer, the goal, and whether it is met.

use serde::Serialize;
use serde_json::{Value, json};

/// A row of the table.
pub(crate) struct Row {
    /// Its name; `--row` takes it.
    pub(crate) name: &'static str,
    /// What is compared, in a few words.
    pub(crate) what: &'static str,
    /// Unit of both sides.
    pub(crate) unit: &'static str,
    /// What must hold.
    pub(crate) goal: Goal,
    /// What was measured, of each repetition.
    pub(crate) measured: Measured,
    /// All else that was measured, for whoever looks closer.
    pub(crate) details: Value,
}

/// What must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// At most so much; the aim is better still.
    AtMost { goal: f64, aim: Option<f64> },
    /// At least so much.
    AtLeast { goal: f64, aim: Option<f64> },
    /// Measured to be known.
    None,
}

/// The repetitions of a row.
pub(crate) enum Measured {
    /// Ours and the peer's, which ran in turn; the goal is about the ratio of each pair.
    Beside(Vec<(f64, f64)>),
    /// Ours alone; the goal is about the value.
    Alone(Vec<f64>),
}

/// A row as it stands in the file.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Median of ours.
    pub(crate) ours: f64,
    /// Median of the peer's.
    pub(crate) peer: Option<f64>,
    pub(crate) unit: &'static str,
    /// Median of the ratios of the pairs.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: Option<f64>,
    pub(crate) aim: Option<f64>,
    /// Which side of the goal is the good one: "at most" or "at least".
    pub(crate) bound: Option<&'static str>,
    /// Whether the goal is met; without a goal there is nothing to meet.
    pub(crate) met: Option<bool>,
    /// Least of what the goal is about: ratio, or value where there is no peer.
    pub(crate) min: f64,
    /// Greatest of the same.
    pub(crate) max: f64,
    pub(crate) repetitions: usize,
    pub(crate) details: Value,
}

impl Row {
    /// Judges it.
    pub(crate) fn judge(self) -> anyhow::Result<Verdict> {
        let (ours, peer, judged): (Vec<f64>, Vec<f64>, Vec<f64>) = match &self.measured {
            Measured::Alone(values) => (values.clone(), Vec::new(), values.clone()),
            Measured::Beside(pairs) => (
                pairs.iter().map(|pair| pair.0).collect(),
                pairs.iter().map(|pair| pair.1).collect(),
                pairs.iter().map(|pair| pair.0 / pair.1).collect(),
            ),
        };
        anyhow::ensure!(
            !judged.is_empty() && judged.iter().all(|value| value.is_finite()),
            "{}: nothing that can be judged: {judged:?}",
            self.name
        );
        let middle = median(&judged);
        let (goal, aim, bound, met) = match self.goal {
            Goal::AtMost { goal, aim } => (Some(goal), aim, Some("at most"), Some(middle <= goal)),
            Goal::AtLeast { goal, aim } => (Some(goal), aim, Some("at least"), Some(middle >= goal)),
            Goal::None => (None, None, None, None),
        };
        Ok(Verdict {
            name: self.name,
            what: self.what,
            ours: median(&ours),
            peer: (!peer.is_empty()).then(|| median(&peer)),
            unit: self.unit,
            ratio: (!peer.is_empty()).then_some(middle),
            goal,
            aim,
            bound,
            met,
            min: judged.iter().copied().fold(f64::INFINITY, f64::min),
            max: judged.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            repetitions: judged.len(),
            details: self.details,
        })
    }
}

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.as_slice() {
        [] => f64::NAN,
        _ if sorted.len() % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// A row that could not be measured, as it stands in the file.
pub(crate) fn failed(names: &[&str], error: &anyhow::Error) -> Vec<Value> {
    names.iter().map(|name| json!({ "name": name, "met": false, "error": format!("{error:#}") })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(goal: Goal, measured: Measured) -> Verdict {
        let row = Row { name: "row", what: "", unit: "µs", goal, measured, details: Value::Null };
        row.judge().unwrap()
    }

    #[test]
    fn the_median_of_the_pairs_is_judged_and_not_the_best() {
        let pairs = || Measured::Beside(vec![(1.0, 1.0), (3.0, 1.0), (10.0, 4.0)]);
        let verdict = judged(Goal::AtMost { goal: 2.0, aim: Some(1.6) }, pairs());
        assert_eq!((verdict.ratio, verdict.min, verdict.max), (Some(2.5), 1.0, 3.0));
        assert_eq!((verdict.ours, verdict.peer, verdict.met), (3.0, Some(1.0), Some(false)));
        assert_eq!(judged(Goal::AtLeast { goal: 2.5, aim: None }, pairs()).met, Some(true));
        assert_eq!(judged(Goal::None, pairs()).met, None);
    }

    #[test]
    fn without_a_peer_the_value_is_judged() {
        let verdict =
            judged(Goal::AtMost { goal: 40.0, aim: None }, Measured::Alone(vec![41.0, 30.0, 38.0, 20.0]));
        assert_eq!((verdict.ours, verdict.ratio, verdict.met), (34.0, None, Some(true)));
    }

    #[test]
    fn what_cannot_be_judged_is_an_error() {
        for measured in [Measured::Alone(vec![]), Measured::Beside(vec![(1.0, 0.0)])] {
            let row =
                Row { name: "row", what: "", unit: "", goal: Goal::None, measured, details: Value::Null };
            assert!(row.judge().is_err());
        }
    }
}
