//! The figures from the events alone, without a database: what the kept counters must equal, to the last digit,
//! as of any instant.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};

use crate::{
    count::{self, Counter, FacilityVersion, Fact, Happened, Memory, Subject},
    indicator::{self, Cell, Count, Definition, Dimension, Figure, Measure},
    pending::{Spell, Waiting, Window},
    query::{Kept, judged, kept_as},
};

/// Everything that events told, in memory.
#[derive(Default)]
pub struct Recomputed {
    positions: BTreeMap<String, i64>,
    memory: Memory,
    facts: Vec<Fact>,
    facilities: Vec<FacilityVersion>,
}

impl Recomputed {
    /// Takes the next event of a feed; one that was taken before changes nothing.
    pub fn take(&mut self, source: &str, position: i64, occurred_at: Timestamp, happened: &Happened) {
        let last = self.positions.entry(source.to_owned()).or_default();
        if position <= *last {
            return;
        }
        *last = position;
        if let Happened::Facility { code, province, class } = happened {
            let (code, province, class) = (code.clone(), province.clone(), class.clone());
            self.facilities.push(FacilityVersion { code, province, class, known_at: occurred_at });
        }
        let told = count::count(&mut self.memory, happened);
        self.facts.extend(told.deltas.into_iter().map(|delta| Fact { position, occurred_at, delta }));
    }

    /// The figures of an indicator, as [`crate::query::figures`] gives them.
    #[must_use]
    pub fn figures(
        &self,
        definition: &Definition,
        suppress_below: i64,
        dimensions: &[Dimension],
        window: Window,
        as_of: Timestamp,
    ) -> Vec<Figure> {
        let numerator = self.counted(definition, definition.numerator, window, as_of);
        let denominator = self.counted(definition, definition.denominator, window, as_of);
        indicator::figures(definition, suppress_below, dimensions, &numerator, &denominator)
    }

    fn counted(
        &self,
        definition: &Definition,
        measure: Measure,
        window: Window,
        as_of: Timestamp,
    ) -> Vec<(Cell, Count)> {
        match kept_as(measure) {
            Kept::Cases { counter, before_too } => {
                let counts = |day: Date| day <= window.last && (before_too || day >= window.first);
                let known = self.known(counter, as_of).filter(|fact| counts(fact.delta.subject.day));
                known.map(|fact| (self.cell(&fact.delta.subject, as_of), fact.delta.cases.into())).collect()
            }
            Kept::Claims => {
                let known = self.known(Counter::Claims, as_of);
                known
                    .map(|fact| {
                        let subject = &fact.delta.subject;
                        let claims = Waiting {
                            cell: self.cell(subject, as_of),
                            spell: Spell { start: subject.day, end: subject.ended },
                            cases: fact.delta.cases,
                            rupiah: fact.delta.cases * subject.rupiah,
                        };
                        (claims.cell.clone(), judged(definition, measure, window, &claims))
                    })
                    .collect()
            }
        }
    }

    fn known(&self, counter: Counter, as_of: Timestamp) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.delta.counter == counter && fact.occurred_at <= as_of)
    }

    fn cell(&self, subject: &Subject, as_of: Timestamp) -> Cell {
        let versions = self.facilities.iter().filter(|f| f.code == subject.facility && f.known_at <= as_of);
        let place = versions.max_by_key(|version| version.known_at);
        Cell {
            province: place.map_or_else(String::new, |place| place.province.clone()),
            facility_class: place.map_or_else(String::new, |place| place.class.clone()),
            segment: subject.segment.clone(),
            care_type: subject.care_type.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use chassis::policy::Rule;
    use jiff::{ToSpan, civil::date};
    use proptest::prelude::*;

    use super::*;
    use crate::{indicator::Indicators, roadmap::Roadmap};

    fn definitions() -> Indicators {
        let text = include_str!("../../../policy/sismonev/indicators.toml");
        let dated = chassis::policy::parse::<Indicators>("sismonev/indicators.toml", text).unwrap();
        dated.on(date(2026, 1, 31)).unwrap().rule.clone()
    }

    #[test]
    fn the_policy_files_can_be_used() {
        let set = definitions();
        assert!(set.check().is_ok());
        for id in
            ["fktp-visit-rate", "fktp-referral-ratio", "fkrtl-utilisation", "claims-pending-over-14-days"]
        {
            assert!(set.find(id).is_some(), "{id}");
        }
        let text = include_str!("../../../policy/sismonev/roadmap.toml");
        assert!(chassis::policy::parse::<Roadmap>("sismonev/roadmap.toml", text).is_ok());
    }

    fn noon(day: i32) -> Timestamp {
        let at = date(2025, 12, 1).checked_add(day.days()).unwrap().at(12, 0, 0, 0);
        at.to_zoned(chassis::time::jakarta()).unwrap().timestamp()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Submit(i64),
        Answer(i64),
        Pay,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(1i64..1000).prop_map(Step::Submit), (1i64..1000).prop_map(Step::Answer), Just(Step::Pay)]
    }

    fn happened(claim: usize, day: i32, step: &Step) -> Happened {
        let (claim, day) = (format!("c{claim}"), chassis::time::today_at(noon(day)));
        match step {
            Step::Submit(rupiah) => Happened::Submitted {
                claim,
                sep: String::new(),
                facility: "0301R011".into(),
                segment: "pbi".into(),
                care_type: "rjtl".into(),
                day,
                rupiah: *rupiah,
            },
            Step::Answer(rupiah) => Happened::Answered { claim, rupiah: *rupiah },
            Step::Pay => Happened::Paid { claim, day },
        }
    }

    /// What became of each claim by an instant, told plainly: start day, end day, amount.
    fn plainly(steps: &[(usize, i32, Step)], as_of: Timestamp) -> Vec<(Date, Option<Date>, i64)> {
        let mut claims: BTreeMap<usize, (Date, Option<Date>, i64)> = BTreeMap::new();
        for (claim, at, step) in steps.iter().filter(|(_, at, _)| noon(*at) <= as_of) {
            let day = chassis::time::today_at(noon(*at));
            match (step, claims.get_mut(claim)) {
                (Step::Submit(rupiah), None) => {
                    claims.insert(*claim, (day, None, *rupiah));
                }
                (Step::Answer(rupiah), Some(open)) if open.1.is_none() => open.2 = *rupiah,
                (Step::Pay, Some(open)) if open.1.is_none() => open.1 = Some(day),
                _ => {}
            }
        }
        claims.into_values().collect()
    }

    proptest! {
        #[test]
        fn the_share_of_late_claims_is_the_formula_over_the_claims(
            mut steps in proptest::collection::vec((0usize..12, 0i32..90, step()), 0..60),
            repeats in proptest::collection::vec(proptest::bool::ANY, 60),
            seen in 31i32..120,
        ) {
            steps.sort_by_key(|(_, day, _)| *day);
            let mut books = Recomputed::default();
            for (index, (claim, day, step)) in steps.iter().enumerate() {
                let position = i64::try_from(index).unwrap() + 1;
                for _ in 0..=usize::from(repeats[index]) {
                    books.take("claims", position, noon(*day), &happened(*claim, *day, step));
                }
            }
            let set = definitions();
            let as_of = noon(seen);
            let window = Window::of(date(2026, 1, 1), chassis::time::today_at(as_of)).unwrap();
            let claims = plainly(&steps, as_of);
            let spell = |(start, end, _): &(Date, Option<Date>, i64)| Spell { start: *start, end: *end };
            let open: Vec<_> = claims.iter().filter(|c| spell(c).open(window)).collect();
            let late: Vec<_> = claims.iter().filter(|c| spell(c).late(window, 14)).collect();

            let figure = |id| books.figures(set.find(id).unwrap(), 5, &[], window, as_of).remove(0).counted.unwrap();
            let cases = figure("claims-pending-over-14-days");
            prop_assert_eq!(cases.denominator, i64::try_from(open.len()).unwrap());
            prop_assert_eq!(cases.numerator, i64::try_from(late.len()).unwrap());
            let value = figure("claims-pending-over-14-days-value");
            prop_assert_eq!(value.denominator, open.iter().map(|c| c.2).sum::<i64>());
            prop_assert_eq!(value.numerator, late.iter().map(|c| c.2).sum::<i64>());
        }

        #[test]
        fn the_order_between_feeds_does_not_matter(visits in 1i64..6, members in 1i64..9, seed in 0usize..720) {
            let place = Happened::Facility { code: "0301P001".into(), province: "31".into(), class: "clinic".into() };
            let join = |n| Happened::Member {
                id: format!("m{n}"), fktp: Some("0301P001".into()), segment: Some("pbi".into()), from: date(2025, 12, 2),
            };
            let visit = |n| Happened::Visit {
                number: format!("y{n}"), facility: "0301P001".into(), segment: "pbi".into(), day: date(2026, 1, 5), sick: true,
            };
            let feeds: [(&str, Vec<Happened>); 3] = [
                ("accreditation", vec![place]),
                ("membership", (0..members).map(join).collect()),
                ("primary-care", (0..visits).map(visit).collect()),
            ];
            let mut order = vec![0, 1, 2];
            order.rotate_left(seed % 3);
            if seed % 2 == 1 { order.swap(0, 1); }
            let mut books = Recomputed::default();
            for feed in order {
                let (source, events) = &feeds[feed];
                for (index, event) in events.iter().enumerate() {
                    books.take(source, i64::try_from(index).unwrap() + 1, noon(40), event);
                }
            }
            let set = definitions();
            let window = Window::of(date(2026, 1, 1), date(2026, 2, 1)).unwrap();
            let definition = set.find("fktp-visit-rate").unwrap();
            let figures = books.figures(definition, 0, &[Dimension::Province], window, noon(62));
            prop_assert_eq!(&figures[0].coordinates[0], "31");
            let counted = figures[0].counted.clone().unwrap();
            prop_assert_eq!((counted.numerator, counted.denominator), (visits, members));
        }
    }
}
