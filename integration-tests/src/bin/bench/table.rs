//! The table that a person reads.

use crate::row::Verdict;

/// The rows as lines of text.
pub(crate) fn of(verdicts: &[Verdict]) -> String {
    let head = ["row", "ours", "peer", "unit", "ratio", "min – max", "goal", "aim", "met"];
    let mut lines: Vec<[String; 9]> = vec![head.map(str::to_owned)];
    lines.extend(verdicts.iter().map(line));
    let widths: Vec<usize> = (0..head.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn line(verdict: &Verdict) -> [String; 9] {
    let bound = match verdict.bound {
        Some("at least") => "≥ ",
        Some(_) => "≤ ",
        None => "",
    };
    let limit = |value: Option<f64>| value.map(|value| format!("{bound}{value}")).unwrap_or_default();
    [
        verdict.name.to_owned(),
        figure(verdict.ours),
        verdict.peer.map(figure).unwrap_or_default(),
        verdict.unit.to_owned(),
        verdict.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
        match verdict.ratio {
            Some(_) => format!("{:.2} – {:.2}", verdict.min, verdict.max),
            None => format!("{} – {}", figure(verdict.min), figure(verdict.max)),
        },
        limit(verdict.goal),
        limit(verdict.aim),
        verdict.met.map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
    ]
}

fn figure(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
