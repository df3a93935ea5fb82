//! From an event of another system to the cases it adds to the counters and the exchange it proves.
//!
//! Nothing here depends on the clock or on when an event is folded: the same events give the same counters,
//! however they are batched and however the feeds of the systems are interleaved.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};

use crate::roadmap::{Edge, Proof, Side};

/// What SISMONEV takes from the events of the other systems, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A facility was registered or changed.
    Facility {
        /// Its code.
        code: String,
        /// Province, Kemendagri code of 2 digits.
        province: String,
        /// Class in lower case.
        class: String,
    },
    /// A member was registered at a first-level facility, or the facility or segment changed.
    Member {
        /// Internal id.
        id: String,
        /// The first-level facility; none where the event leaves it as it was.
        fktp: Option<String>,
        /// The segment; none where the event leaves it as it was.
        segment: Option<String>,
        /// First day of the new state.
        from: Date,
    },
    /// A member is no longer one.
    MemberLeft {
        /// Internal id.
        id: String,
        /// First day on which the person is none.
        from: Date,
    },
    /// A visit to a first-level facility was examined, and so became a contact.
    Visit {
        /// Its number.
        number: String,
        /// The facility.
        facility: String,
        /// The segment of the member.
        segment: String,
        /// The day.
        day: Date,
        /// Whether it is a sick visit.
        sick: bool,
    },
    /// An examined visit was cancelled.
    VisitCancelled {
        /// Its number.
        number: String,
        /// Whether it was a sick visit.
        sick: bool,
    },
    /// A visit ended in a referral.
    Referred {
        /// Number of the referral.
        referral: String,
        /// The facility that refers.
        facility: String,
        /// The segment of the member.
        segment: String,
        /// The day.
        day: Date,
    },
    /// A SEP was issued.
    Sep {
        /// Its number.
        number: String,
        /// The referral-level facility.
        facility: String,
        /// The segment of the member.
        segment: String,
        /// "rjtl" or "ritl".
        care_type: String,
        /// Service day.
        day: Date,
        /// The referral it cites.
        referral: Option<String>,
        /// The answers it rests on.
        answers: Vec<(Edge, String)>,
    },
    /// A SEP was cancelled.
    SepCancelled {
        /// Its number.
        number: String,
    },
    /// A claim was grouped.
    Grouped {
        /// Internal id of the claim.
        claim: String,
    },
    /// A claim was submitted for the first time.
    Submitted {
        /// Internal id of the claim.
        claim: String,
        /// The SEP it bills.
        sep: String,
        /// The referral-level facility.
        facility: String,
        /// The segment of the member.
        segment: String,
        /// "rjtl" or "ritl".
        care_type: String,
        /// The day.
        day: Date,
        /// The amount claimed.
        rupiah: i64,
    },
    /// A pending claim came back, perhaps with another amount. Its clock runs on.
    Answered {
        /// Internal id of the claim.
        claim: String,
        /// The amount claimed now.
        rupiah: i64,
    },
    /// A claim was paid.
    Paid {
        /// Internal id of the claim.
        claim: String,
        /// The day.
        day: Date,
    },
    /// A dispute ended without payment: the clock of the claim ends, as with payment.
    Decided {
        /// Internal id of the claim.
        claim: String,
        /// The day.
        day: Date,
    },
}

/// The counters that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// Visits to first-level facilities.
    Visits,
    /// Sick visits.
    SickVisits,
    /// Referrals from such visits.
    Referrals,
    /// SEPs in force.
    HospitalCases,
    /// Members, by the day they came to their first-level facility; leaving it counts minus one.
    Members,
    /// Submitted claims, by the day of submission and the day of settlement.
    Claims,
}

impl Counter {
    /// As stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Visits => "visits",
            Self::SickVisits => "sick-visits",
            Self::Referrals => "referrals",
            Self::HospitalCases => "hospital-cases",
            Self::Members => "members",
            Self::Claims => "claims",
        }
    }
}

/// What a later event of the same subject needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The day its case counts for.
    pub day: Date,
    /// The day its clock ended: paid, or decided without payment.
    pub ended: Option<Date>,
    /// Its facility.
    pub facility: String,
    /// The segment of its member.
    pub segment: String,
    /// "rjtl", "ritl" or empty.
    pub care_type: String,
    /// The amount.
    pub rupiah: i64,
}

/// The kinds of subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A member.
    Member,
    /// A visit.
    Visit,
    /// A SEP.
    Sep,
    /// A claim.
    Claim,
}

impl Kind {
    /// As stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Visit => "visit",
            Self::Sep => "sep",
            Self::Claim => "claim",
        }
    }
}

/// The subjects that a run of events speaks of; none where it is gone or not known yet.
pub type Memory = HashMap<(Kind, String), Option<Subject>>;

/// A case, or minus a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Which counter.
    pub counter: Counter,
    /// What it belongs to.
    pub subject: Subject,
    /// How many cases; the rupiah of the subject count as often.
    pub cases: i64,
}

/// One delta with the event that told of it.
#[derive(Clone, Debug)]
pub struct Fact {
    /// Position of the event in its feed.
    pub position: i64,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The delta.
    pub delta: Delta,
}

/// A facility as an event described it.
#[derive(Clone, Debug)]
pub struct FacilityVersion {
    /// Its code.
    pub code: String,
    /// Province, 2 digits.
    pub province: String,
    /// Class in lower case.
    pub class: String,
    /// When the event happened.
    pub known_at: Timestamp,
}

/// What an event says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Cases.
    pub deltas: Vec<Delta>,
    /// Exchanges over the edges of the roadmap.
    pub proofs: Vec<Proof>,
}

impl Happened {
    /// The subjects whose memory the event needs.
    #[must_use]
    pub fn subjects(&self) -> Vec<(Kind, String)> {
        match self {
            Self::Facility { .. } | Self::Referred { .. } | Self::Grouped { .. } => Vec::new(),
            Self::Member { id, .. } | Self::MemberLeft { id, .. } => vec![(Kind::Member, id.clone())],
            Self::Visit { number, .. } | Self::VisitCancelled { number, .. } => {
                vec![(Kind::Visit, number.clone())]
            }
            Self::Sep { number, .. } | Self::SepCancelled { number } => vec![(Kind::Sep, number.clone())],
            Self::Submitted { claim, .. }
            | Self::Answered { claim, .. }
            | Self::Paid { claim, .. }
            | Self::Decided { claim, .. } => vec![(Kind::Claim, claim.clone())],
        }
    }
}

/// Counts an event, and remembers what later ones need.
#[must_use]
pub fn count(memory: &mut Memory, happened: &Happened) -> Told {
    let mut told = Told::default();
    match happened {
        Happened::Facility { .. } => {}
        Happened::Member { id, fktp, segment, from } => {
            let entry = memory.entry((Kind::Member, id.clone())).or_default();
            let next = member_after(entry.as_ref(), fktp.as_deref(), segment.as_deref(), *from);
            if let Some(before) = entry.replace(next.clone()) {
                told.take(Counter::Members, Subject { day: next.day, ..before });
            }
            told.add(Counter::Members, next);
        }
        Happened::MemberLeft { id, from } => {
            if let Some(before) = memory.entry((Kind::Member, id.clone())).or_default().take() {
                told.take(Counter::Members, Subject { day: before.day.max(*from), ..before });
            }
        }
        Happened::Visit { number, facility, segment, day, sick } => {
            let visit = case(facility, segment, "", *day);
            if *sick {
                told.add(Counter::SickVisits, visit.clone());
            }
            told.add(Counter::Visits, visit.clone());
            memory.insert((Kind::Visit, number.clone()), Some(visit));
        }
        Happened::VisitCancelled { number, sick } => {
            if let Some(visit) = memory.entry((Kind::Visit, number.clone())).or_default().take() {
                if *sick {
                    told.take(Counter::SickVisits, visit.clone());
                }
                told.take(Counter::Visits, visit);
            }
        }
        Happened::Referred { referral, facility, segment, day } => {
            told.add(Counter::Referrals, case(facility, segment, "", *day));
            told.half(Edge::PcareVklaim, Side::Given, referral, referral);
        }
        Happened::Sep { number, facility, segment, care_type, day, referral, answers } => {
            let sep = case(facility, segment, care_type, *day);
            told.add(Counter::HospitalCases, sep.clone());
            memory.insert((Kind::Sep, number.clone()), Some(sep));
            if let Some(referral) = referral {
                told.half(Edge::PcareVklaim, Side::Taken, referral, number);
            }
            for (edge, answer) in answers {
                told.proofs.push(Proof::Whole { edge: *edge, evidence: format!("{number}/{answer}") });
            }
        }
        Happened::SepCancelled { number } => {
            if let Some(sep) = memory.entry((Kind::Sep, number.clone())).or_default().take() {
                told.take(Counter::HospitalCases, sep);
            }
        }
        Happened::Grouped { claim } => told.half(Edge::EklaimVklaim, Side::Given, claim, claim),
        Happened::Submitted { claim, sep, facility, segment, care_type, day, rupiah } => {
            told.half(Edge::EklaimVklaim, Side::Taken, claim, sep);
            let entry = memory.entry((Kind::Claim, claim.clone())).or_default();
            if entry.is_none() {
                let submitted = Subject { rupiah: *rupiah, ..case(facility, segment, care_type, *day) };
                told.add(Counter::Claims, submitted.clone());
                *entry = Some(submitted);
            }
        }
        Happened::Answered { claim, rupiah } => {
            told.change(memory, claim, |open| open.rupiah = *rupiah);
        }
        Happened::Paid { claim, day } | Happened::Decided { claim, day } => {
            told.change(memory, claim, |open| open.ended = Some(*day));
        }
    }
    told
}

fn member_after(before: Option<&Subject>, fktp: Option<&str>, segment: Option<&str>, from: Date) -> Subject {
    let was = |field: fn(&Subject) -> &str| before.map_or("", field);
    case(
        fktp.unwrap_or_else(|| was(|member| &member.facility)),
        segment.unwrap_or_else(|| was(|member| &member.segment)),
        "",
        before.map_or(from, |before| before.day.max(from)),
    )
}

fn case(facility: &str, segment: &str, care_type: &str, day: Date) -> Subject {
    Subject {
        day,
        ended: None,
        facility: facility.to_owned(),
        segment: segment.to_owned(),
        care_type: care_type.to_owned(),
        rupiah: 0,
    }
}

impl Told {
    fn add(&mut self, counter: Counter, subject: Subject) {
        self.deltas.push(Delta { counter, subject, cases: 1 });
    }

    fn take(&mut self, counter: Counter, subject: Subject) {
        self.deltas.push(Delta { counter, subject, cases: -1 });
    }

    /// Changes an open claim: out of the counters as it was, and in again as it is now.
    fn change(&mut self, memory: &mut Memory, claim: &str, change: impl FnOnce(&mut Subject)) {
        if let Some(Some(open)) = memory.get_mut(&(Kind::Claim, claim.to_owned()))
            && open.ended.is_none()
        {
            self.take(Counter::Claims, open.clone());
            change(open);
            self.add(Counter::Claims, open.clone());
        }
    }

    fn half(&mut self, edge: Edge, side: Side, reference: &str, evidence: &str) {
        let (reference, evidence) = (reference.to_owned(), evidence.to_owned());
        self.proofs.push(Proof::Half { edge, side, reference, evidence });
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn member(fktp: Option<&str>, segment: Option<&str>, from: Date) -> Happened {
        let text = |value: Option<&str>| value.map(str::to_owned);
        Happened::Member { id: "m1".into(), fktp: text(fktp), segment: text(segment), from }
    }

    fn submitted(claim: &str, day: Date) -> Happened {
        Happened::Submitted {
            claim: claim.into(),
            sep: "s1".into(),
            facility: "0301R011".into(),
            segment: "pbi".into(),
            care_type: "rjtl".into(),
            day,
            rupiah: 100,
        }
    }

    fn sums(told: &[Told]) -> HashMap<(String, Option<Date>), i64> {
        let mut sums = HashMap::new();
        for delta in told.iter().flat_map(|told| &told.deltas) {
            *sums.entry((delta.subject.facility.clone(), delta.subject.ended)).or_default() += delta.cases;
        }
        sums.retain(|_, sum| *sum != 0);
        sums
    }

    #[test]
    fn a_member_is_counted_at_one_facility_from_the_day_of_the_change() {
        let mut memory = Memory::new();
        let first = count(&mut memory, &member(Some("0301P001"), Some("pbi"), date(2026, 1, 1)));
        let second = count(&mut memory, &member(Some("0301P002"), None, date(2026, 2, 1)));
        assert_eq!(sums(&[first.clone(), second.clone()]), HashMap::from([(("0301P002".into(), None), 1)]));
        assert!(second.deltas.iter().all(|delta| delta.subject.day == date(2026, 2, 1)));
        assert_eq!(second.deltas[1].subject.segment, "pbi");
        let gone = count(&mut memory, &Happened::MemberLeft { id: "m1".into(), from: date(2026, 3, 1) });
        assert!(sums(&[first, second, gone]).is_empty());
        let again = count(&mut memory, &Happened::MemberLeft { id: "m1".into(), from: date(2026, 3, 1) });
        assert!(again.deltas.is_empty());
    }

    #[test]
    fn a_claim_waits_from_its_first_submission_to_its_payment() {
        let mut memory = Memory::new();
        let told = [
            submitted("c1", date(2026, 1, 1)),
            submitted("c1", date(2026, 1, 9)),
            Happened::Answered { claim: "c1".into(), rupiah: 80 },
            Happened::Paid { claim: "c1".into(), day: date(2026, 1, 20) },
            Happened::Paid { claim: "c1".into(), day: date(2026, 1, 25) },
            Happened::Paid { claim: "never submitted".into(), day: date(2026, 1, 25) },
        ]
        .map(|happened| count(&mut memory, &happened));
        let paid = (("0301R011".to_owned(), Some(date(2026, 1, 20))), 1);
        assert_eq!(sums(&told), HashMap::from([paid]));
        let rupiah: i64 = told.iter().flat_map(|t| &t.deltas).map(|d| d.cases * d.subject.rupiah).sum();
        assert_eq!(rupiah, 80);
    }

    #[test]
    fn a_claim_decided_without_payment_waits_no_longer() {
        let mut memory = Memory::new();
        let told = [
            submitted("c1", date(2026, 1, 1)),
            Happened::Decided { claim: "c1".into(), day: date(2026, 2, 10) },
            Happened::Paid { claim: "c1".into(), day: date(2026, 3, 1) },
        ]
        .map(|happened| count(&mut memory, &happened));
        assert_eq!(sums(&told), HashMap::from([(("0301R011".to_owned(), Some(date(2026, 2, 10))), 1)]));
    }

    #[test]
    fn a_cancelled_sep_is_taken_out_once() {
        let mut memory = Memory::new();
        let issued = Happened::Sep {
            number: "s1".into(),
            facility: "0301R011".into(),
            segment: "pbi".into(),
            care_type: "rjtl".into(),
            day: date(2026, 1, 1),
            referral: Some("r1".into()),
            answers: vec![(Edge::MembershipVklaim, "a1".into())],
        };
        let cancelled = Happened::SepCancelled { number: "s1".into() };
        let told = [&issued, &cancelled, &cancelled].map(|happened| count(&mut memory, happened));
        assert!(sums(&told).is_empty());
        let taken = Proof::Half {
            edge: Edge::PcareVklaim,
            side: Side::Taken,
            reference: "r1".into(),
            evidence: "s1".into(),
        };
        let answer = Proof::Whole { edge: Edge::MembershipVklaim, evidence: "s1/a1".into() };
        assert_eq!(told[0].proofs, [taken, answer]);
    }

    #[test]
    fn a_cancelled_visit_is_no_contact() {
        let mut memory = Memory::new();
        let visit = Happened::Visit {
            number: "y1".into(),
            facility: "0301P001".into(),
            segment: "pbi".into(),
            day: date(2026, 1, 1),
            sick: true,
        };
        let cancelled = Happened::VisitCancelled { number: "y1".into(), sick: true };
        let told = [&visit, &cancelled, &cancelled].map(|happened| count(&mut memory, happened));
        assert_eq!(
            told[0].deltas.iter().map(|d| d.counter).collect::<Vec<_>>(),
            [Counter::SickVisits, Counter::Visits]
        );
        assert!(sums(&told).is_empty());
    }
}
