//! The definitions of the indicators, and the arithmetic that turns counted cases into published figures.
//! Exact: integers throughout, one rounding at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Deserialize;

/// The indicator set of a version of `policy/sismonev/indicators.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Indicators {
    /// A figure that counts fewer persons or cases than this, and more than none, is withheld.
    pub suppress_below: i64,
    /// The definitions.
    pub indicator: Vec<Definition>,
}

/// One indicator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Definition {
    /// Its name in requests.
    pub id: String,
    /// Name in English.
    pub name_en: String,
    /// Name in Indonesian.
    pub name_id: String,
    /// The formula in words.
    pub formula: String,
    /// Unit of the value.
    pub unit: String,
    /// What is counted above the line.
    pub numerator: Measure,
    /// What is counted below it.
    pub denominator: Measure,
    /// The value is numerator × factor ÷ denominator.
    pub factor: i64,
    /// Digits after the decimal point.
    pub digits: u32,
    /// What it may be broken down by.
    pub disaggregations: Vec<Dimension>,
    /// Of these the ones the denominator is broken down by as well; all when missing.
    pub denominator_dimensions: Option<Vec<Dimension>>,
    /// The age in days beyond which a claim is late; for the measures of late claims only.
    pub late_after_days: Option<i64>,
    /// Where the definition comes from.
    pub source: String,
}

/// What an indicator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Visits to first-level facilities.
    FktpVisits,
    /// Of these the sick visits.
    FktpSickVisits,
    /// Referrals issued from such visits.
    FktpReferrals,
    /// SEPs in force.
    HospitalCases,
    /// Members registered at a first-level facility at the end of the month.
    Members,
    /// Claims open in the month.
    ClaimsOpen,
    /// Claims open in the month and late.
    ClaimsLate,
    /// The amount claimed of the open claims.
    ClaimsOpenRupiah,
    /// The amount claimed of the late claims.
    ClaimsLateRupiah,
}

impl Measure {
    /// Whether each unit of it is a person, so that a small number could tell who it is.
    #[must_use]
    pub fn counts_persons(self) -> bool {
        matches!(self, Self::Members)
    }

    fn needs_clock(self) -> bool {
        matches!(self, Self::ClaimsLate | Self::ClaimsLateRupiah)
    }
}

/// How a figure may be broken down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Province of the facility.
    Province,
    /// Membership segment.
    Segment,
    /// Class of the facility.
    FacilityClass,
    /// Out-patient or in-patient care.
    CareType,
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Province => "province",
            Self::Segment => "segment",
            Self::FacilityClass => "facility-class",
            Self::CareType => "care-type",
        })
    }
}

impl chassis::policy::Rule for Indicators {
    fn check(&self) -> Result<(), String> {
        if self.suppress_below < 0 {
            return Err("suppress-below: must not be negative".to_owned());
        }
        for (index, definition) in self.indicator.iter().enumerate() {
            let id = &definition.id;
            if id.is_empty() || !id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            {
                return Err("indicator.id: must be lower-case letters, digits and hyphens".to_owned());
            }
            if self.indicator[..index].iter().any(|other| other.id == *id) {
                return Err(format!("indicator.id: {id} is defined twice"));
            }
            if definition.factor <= 0 {
                return Err(format!("indicator {id}: factor must be greater than zero"));
            }
            if definition.digits > 6 {
                return Err(format!("indicator {id}: digits must be at most 6"));
            }
            let late = definition.numerator.needs_clock() || definition.denominator.needs_clock();
            if late != definition.late_after_days.is_some_and(|days| days >= 0) {
                return Err(format!(
                    "indicator {id}: late-after-days must be set for late claims, and only for them"
                ));
            }
            let offered = |d: &Dimension| definition.disaggregations.contains(d);
            if !definition.denominator_dimensions.iter().flatten().all(offered) {
                return Err(format!("indicator {id}: denominator-dimensions must be among disaggregations"));
            }
        }
        Ok(())
    }
}

impl Indicators {
    /// The definition of an id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Definition> {
        self.indicator.iter().find(|definition| definition.id == id)
    }
}

/// What a measure comes to, and how many persons or cases it tells of. They differ where rupiah are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// What is counted.
    pub value: i64,
    /// The persons or cases behind it.
    pub cases: i64,
}

impl From<i64> for Count {
    fn from(cases: i64) -> Self {
        Self { value: cases, cases }
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.value += other.value;
        self.cases += other.cases;
    }
}

/// Where counted cases stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Province of the facility.
    pub province: String,
    /// Membership segment.
    pub segment: String,
    /// Class of the facility.
    pub facility_class: String,
    /// Out-patient or in-patient care.
    pub care_type: String,
}

impl Cell {
    /// The value in a dimension; "unknown" when nobody told.
    #[must_use]
    pub fn value(&self, dimension: Dimension) -> &str {
        let value = match dimension {
            Dimension::Province => &self.province,
            Dimension::Segment => &self.segment,
            Dimension::FacilityClass => &self.facility_class,
            Dimension::CareType => &self.care_type,
        };
        if value.is_empty() { "unknown" } else { value }
    }

    fn along(&self, dimensions: &[Dimension]) -> Vec<String> {
        dimensions.iter().map(|d| self.value(*d).to_owned()).collect()
    }
}

/// One published figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// One value for each dimension asked for.
    pub coordinates: Vec<String>,
    /// The counts; none when the figure is withheld.
    pub counted: Option<Counted>,
}

/// The counts behind a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Above the line.
    pub numerator: i64,
    /// Below the line.
    pub denominator: i64,
    /// The quotient; none when the denominator is zero.
    pub value: Option<String>,
}

/// The figures of an indicator, one for each combination of the dimensions that has a case, by coordinates.
#[must_use]
pub fn figures<C: Into<Count> + Copy>(
    definition: &Definition,
    suppress_below: i64,
    dimensions: &[Dimension],
    numerator: &[(Cell, C)],
    denominator: &[(Cell, C)],
) -> Vec<Figure> {
    let shared: Vec<Dimension> = match &definition.denominator_dimensions {
        Some(own) => dimensions.iter().copied().filter(|d| own.contains(d)).collect(),
        None => dimensions.to_vec(),
    };
    let below = sum_along(&shared, denominator);
    let mut cells: BTreeMap<Vec<String>, (Count, Count)> = BTreeMap::new();
    if dimensions.is_empty() {
        cells.entry(Vec::new()).or_default();
    }
    if shared.len() == dimensions.len() {
        for (coordinates, sum) in &below {
            cells.entry(coordinates.clone()).or_default().1 = *sum;
        }
    }
    for (cell, count) in numerator {
        let entry = cells.entry(cell.along(dimensions)).or_default();
        entry.0 += (*count).into();
        entry.1 = below.get(&cell.along(&shared)).copied().unwrap_or_default();
    }
    cells.retain(|coordinates, counts| coordinates.is_empty() || *counts != Default::default());
    let withheld = withheld(definition, suppress_below, &cells);
    let figure = |(coordinates, (above, under)): (Vec<String>, (Count, Count))| {
        let (numerator, denominator) = (above.value, under.value);
        let value = quotient(numerator, definition.factor, denominator, definition.digits);
        let counted = Counted { numerator, denominator, value };
        Figure { counted: (!withheld.contains(&coordinates)).then_some(counted), coordinates }
    };
    cells.into_iter().map(figure).collect()
}

fn sum_along<C: Into<Count> + Copy>(
    dimensions: &[Dimension],
    counts: &[(Cell, C)],
) -> BTreeMap<Vec<String>, Count> {
    let mut sums: BTreeMap<_, Count> = BTreeMap::new();
    for (cell, count) in counts {
        *sums.entry(cell.along(dimensions)).or_default() += (*count).into();
    }
    sums
}

/// The figures that tell of too few. Each case is one person's, so cases are held to the same bound; of the whole
/// nation only persons are, for a case of the nation points to nobody. A figure that is the only one withheld along
/// a dimension takes the next smallest with it: otherwise it could be had by subtracting the others from their sum.
fn withheld(
    definition: &Definition,
    below: i64,
    cells: &BTreeMap<Vec<String>, (Count, Count)>,
) -> BTreeSet<Vec<String>> {
    let fewest = |coordinates: &[String], (above, under): &(Count, Count)| {
        let is_held = |measure: Measure| !coordinates.is_empty() || measure.counts_persons();
        let above = is_held(definition.numerator).then_some(above.cases);
        let under = is_held(definition.denominator).then_some(under.cases);
        above.into_iter().chain(under).filter(|count| *count > 0).min()
    };
    let fewest: BTreeMap<&Vec<String>, i64> = cells
        .iter()
        .filter_map(|(coordinates, counts)| Some((coordinates, fewest(coordinates, counts)?)))
        .collect();
    let mut withheld: BTreeSet<&Vec<String>> =
        fewest.iter().filter(|(_, count)| **count < below).map(|(coordinates, _)| *coordinates).collect();
    let dimensions = cells.keys().next().map_or(0, Vec::len);
    loop {
        let known = withheld.len();
        for dimension in 0..dimensions {
            let mut lines: BTreeMap<Vec<&String>, Vec<&Vec<String>>> = BTreeMap::new();
            for coordinates in fewest.keys().copied() {
                let others = coordinates.iter().enumerate().filter(|(index, _)| *index != dimension);
                lines.entry(others.map(|(_, value)| value).collect()).or_default().push(coordinates);
            }
            for line in lines.into_values() {
                let (hidden, shown): (Vec<_>, Vec<_>) =
                    line.into_iter().partition(|coordinates| withheld.contains(coordinates));
                if hidden.len() == 1 {
                    withheld.extend(shown.into_iter().min_by_key(|coordinates| fewest[coordinates]));
                }
            }
        }
        if withheld.len() == known {
            return withheld.into_iter().cloned().collect();
        }
    }
}

/// numerator × factor ÷ denominator with fixed digits, rounded half up; none when the denominator is not positive.
#[must_use]
pub fn quotient(numerator: i64, factor: i64, denominator: i64, digits: u32) -> Option<String> {
    if denominator <= 0 {
        return None;
    }
    let scale = 10_i128.pow(digits);
    let (above, under) = (i128::from(numerator) * i128::from(factor) * scale, i128::from(denominator));
    let rounded = (2 * above + under).div_euclid(2 * under);
    let (sign, magnitude) = if rounded < 0 { ("-", -rounded) } else { ("", rounded) };
    let (whole, fraction) = (magnitude / scale, magnitude % scale);
    Some(match digits {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction:0width$}", width = digits as usize),
    })
}

#[cfg(test)]
mod tests {
    use chassis::policy::Rule;
    use proptest::prelude::*;

    use super::*;

    fn rate(denominator_dimensions: Option<Vec<Dimension>>) -> Definition {
        Definition {
            id: "visit-rate".into(),
            name_en: String::new(),
            name_id: String::new(),
            formula: String::new(),
            unit: String::new(),
            numerator: Measure::FktpVisits,
            denominator: Measure::Members,
            factor: 1000,
            digits: 2,
            disaggregations: vec![Dimension::Province, Dimension::CareType],
            denominator_dimensions,
            late_after_days: None,
            source: String::new(),
        }
    }

    fn at(province: &str, care_type: &str) -> Cell {
        Cell { province: province.into(), care_type: care_type.into(), ..Cell::default() }
    }

    #[test]
    fn rounds_half_up_with_fixed_digits() {
        assert_eq!(quotient(1, 100, 8, 1).as_deref(), Some("12.5"));
        assert_eq!(quotient(1, 100, 8, 0).as_deref(), Some("13"));
        assert_eq!(quotient(2, 100, 3, 2).as_deref(), Some("66.67"));
        assert_eq!(quotient(0, 1000, 7, 2).as_deref(), Some("0.00"));
        assert_eq!(quotient(1, 1, 1000, 2).as_deref(), Some("0.00"));
        assert_eq!(quotient(5, 100, 0, 2), None);
    }

    #[test]
    fn the_nation_is_one_figure_even_without_cases() {
        let figures = figures::<i64>(&rate(None), 5, &[], &[], &[]);
        assert_eq!(figures.len(), 1);
        assert_eq!(figures[0].counted, Some(Counted { numerator: 0, denominator: 0, value: None }));
    }

    #[test]
    fn fewer_than_five_persons_are_withheld_and_not_to_be_had_by_subtraction() {
        let members = [(at("31", ""), 4), (at("32", ""), 9), (at("33", ""), 50)];
        let figures = figures(&rate(None), 5, &[Dimension::Province], &[(at("31", ""), 1)], &members);
        let shown: Vec<_> =
            figures.iter().map(|f| (f.coordinates[0].as_str(), f.counted.is_some())).collect();
        assert_eq!(shown, [("31", false), ("32", false), ("33", true)]);
    }

    #[test]
    fn few_cases_are_withheld_too_along_every_dimension() {
        let cell = |province, care, cases, value| (at(province, care), Count { value, cases });
        let open = [
            cell("31", "ritl", 3, 3_000_000),
            cell("31", "rjtl", 20, 900_000),
            cell("32", "ritl", 4, 8_000_000),
            cell("32", "rjtl", 30, 700_000),
            cell("33", "ritl", 50, 9_000_000),
            cell("33", "rjtl", 60, 800_000),
        ];
        let value = Definition {
            numerator: Measure::ClaimsOpenRupiah,
            denominator: Measure::ClaimsOpenRupiah,
            ..rate(None)
        };
        let both = [Dimension::Province, Dimension::CareType];
        let withheld: Vec<_> = figures(&value, 5, &both, &open, &open)
            .into_iter()
            .filter(|figure| figure.counted.is_none())
            .map(|figure| figure.coordinates.join(" "))
            .collect();
        // Two of the in-patient column, and of each of their rows the other: the sums of 31 and 32 give nothing away.
        assert_eq!(withheld, ["31 ritl", "31 rjtl", "32 ritl", "32 rjtl"]);
        let nation = figures(&value, 5, &[], &open[..1], &open[..1]);
        assert!(nation[0].counted.is_some(), "of the whole nation a case points to nobody");
    }

    #[test]
    fn a_denominator_without_the_dimension_stays_whole() {
        let cases = [(at("31", "rjtl"), 30), (at("31", "ritl"), 10)];
        let members = [(at("31", ""), 1000)];
        let by_care =
            figures(&rate(Some(vec![Dimension::Province])), 5, &[Dimension::CareType], &cases, &members);
        let values: Vec<_> = by_care
            .iter()
            .map(|f| (f.coordinates[0].as_str(), f.counted.clone().unwrap().value.unwrap()))
            .collect();
        assert_eq!(values, [("ritl", "10.00".to_owned()), ("rjtl", "30.00".to_owned())]);
    }

    #[test]
    fn what_nobody_told_is_named_unknown() {
        let figures = figures(&rate(None), 5, &[Dimension::Province], &[], &[(at("", ""), 8)]);
        assert_eq!(figures[0].coordinates, ["unknown"]);
    }

    #[test]
    fn a_clock_belongs_to_late_claims_only() {
        let set = |definition| Indicators { suppress_below: 5, indicator: vec![definition] };
        assert!(set(rate(None)).check().is_ok());
        assert!(set(Definition { late_after_days: Some(14), ..rate(None) }).check().is_err());
        assert!(set(Definition { numerator: Measure::ClaimsLate, ..rate(None) }).check().is_err());
        assert!(Indicators { suppress_below: 5, indicator: vec![rate(None), rate(None)] }.check().is_err());
    }

    proptest! {
        #[test]
        fn a_quotient_is_within_half_a_last_digit(n in 0i64..1_000_000_000_000, d in 1i64..1_000_000_000_000, digits in 0u32..6) {
            let text = quotient(n, 1000, d, digits).unwrap();
            let scaled: i128 = text.replace('.', "").parse().unwrap();
            let exact = i128::from(n) * 1000 * 10_i128.pow(digits);
            let off = 2 * (scaled * i128::from(d) - exact);
            prop_assert!(off > -i128::from(d) && off <= i128::from(d));
        }

        #[test]
        fn broken_down_counts_add_up_to_the_whole(cases in proptest::collection::vec((0u8..4, 0i64..50), 0..40)) {
            let counted: Vec<_> = cases.iter().map(|(p, n)| (at(&format!("3{p}"), ""), *n)).collect();
            let whole = figures(&rate(None), 0, &[], &counted, &counted);
            let parts = figures(&rate(None), 0, &[Dimension::Province], &counted, &counted);
            let sum: i64 = parts.iter().map(|f| f.counted.as_ref().unwrap().numerator).sum();
            prop_assert_eq!(whole[0].counted.as_ref().unwrap().numerator, sum);
        }
    }
}
