//! From the elements of a chapter to its score, and from the chapters to a grade, in whole numbers: a bound is
//! reached exactly or not at all.

use std::collections::{BTreeMap, BTreeSet};

use chassis::policy::Rule;
use proto::accreditation::v1 as pb;
use serde::Deserialize;

use crate::{closed::closed, error::Error, facility::Kind};

closed! {
    /// The result of an accreditation, from the lowest up.
    Grade = pb::Grade {
        /// Below the lowest row of the table.
        NotAccredited = "not-accredited",
        /// Basic.
        Dasar = "dasar",
        /// Intermediate.
        Madya = "madya",
        /// Advanced.
        Utama = "utama",
        /// Complete.
        Paripurna = "paripurna",
    }
}

closed! {
    /// How far an element is fulfilled.
    Fulfilment = pb::ElementFulfilment {
        /// Below 20 per cent.
        NotMet = "not-met",
        /// 20 to below 80 per cent.
        PartlyMet = "partly-met",
        /// 80 per cent and more.
        Met = "met",
        /// Does not apply.
        NotApplicable = "not-applicable",
    }
}

const POINTS_OF_AN_ELEMENT: u32 = 10;

impl Fulfilment {
    /// Its points; none when it does not apply.
    #[must_use]
    pub fn points(self) -> Option<u32> {
        match self {
            Self::NotMet => Some(0),
            Self::PartlyMet => Some(5),
            Self::Met => Some(POINTS_OF_AN_ELEMENT),
            Self::NotApplicable => None,
        }
    }
}

/// The score of a chapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Points reached.
    pub points: u32,
    /// Points possible: of the elements that apply.
    pub max: u32,
}

impl Score {
    /// Adds up the elements of a chapter.
    #[must_use]
    pub fn of(elements: impl IntoIterator<Item = Fulfilment>) -> Self {
        elements.into_iter().filter_map(Fulfilment::points).fold(Self { points: 0, max: 0 }, |sum, points| {
            Self { points: sum.points + points, max: sum.max + POINTS_OF_AN_ELEMENT }
        })
    }

    /// Whether it reaches so many per cent.
    #[must_use]
    pub fn reaches(self, percent: u32) -> bool {
        u64::from(self.points) * 100 >= u64::from(percent) * u64::from(self.max)
    }

    /// Hundredths of a per cent, rounded down, for reading.
    #[must_use]
    pub fn percent_hundredths(self) -> u32 {
        let hundredths = (u64::from(self.points) * 10_000).checked_div(u64::from(self.max)).unwrap_or(0);
        u32::try_from(hundredths).unwrap_or(u32::MAX)
    }
}

/// The grading tables in force on a day.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Grades {
    /// One table for some kinds of facility each.
    pub table: Vec<Table>,
}

/// The grading table of some kinds of facility.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// For which kinds.
    pub kinds: Vec<Kind>,
    /// The regulation.
    pub source: String,
    /// Its chapters, in the order of the standard.
    pub chapter: Vec<Chapter>,
    /// Its rows, the highest grade first.
    pub row: Vec<Row>,
}

/// A chapter of the standard.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Chapter {
    /// Its code.
    pub code: String,
    /// How many elements it has, where the standard fixes it.
    pub elements: Option<u32>,
    /// Whether a facility may be without it.
    #[serde(default)]
    pub optional: bool,
}

/// The conditions of a grade; all of them must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Row {
    /// The grade.
    pub grade: Grade,
    /// The least per cent of single chapters.
    #[serde(default)]
    pub bounds: BTreeMap<String, u32>,
    /// The least per cent of every chapter scored.
    pub each: Option<u32>,
    /// How many chapters must reach how much.
    pub count: Option<Count>,
}

/// So many chapters of at least so many per cent.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Count {
    /// How many chapters.
    pub chapters: usize,
    /// The least per cent of each of them.
    pub of: u32,
}

impl Grades {
    /// The table of a kind of facility.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&Table> {
        self.table.iter().find(|table| table.kinds.contains(&kind))
    }
}

impl Table {
    /// The chapter with a code.
    #[must_use]
    pub fn chapter(&self, code: &str) -> Option<&Chapter> {
        self.chapter.iter().find(|chapter| chapter.code == code)
    }

    /// The score of a chapter from its elements.
    ///
    /// # Errors
    /// When the table has no such chapter, or the elements are not as many as it has, or none of them applies.
    pub fn score(&self, chapter: &str, elements: &[(String, Fulfilment)]) -> Result<Score, Error> {
        let Some(chapter) = self.chapter(chapter) else {
            return Err(Error::ChapterUnknown(
                self.chapter.iter().map(|chapter| chapter.code.clone()).collect(),
            ));
        };
        let score = Score::of(elements.iter().map(|(_, fulfilment)| *fulfilment));
        let complete = chapter.elements.is_none_or(|fixed| usize::try_from(fixed) == Ok(elements.len()));
        if complete && score.max > 0 { Ok(score) } else { Err(Error::ElementsIncomplete(chapter.elements)) }
    }

    /// The grades of its rows.
    #[must_use]
    pub fn grades(&self) -> Vec<Grade> {
        self.row.iter().map(|row| row.grade).collect()
    }

    /// The grade that the chapters' scores make.
    ///
    /// # Errors
    /// The codes of the chapters that are not scored yet.
    pub fn grade(&self, scores: &BTreeMap<String, Score>) -> Result<Grade, Vec<String>> {
        let unscored = |chapter: &&Chapter| !chapter.optional && !scores.contains_key(&chapter.code);
        let missing: Vec<_> =
            self.chapter.iter().filter(unscored).map(|chapter| chapter.code.clone()).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let row = self.row.iter().find(|row| row.holds(scores));
        Ok(row.map_or(Grade::NotAccredited, |row| row.grade))
    }
}

impl Row {
    fn holds(&self, scores: &BTreeMap<String, Score>) -> bool {
        let bounds =
            self.bounds.iter().all(|(chapter, bound)| scores.get(chapter).is_some_and(|s| s.reaches(*bound)));
        let each = self.each.is_none_or(|bound| scores.values().all(|score| score.reaches(bound)));
        let reaching = |of: u32| scores.values().filter(|score| score.reaches(of)).count();
        bounds && each && self.count.is_none_or(|count| reaching(count.of) >= count.chapters)
    }
}

impl Rule for Grades {
    fn check(&self) -> Result<(), String> {
        let mut kinds = BTreeSet::new();
        for table in &self.table {
            for kind in &table.kinds {
                if !kinds.insert(*kind) {
                    return Err(format!("table.kinds: {} has two tables", kind.as_str()));
                }
            }
            table.check()?;
        }
        Ok(())
    }
}

impl Table {
    fn check(&self) -> Result<(), String> {
        let codes: BTreeSet<_> = self.chapter.iter().map(|chapter| chapter.code.as_str()).collect();
        if codes.len() != self.chapter.len() || codes.is_empty() {
            return Err("table.chapter: each chapter must stand once, and there must be one".into());
        }
        if !self.row.iter().map(|row| row.grade).rev().is_sorted() || self.row.is_empty() {
            return Err("table.row: rows must go from the highest grade down, and there must be one".into());
        }
        for row in &self.row {
            let grade = row.grade.as_str();
            if row.grade == Grade::NotAccredited {
                return Err("table.row.grade: not-accredited is what is below the last row, not a row".into());
            }
            if row.bounds.is_empty() && row.each.is_none() && row.count.is_none() {
                return Err(format!("table.row: {grade} has no condition"));
            }
            if let Some(unknown) = row.bounds.keys().find(|code| !codes.contains(code.as_str())) {
                return Err(format!("table.row.bounds: {grade} names the unknown chapter {unknown}"));
            }
            let percents =
                row.bounds.values().copied().chain(row.each).chain(row.count.map(|count| count.of));
            if percents.into_iter().any(|percent| percent > 100) {
                return Err(format!("table.row: {grade} asks for more than 100 per cent"));
            }
            if row.count.is_some_and(|count| count.chapters > codes.len()) {
                return Err(format!("table.row.count: {grade} asks for more chapters than there are"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
