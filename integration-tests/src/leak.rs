//! Looks for what must not be in a log, a metric or a trace: a NIK (16 digits), a card number (13 digits), an ICD-10
//! code of the synthetic patients.

use chassis::call::is_traceparent;

/// Diagnoses that tests and journey use. A text of this shape may also be part of a hash or an id, so whole words count.
const DIAGNOSES: [&str; 8] = ["I10", "E11.9", "J18.9", "K35.8", "A15.0", "N40", "I50.0", "J06.9"];

/// Every finding, with the line it is in.
#[must_use]
pub fn search(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        // The id of a span may have no letter in it.
        let tokens = line
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-')
            .filter(|token| !is_traceparent(token));
        for word in tokens.flat_map(|token| token.split('-')) {
            let digits = word.bytes().all(|b| b.is_ascii_digit());
            let leaked = match word.len() {
                16 if digits => Some("a NIK"),
                13 if digits => Some("a card number"),
                _ if DIAGNOSES.contains(&word) => Some("a diagnosis"),
                _ => None,
            };
            if let Some(what) = leaked {
                found.push(format!("{what}: {line}"));
            }
        }
    }
    found.truncate(20);
    found
}

#[cfg(test)]
mod tests {
    use super::search;

    #[test]
    fn what_must_not_be_logged_is_found_and_what_may_is_not() {
        assert_eq!(search("registered 3171014501900001 today").len(), 1);
        assert_eq!(search("card=0001105689835").len(), 1);
        assert_eq!(search("diagnosis I10 noted").len(), 1);
        assert!(
            search("sep 0301R0110326V000001 position 1234567890 id 01931f3e-7d1e-7000-8000-000000000000")
                .is_empty()
        );
    }
}
