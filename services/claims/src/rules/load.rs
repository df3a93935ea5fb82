//! Rule files: read, checked and proved by their own examples. Every mistake is told, each with its line, its rule and
//! what is wrong; a set with a mistake is not loaded.

use std::{collections::BTreeMap, sync::Arc};

use chassis::policy::Mistake;
use jiff::civil::Date;
use serde::{Deserialize, de::IntoDeserializer};
use sha2::{Digest, Sha256};
use toml_edit::{Document, Item, Table};

use super::{
    Kind, Level, Lookups, Need, Outcome, Reason, Rule, RuleSet, Severity, Words,
    evaluate::{Answers, View},
    facts::Facts,
    formula::Conditions,
    language::{self, DOCUMENTS, Expression},
};

/// Longest rule file, in bytes.
pub const MOST_BYTES: usize = 512 * 1024;
/// Most rules in a set.
const MOST_RULES: usize = 500;
/// Most examples of a rule, of each kind.
const MOST_EXAMPLES: usize = 20;
/// Most mistakes that are told.
const MOST_MISTAKES: usize = 50;

/// What stands above the rules of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Head {
    kind: Kind,
    version: String,
    // What holds for every rule that does not say otherwise.
    source: Option<String>,
    issued_on: Option<Date>,
    embedded_on: Option<Date>,
    effective_from: Option<Date>,
    embed_within_months: Option<i32>,
    #[serde(default)]
    norms: BTreeMap<String, i64>,
    #[serde(default)]
    holidays: Vec<Date>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    id: String,
    version: i32,
    source: Option<String>,
    issued_on: Option<Date>,
    embedded_on: Option<Date>,
    effective_from: Option<Date>,
    effective_to: Option<Date>,
    severity: Severity,
    reason: Option<Reason>,
    level: Option<Level>,
    #[serde(default)]
    needs: Vec<Need>,
    #[serde(default)]
    evidence: Vec<String>,
    message: Words,
    cure: Words,
    #[serde(default)]
    applies: String,
    when: String,
    fires: Vec<Facts>,
    quiet: Vec<Facts>,
}

/// Reads a set of rules; `file` is the name told with its mistakes.
///
/// # Errors
/// Every mistake, at most the first 50.
pub fn parse(file: &str, text: &str) -> Result<RuleSet, Vec<Mistake>> {
    let mut reader = Reader { file, text, mistakes: Vec::new() };
    let set = reader.set();
    reader.mistakes.truncate(MOST_MISTAKES);
    match set {
        Some(set) if reader.mistakes.is_empty() => Ok(set),
        _ => Err(reader.mistakes),
    }
}

/// Whether a set may follow those that hold: a version of a rule, once there, stays what it is, and a rule that is new
/// does not claim to have been embedded before today.
///
/// # Errors
/// Every mistake.
pub fn follows(file: &str, set: &RuleSet, known: &[&RuleSet], today: Date) -> Result<(), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    for rule in &set.rules {
        let mut wrong = |message: String| {
            let message = format!("rule {}: {message}", rule.id);
            mistakes.push(Mistake { file: file.to_owned(), line: rule.line, message });
        };
        let same = |other: &&Arc<Rule>| (&other.id, other.version) == (&rule.id, rule.version);
        match known.iter().flat_map(|set| &set.rules).find(same) {
            Some(other) if other.is_same(rule) => {}
            Some(_) => {
                wrong(format!("version: {} is there already and differs; give it the next", rule.version))
            }
            None if rule.embedded_on < today => {
                wrong(format!("embedded-on: a rule that is new is embedded today ({today}) or later"));
            }
            None => {}
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

/// Where a rule stands in the file.
struct Place<'a> {
    begin: usize,
    table: &'a Table,
    id: String,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).matches('\n').count() + 1
    }

    fn wrong(&mut self, offset: usize, message: String) {
        let line = self.line(offset);
        self.mistakes.push(Mistake { file: self.file.to_owned(), line, message });
    }

    fn wrong_rule(&mut self, place: &Place<'_>, key: &str, message: impl std::fmt::Display) {
        let offset = place.table.get(key).and_then(Item::span).map_or(place.begin, |span| span.start);
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        self.wrong(offset, format!("rule {}: {key}{message}", place.id));
    }

    fn set(&mut self) -> Option<RuleSet> {
        if self.text.len() > MOST_BYTES {
            self.wrong(0, format!("the file has {} bytes, {MOST_BYTES} are the most", self.text.len()));
            return None;
        }
        let document = match Document::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                self.wrong(error.span().map_or(0, |span| span.start), error.message().to_owned());
                return None;
            }
        };
        let mut head = document.as_table().clone();
        head.remove("rule");
        let head: Head = match read(head) {
            Ok(head) => head,
            Err((at, message)) => {
                self.wrong(at.unwrap_or(0), message);
                return None;
            }
        };
        self.check_head(&head, document.as_table());
        let Some(tables) = document.get("rule").and_then(Item::as_array_of_tables) else {
            self.wrong(0, "there is no [[rule]]".into());
            return None;
        };
        if tables.len() > MOST_RULES {
            self.wrong(0, format!("{} rules, {MOST_RULES} are the most", tables.len()));
            return None;
        }
        let lookups =
            Lookups { norms: head.norms.clone(), holidays: head.holidays.iter().copied().collect() };
        let mut conditions = Conditions::default();
        let mut read_rules = Vec::new();
        for table in tables {
            let id = table.get("id").and_then(Item::as_str).unwrap_or("without an id").to_owned();
            let place = Place { begin: table.span().map_or(0, |span| span.start), table, id };
            if let Some(rule) = self.rule(&head, &place, &mut conditions) {
                read_rules.push((place, rule));
            }
        }
        for (place, (rule, written)) in &read_rules {
            self.prove(place, rule, written, &lookups, &conditions);
        }
        self.check_versions(&read_rules);
        let mut rules: Vec<_> = read_rules.into_iter().map(|(_, (rule, _))| Arc::new(rule)).collect();
        rules.sort_by(|a, b| (&a.id, a.version).cmp(&(&b.id, b.version)));
        let digest = Sha256::digest(self.text.as_bytes());
        Some(RuleSet {
            kind: head.kind,
            version: head.version,
            digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            text: self.text.to_owned(),
            embed_within_months: head.embed_within_months,
            rules,
            lookups,
            conditions,
        })
    }

    fn check_head(&mut self, head: &Head, table: &Table) {
        let at = |key: &str| table.get(key).and_then(Item::span).map_or(0, |span| span.start);
        if !is_name(&head.version, b".") {
            self.wrong(at("version"), "version: 1 to 60 of a-z, 0-9, - and .".into());
        }
        match (head.kind, head.embed_within_months) {
            (Kind::Tracers, Some(months)) if (1..=120).contains(&months) => {}
            (Kind::Tracers, _) => {
                self.wrong(at("kind"), "embed-within-months: 1 to 120, for tracers".into());
            }
            (Kind::Edits, Some(_)) => {
                self.wrong(at("embed-within-months"), "embed-within-months is for tracers only".into());
            }
            (Kind::Edits, None) => {}
        }
        if head.norms.values().any(|days| !(1..=365).contains(days)) {
            self.wrong(at("norms"), "norms: 1 to 365 days".into());
        }
        if !head.holidays.is_sorted_by(|a, b| a < b) {
            self.wrong(at("holidays"), "holidays: each day once, the earliest first".into());
        }
    }

    fn rule(
        &mut self,
        head: &Head,
        place: &Place<'_>,
        conditions: &mut Conditions,
    ) -> Option<(Rule, Written)> {
        let written: Written = match read(place.table.clone()) {
            Ok(written) => written,
            Err((at, message)) => {
                self.wrong(at.unwrap_or(place.begin), format!("rule {}: {message}", place.id));
                return None;
            }
        };
        let before = self.mistakes.len();
        self.check_written(head, place, &written);
        let applies = match written.applies.as_str() {
            "" => None,
            text => self.expression(place, "applies", text, conditions),
        };
        let when = self.expression(place, "when", &written.when, conditions);
        let source = written.source.clone().or_else(|| head.source.clone()).unwrap_or_default();
        if source.trim().is_empty() {
            self.wrong_rule(place, "source", "must say what the rule rests on");
        }
        let embedded_on = written.embedded_on.or(head.embedded_on);
        let effective_from = written.effective_from.or(head.effective_from);
        if embedded_on.is_none() {
            self.wrong_rule(place, "embedded-on", "is missing");
        }
        if effective_from.is_none() {
            self.wrong_rule(place, "effective-from", "is missing");
        }
        let (when, embedded_on, effective_from) = (when?, embedded_on?, effective_from?);
        let issued_on = written.issued_on.or(head.issued_on);
        if written.effective_to.is_some_and(|to| to < effective_from) {
            self.wrong_rule(place, "effective-to", "lies before effective-from");
        }
        if issued_on.is_some_and(|issued| embedded_on < issued) {
            self.wrong_rule(place, "embedded-on", "lies before issued-on");
        }
        for need in when.needs.iter().filter(|need| !written.needs.contains(need)) {
            self.wrong_rule(place, "needs", format!("{need:?} is used and not named"));
        }
        if applies.as_ref().is_some_and(|applies| !applies.needs.is_empty()) {
            self.wrong_rule(
                place,
                "applies",
                "may only look at the claim, its SEP and the member's episodes",
            );
        }
        if self.mistakes.len() > before {
            return None;
        }
        let rule = Rule {
            line: self.line(place.begin),
            id: written.id.clone(),
            version: written.version,
            source,
            issued_on,
            embedded_on,
            effective_from,
            effective_to: written.effective_to,
            severity: written.severity,
            reason: written.reason,
            level: written.level,
            needs: written.needs.clone(),
            evidence: written.evidence.clone(),
            message: written.message.clone(),
            cure: written.cure.clone(),
            applies_text: written.applies.clone(),
            when_text: written.when.clone(),
            applies,
            when,
        };
        Some((rule, written))
    }

    fn check_written(&mut self, head: &Head, place: &Place<'_>, written: &Written) {
        if !is_name(&written.id, b"") {
            self.wrong_rule(place, "id", "1 to 60 of a-z, 0-9 and -");
        }
        if written.version < 1 {
            self.wrong_rule(place, "version", "at least 1");
        }
        for (key, words) in [("message", &written.message), ("cure", &written.cure)] {
            for text in [&words.indonesian, &words.english] {
                if !(1..=300).contains(&text.trim().chars().count()) {
                    self.wrong_rule(place, key, "1 to 300 characters, in both languages");
                }
            }
        }
        match (head.kind, written.level, written.reason) {
            (Kind::Edits, Some(_), _) => self.wrong_rule(place, "level", "is for tracers only"),
            (Kind::Tracers, None, _) => self.wrong_rule(place, "level", "fktp or fkrtl, for a tracer"),
            (Kind::Tracers, _, Some(_)) => {
                self.wrong_rule(place, "reason", "a tracer leads to no pending; make it a claim edit");
            }
            _ => {}
        }
        if let Some(document) = written.evidence.iter().find(|kind| !DOCUMENTS.contains(&kind.as_str())) {
            self.wrong_rule(place, "evidence", format!("{document} is none of {}", DOCUMENTS.join(", ")));
        }
        for (key, examples) in [("fires", &written.fires), ("quiet", &written.quiet)] {
            if !(1..=MOST_EXAMPLES).contains(&examples.len()) {
                self.wrong_rule(place, key, format!("1 to {MOST_EXAMPLES} examples"));
            }
        }
    }

    fn expression(
        &mut self,
        place: &Place<'_>,
        key: &str,
        text: &str,
        conditions: &mut Conditions,
    ) -> Option<Expression> {
        language::read(text, conditions).map_err(|mistake| self.wrong_rule(place, key, mistake)).ok()
    }

    /// Runs the examples of a rule.
    fn prove(
        &mut self,
        place: &Place<'_>,
        rule: &Rule,
        written: &Written,
        lookups: &Lookups,
        conditions: &Conditions,
    ) {
        let said =
            |facts: &Facts| rule.assess(&mut Answers::new(&View::new(facts, lookups, conditions)), facts);
        for (at, facts) in written.fires.iter().enumerate() {
            let outcome = said(facts);
            if outcome != Outcome::Fires {
                self.wrong_rule(place, "fires", format!("example {} is {outcome:?}", at + 1));
            }
        }
        let mut clear = false;
        for (at, facts) in written.quiet.iter().enumerate() {
            let outcome = said(facts);
            clear |= outcome == Outcome::Clear;
            if matches!(outcome, Outcome::Fires | Outcome::Failed) {
                self.wrong_rule(place, "quiet", format!("example {} is {outcome:?}", at + 1));
            }
        }
        if !clear && !written.quiet.is_empty() {
            self.wrong_rule(place, "quiet", "one example at least must be assessed and found clear");
        }
    }

    /// Versions of one rule follow each other: none twice, no day with two.
    fn check_versions(&mut self, rules: &[(Place<'_>, (Rule, Written))]) {
        for (at, (place, (rule, _))) in rules.iter().enumerate() {
            for (_, (earlier, _)) in rules.iter().take(at).filter(|(_, (earlier, _))| earlier.id == rule.id) {
                if earlier.version == rule.version {
                    self.wrong_rule(place, "version", format!("{} is there twice", rule.version));
                } else if earlier.effective_to.is_none_or(|to| to >= rule.effective_from)
                    && rule.effective_to.is_none_or(|to| to >= earlier.effective_from)
                {
                    let other = earlier.version;
                    self.wrong_rule(
                        place,
                        "effective-from",
                        format!("version {other} holds on days of this one; give it an effective-to"),
                    );
                }
            }
        }
    }
}

fn is_name(text: &str, more: &[u8]) -> bool {
    (1..=60).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || more.contains(&b))
}

/// Reads a table; a mistake with where it is.
fn read<T: for<'de> Deserialize<'de>>(table: Table) -> Result<T, (Option<usize>, String)> {
    T::deserialize(toml_edit::Value::InlineTable(table.into_inline_table()).into_deserializer())
        .map_err(|error| (error.span().map(|span| span.start), error.message().to_owned()))
}
