//! What law and agreements fix, as dated data. A file holds versions, each with the days on which it holds and its
//! source; a question about a day is answered by the version of that day. A wrong file names its line and field and
//! stops the start.

use std::{fs, ops::Deref, path::Path};

use jiff::civil::Date;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml_edit::{Document, Item, Table};
use tonic::Code;

use proto::mesh::v1::Reason;

use crate::Problem;

/// What a version of a rule must satisfy beyond its shape.
pub trait Rule: DeserializeOwned {
    /// Says what is wrong, naming the field.
    ///
    /// # Errors
    /// When the rule contradicts itself.
    fn check(&self) -> Result<(), String>;
}

/// A rule on the days on which it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version<T> {
    /// The first day.
    pub effective_from: Date,
    /// The last day; `None` while no end is known.
    pub effective_to: Option<Date>,
    /// The regulation and article, or what else it rests on.
    pub source: String,
    /// The rule itself.
    pub rule: T,
}

impl<T> Deref for Version<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.rule
    }
}

/// Every version of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated<T> {
    name: String,
    versions: Vec<Version<T>>,
}

impl<T> Dated<T> {
    /// The version of a day.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when the policy says nothing about that day.
    pub fn on(&self, day: Date) -> Result<&Version<T>, Problem> {
        let holds = |v: &&Version<T>| v.effective_from <= day && v.effective_to.is_none_or(|to| day <= to);
        self.versions.iter().find(holds).ok_or_else(|| {
            Problem::new(
                Code::FailedPrecondition,
                Reason::NoPolicyForDate.as_str_name(),
                format!("the policy {} says nothing about this day; ask for a later one", self.name),
            )
            .with("policy", &self.name)
            .with("day", day)
        })
    }

    /// Every version, oldest first.
    #[must_use]
    pub fn versions(&self) -> &[Version<T>] {
        &self.versions
    }
}

/// A policy file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy/{file} line {line}: {message}")]
pub struct Mistake {
    /// Name of the file below `policy/`.
    pub file: String,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads a policy: from `folder` when one is configured, else the copy that was compiled in.
///
/// # Errors
/// When the file cannot be read or holds a [`Mistake`].
pub fn load<T: Rule>(folder: Option<&Path>, name: &str, compiled_in: &str) -> anyhow::Result<Dated<T>> {
    Ok(parse(name, &text(folder, name, compiled_in)?)?)
}

/// The text of a policy: from `folder` when one is configured, else the copy that was compiled in.
///
/// # Errors
/// When the file cannot be read.
pub fn text(folder: Option<&Path>, name: &str, compiled_in: &str) -> anyhow::Result<String> {
    let Some(folder) = folder else { return Ok(compiled_in.to_owned()) };
    let path = folder.join(name);
    fs::read_to_string(&path).map_err(|e| anyhow::anyhow!("policy file {}: {e}", path.display()))
}

/// Reads a policy from text.
///
/// # Errors
/// The first [`Mistake`].
pub fn parse<T: Rule>(name: &str, text: &str) -> Result<Dated<T>, Mistake> {
    let at = |offset: usize, message: String| Mistake {
        file: name.to_owned(),
        line: text[..offset.min(text.len())].matches('\n').count() + 1,
        message,
    };
    let document = Document::parse(text)
        .map_err(|e| at(e.span().map_or(0, |span| span.start), e.message().to_owned()))?;
    for (key, item) in document.iter() {
        if key != "version" {
            return Err(at(start_of(item), format!("unknown key {key}; the file is a list of [[version]]")));
        }
    }
    let tables = document
        .get("version")
        .and_then(Item::as_array_of_tables)
        .ok_or_else(|| at(0, "no [[version]]".to_owned()))?;

    let mut versions = Vec::new();
    for table in tables {
        let begin = table.span().map_or(0, |span| span.start);
        let mut rule = table.clone();
        let head = Head::take(&mut rule).map_err(|(offset, message)| at(offset.unwrap_or(begin), message))?;
        let parsed =
            T::deserialize(toml_edit::Value::InlineTable(rule.into_inline_table()).into_deserializer())
                .map_err(|e| at(e.span().map_or(begin, |span| span.start), e.message().to_owned()))?;
        parsed.check().map_err(|message| at(begin, message))?;
        let version =
            Version { effective_from: head.from, effective_to: head.to, source: head.source, rule: parsed };
        versions.push((begin, version));
    }
    versions.sort_by_key(|(_, version)| version.effective_from);
    for pair in versions.windows(2) {
        let [(_, earlier), (begin, later)] = pair else { continue };
        if earlier.effective_to.is_none_or(|to| to >= later.effective_from) {
            return Err(at(
                *begin,
                format!(
                    "effective-from {} lies within the version before; give that one an effective-to",
                    later.effective_from
                ),
            ));
        }
    }
    Ok(Dated { name: name.to_owned(), versions: versions.into_iter().map(|(_, version)| version).collect() })
}

fn start_of(item: &Item) -> usize {
    item.span().map_or(0, |span| span.start)
}

struct Head {
    from: Date,
    to: Option<Date>,
    source: String,
}

impl Head {
    fn take(table: &mut Table) -> Result<Self, (Option<usize>, String)> {
        let mut text = |key: &str| match table.remove(key) {
            None => Ok(None),
            Some(item) => {
                let place = item.span().map(|span| span.start);
                let value = item
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| (place, format!("{key} must be a text in quotes")))?;
                Ok(Some((place, value)))
            }
        };
        let date = |key: &str, found: Option<(Option<usize>, String)>| match found {
            None => Ok(None),
            Some((place, value)) => {
                value.parse().map(Some).map_err(|_| (place, format!("{key} must be a date YYYY-MM-DD")))
            }
        };
        let from = text("effective-from")?;
        let from: Date =
            date("effective-from", from)?.ok_or_else(|| (None, "effective-from is missing".to_owned()))?;
        let to = text("effective-to")?;
        let to: Option<Date> = date("effective-to", to)?;
        if to.is_some_and(|to| to < from) {
            return Err((None, "effective-to lies before effective-from".to_owned()));
        }
        let (place, source) = text("source")?.ok_or_else(|| (None, "source is missing".to_owned()))?;
        if source.trim().is_empty() {
            return Err((place, "source must say what the rule rests on".to_owned()));
        }
        Ok(Self { from, to, source })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Months {
        most_months: u32,
    }

    impl Rule for Months {
        fn check(&self) -> Result<(), String> {
            if self.most_months > 0 { Ok(()) } else { Err("most-months must be at least 1".into()) }
        }
    }

    const GOOD: &str = "[[version]]\neffective-from = \"2020-01-01\"\neffective-to = \"2022-12-31\"\nsource = \"law A\"\nmost-months = 12\n\n\
                        [[version]]\neffective-from = \"2023-01-01\"\nsource = \"law B\"\nmost-months = 24\n";

    #[test]
    fn a_day_is_judged_by_its_own_version() {
        let policy = parse::<Months>("m.toml", GOOD).unwrap();
        assert_eq!(policy.on("2022-12-31".parse().unwrap()).unwrap().most_months, 12);
        assert_eq!(policy.on("2023-01-01".parse().unwrap()).unwrap().most_months, 24);
        assert_eq!(policy.on("2019-12-31".parse().unwrap()).unwrap_err().reason(), "NO_POLICY_FOR_DATE");
    }

    #[test]
    fn a_mistake_names_line_and_field() {
        let mistake = |text: &str| parse::<Months>("m.toml", text).unwrap_err();
        let typed = mistake(&GOOD.replace("most-months = 24", "most-months = \"x\""));
        assert_eq!(typed.line, 10);
        let unknown = mistake(&GOOD.replace("most-months = 24", "moist-months = 24"));
        assert!(unknown.message.contains("moist-months") && unknown.line >= 7, "{unknown}");
        let missing = mistake(&GOOD.replace("source = \"law B\"\n", ""));
        assert!(missing.message.contains("source is missing") && missing.line == 7, "{missing}");
        let overlapping = mistake(&GOOD.replace("2022-12-31", "2023-01-01"));
        assert!(overlapping.message.contains("effective-from 2023-01-01"), "{overlapping}");
        let absurd = mistake(&GOOD.replace("= 24", "= 0"));
        assert!(absurd.message.contains("most-months"), "{absurd}");
        let syntax = mistake(&GOOD.replace("most-months = 12", "most-months ="));
        assert_eq!(syntax.line, 5);
        assert!(syntax.to_string().starts_with("policy/m.toml line 5"));
    }
}
