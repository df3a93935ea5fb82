//! A visit: when it may be entered, where a member may be seen, and how it goes on until it ends.

use chassis::policy::Rule;
use jiff::{Timestamp, ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::{FacilityCode, MemberId, Poli, ReferralNumber, RegionCode, VisitNumber};

use crate::{
    code::coded, diagnosis::Diagnoses, drug::Drug, laboratory::LaboratoryResults, referral::Tacc,
    vital_signs::VitalSigns,
};

coded! {
    /// Why the member came.
    Kind {
        /// Sick.
        Sick = "sick",
        /// Healthy, e.g. for screening.
        Healthy = "healthy",
        /// The facility came to the member.
        Home = "home",
    }
}

coded! {
    /// Where a visit stands.
    State {
        /// Registered, not examined.
        Registered = "registered",
        /// Something was recorded.
        Examined = "examined",
        /// Ended without a referral.
        Discharged = "discharged",
        /// Ended in a referral.
        Referred = "referred",
        /// Cancelled before the end.
        Cancelled = "cancelled",
    }
}

coded! {
    /// How a visit ended (kdStatusPulang).
    Discharge {
        /// Recovered, 0.
        Recovered = "recovered",
        /// Died, 1.
        Died = "died",
        /// Left against advice, 2.
        LeftAgainstAdvice = "left-against-advice",
        /// Goes on as an out-patient, 3.
        Outpatient = "outpatient",
        /// Referred, 4.
        Referred = "referred",
        /// Sent to another clinic of the facility, 5.
        Internal = "internal",
        /// Other, 9.
        Other = "other",
    }
}

/// When a visit may be entered and where a member may be seen: `policy/primary-care/visit.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VisitPolicy {
    /// Days back from the day of entry that a visit date may lie.
    pub late_entry_days: u16,
    /// Visits per member and calendar month out of the area of the registered facility.
    pub outside_visits_per_month: u16,
}

impl Rule for VisitPolicy {
    fn check(&self) -> Result<(), String> {
        if self.late_entry_days > 3650 {
            return Err("late-entry-days must be at most 3650".to_owned());
        }
        Ok(())
    }
}

/// Why something may not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The visit date lies too far back.
    #[error(
        "the visit date lies before {earliest}, the first that may still be entered; settle the visit with the branch office"
    )]
    EnteredTooLate {
        /// The first day that may still be entered.
        earliest: Date,
    },
    /// The member belongs to another facility of the area.
    #[error(
        "the member is registered at another facility of this area; send the member to {registered}, or register an emergency as one"
    )]
    RegisteredElsewhere {
        /// Where the member is registered.
        registered: FacilityCode,
    },
    /// The visits out of the area are used up.
    #[error(
        "the member has had {allowed} visits out of the area this month, all that are allowed; send the member to {registered}"
    )]
    OutsideVisitsUsedUp {
        /// Where the member is registered.
        registered: FacilityCode,
        /// How many are allowed.
        allowed: u16,
    },
    /// The visit has ended.
    #[error("the visit is {}; register a new one if the member came again", state.code())]
    Closed {
        /// How it stands.
        state: State,
    },
    /// A referral of it is under way.
    #[error(
        "a referral of this visit is under way and its outcome is not known yet; repeat the same ReferVisit call first"
    )]
    ReferralUnderWay,
    /// There is no diagnosis.
    #[error("the visit has no diagnosis; record one first")]
    DiagnosisMissing,
    /// Nothing was examined.
    #[error("nothing was examined; record vital signs or diagnoses first")]
    NotExamined,
}

/// Whether a visit of a day, not later than today, may still be entered.
///
/// # Errors
/// When it lies too far back.
pub fn may_enter(visit_date: Date, today: Date, policy: &VisitPolicy) -> Result<(), Refusal> {
    let earliest = today.saturating_sub(i64::from(policy.late_entry_days).days());
    if visit_date < earliest { Err(Refusal::EnteredTooLate { earliest }) } else { Ok(()) }
}

/// On what ground a facility sees a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The member is registered there.
    Registered,
    /// It is an emergency.
    Emergency,
    /// The member is out of the area of the registered facility: counted.
    OutOfArea,
}

/// On what ground the facility may see the member.
///
/// # Errors
/// When the member is registered at another facility of the same area.
pub fn ground(
    facility: &FacilityCode,
    registered: &FacilityCode,
    emergency: bool,
) -> Result<Ground, Refusal> {
    if facility == registered {
        Ok(Ground::Registered)
    } else if emergency {
        Ok(Ground::Emergency)
    } else if facility.area() != registered.area() {
        Ok(Ground::OutOfArea)
    } else {
        Err(Refusal::RegisteredElsewhere { registered: registered.clone() })
    }
}

/// Whether the member may have one more visit out of the area, after `used` in the same month.
///
/// # Errors
/// When they are used up.
pub fn one_more_outside(used: i64, registered: &FacilityCode, policy: &VisitPolicy) -> Result<(), Refusal> {
    let allowed = policy.outside_visits_per_month;
    if used < i64::from(allowed) {
        Ok(())
    } else {
        Err(Refusal::OutsideVisitsUsedUp { registered: registered.clone(), allowed })
    }
}

/// How far a visit is, as far as the rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Why the member came.
    pub kind: Kind,
    /// Where the visit stands.
    pub state: State,
    /// Whether there is a diagnosis.
    pub diagnosed: bool,
    /// Whether a referral was asked for and its outcome is not known.
    pub referral_under_way: bool,
}

impl Progress {
    /// Something is recorded: the state after it.
    ///
    /// # Errors
    /// When the visit has ended or is being referred.
    pub fn examine(self) -> Result<State, Refusal> {
        self.settled()?;
        Ok(State::Examined)
    }

    /// The visit ends without a referral: the state after it.
    ///
    /// # Errors
    /// When the visit has ended or is being referred, or what it must hold is missing.
    pub fn discharge(self) -> Result<State, Refusal> {
        self.settled()?;
        match (self.state, self.kind) {
            (State::Registered, _) => Err(Refusal::NotExamined),
            (_, Kind::Sick | Kind::Home) if !self.diagnosed => Err(Refusal::DiagnosisMissing),
            _ => Ok(State::Discharged),
        }
    }

    /// The visit ends in a referral: the state after it.
    ///
    /// # Errors
    /// When the visit has ended or has no diagnosis.
    pub fn refer(self) -> Result<State, Refusal> {
        self.open()?;
        if self.diagnosed { Ok(State::Referred) } else { Err(Refusal::DiagnosisMissing) }
    }

    /// The visit is cancelled: the state after it.
    ///
    /// # Errors
    /// When the visit has ended or is being referred.
    pub fn cancel(self) -> Result<State, Refusal> {
        self.settled()?;
        Ok(State::Cancelled)
    }

    fn open(self) -> Result<(), Refusal> {
        match self.state {
            State::Registered | State::Examined => Ok(()),
            state => Err(Refusal::Closed { state }),
        }
    }

    fn settled(self) -> Result<(), Refusal> {
        self.open()?;
        if self.referral_under_way { Err(Refusal::ReferralUnderWay) } else { Ok(()) }
    }
}

/// What membership answered about the member on the visit date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Id of the answer.
    pub answer_id: String,
    /// When it was given.
    pub answered_at: Timestamp,
    /// Segment in force, by its name in membership's contract.
    pub segment: String,
    /// Where the member was registered.
    pub registered_fktp: FacilityCode,
    /// Where the member lives, when membership said so.
    pub region: Option<RegionCode>,
}

/// A referral that was asked for and whose outcome is not known yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// Under which key it was asked for.
    pub request_id: String,
    /// The request, word for word.
    pub request: Vec<u8>,
}

/// The referral in which a visit ended.
#[derive(Clone, PartialEq, Eq)]
pub struct Referred {
    /// Its number.
    pub number: ReferralNumber,
    /// Where to.
    pub destination: FacilityCode,
    /// To which clinic.
    pub poli: Poli,
    /// Whether a first-level facility treats the primary diagnosis itself.
    pub non_specialist: bool,
    /// Why it was referred all the same.
    pub tacc: Option<Tacc>,
}

/// A visit. It has no `Debug`: it holds health data.
#[derive(Clone, PartialEq, Eq)]
pub struct Visit {
    /// Its number.
    pub number: VisitNumber,
    /// The facility.
    pub facility: FacilityCode,
    /// The member.
    pub member: MemberId,
    /// Why the member came.
    pub kind: Kind,
    /// Where the visit stands.
    pub state: State,
    /// The day.
    pub date: Date,
    /// When it was entered.
    pub registered_at: Timestamp,
    /// Whether it was an emergency.
    pub emergency: bool,
    /// What the member complains of; may be empty.
    pub complaint: String,
    /// What membership answered.
    pub evidence: Evidence,
    /// What was measured.
    pub vital_signs: VitalSigns,
    /// What the laboratory found.
    pub laboratory: LaboratoryResults,
    /// What was found.
    pub diagnoses: Option<Diagnoses>,
    /// What was handed out.
    pub drugs: Vec<Drug>,
    /// How and when it ended.
    pub discharge: Option<(Discharge, Date)>,
    /// Why it was cancelled; empty when it was not.
    pub cancel_note: String,
    /// A referral under way.
    pub pending: Option<Pending>,
    /// The referral it ended in.
    pub referred: Option<Referred>,
}

impl Visit {
    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            kind: self.kind,
            state: self.state,
            diagnosed: self.diagnoses.is_some(),
            referral_under_way: self.pending.is_some(),
        }
    }

    /// Whether the member was registered at the facility on the day.
    #[must_use]
    pub fn registered_here(&self) -> bool {
        self.evidence.registered_fktp == self.facility
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn policy() -> VisitPolicy {
        VisitPolicy { late_entry_days: 180, outside_visits_per_month: 3 }
    }

    fn code(text: &str) -> FacilityCode {
        FacilityCode::parse(text).unwrap()
    }

    #[test]
    fn the_policy_that_is_compiled_in_holds() {
        let text = include_str!("../../../policy/primary-care/visit.toml");
        let policy = chassis::policy::parse::<VisitPolicy>("primary-care/visit.toml", text).unwrap();
        assert_eq!(policy.on(date(2026, 1, 1)).unwrap().outside_visits_per_month, 3);
    }

    #[test]
    fn the_last_day_of_late_entry_counts() {
        let today = date(2026, 11, 22);
        assert_eq!(may_enter(date(2026, 5, 26), today, &policy()), Ok(()));
        assert_eq!(
            may_enter(date(2026, 5, 25), today, &policy()),
            Err(Refusal::EnteredTooLate { earliest: date(2026, 5, 26) })
        );
    }

    #[test]
    fn a_member_is_seen_at_home_out_of_the_area_or_in_an_emergency() {
        let home = code("0301U001");
        assert_eq!(ground(&home, &home, false), Ok(Ground::Registered));
        assert_eq!(ground(&home, &home, true), Ok(Ground::Registered));
        assert_eq!(ground(&code("0402U001"), &home, false), Ok(Ground::OutOfArea));
        assert_eq!(ground(&code("0301U002"), &home, true), Ok(Ground::Emergency));
        assert_eq!(
            ground(&code("0301U002"), &home, false),
            Err(Refusal::RegisteredElsewhere { registered: home.clone() })
        );
        assert_eq!(one_more_outside(2, &home, &policy()), Ok(()));
        assert_eq!(
            one_more_outside(3, &home, &policy()),
            Err(Refusal::OutsideVisitsUsedUp { registered: home, allowed: 3 })
        );
    }

    #[test]
    fn a_healthy_visit_ends_without_a_diagnosis_and_a_sick_one_does_not() {
        let examined =
            |kind| Progress { kind, state: State::Examined, diagnosed: false, referral_under_way: false };
        assert_eq!(examined(Kind::Healthy).discharge(), Ok(State::Discharged));
        assert_eq!(examined(Kind::Sick).discharge(), Err(Refusal::DiagnosisMissing));
        assert_eq!(examined(Kind::Home).refer(), Err(Refusal::DiagnosisMissing));
        let registered = Progress { state: State::Registered, ..examined(Kind::Healthy) };
        assert_eq!(registered.discharge(), Err(Refusal::NotExamined));
    }

    fn any_progress() -> impl Strategy<Value = Progress> {
        let kind = proptest::sample::select(Kind::ALL);
        let state = proptest::sample::select(State::ALL);
        (kind, state, any::<bool>(), any::<bool>()).prop_map(
            |(kind, state, diagnosed, referral_under_way)| Progress {
                kind,
                state,
                diagnosed,
                referral_under_way,
            },
        )
    }

    proptest! {
        #[test]
        fn what_has_ended_stays_as_it_is(progress in any_progress()) {
            let steps = [progress.examine(), progress.discharge(), progress.refer(), progress.cancel()];
            if matches!(progress.state, State::Discharged | State::Referred | State::Cancelled) {
                for step in steps {
                    prop_assert_eq!(step, Err(Refusal::Closed { state: progress.state }));
                }
            }
        }

        #[test]
        fn a_referral_under_way_lets_nothing_else_happen(progress in any_progress()) {
            let progress = Progress { referral_under_way: true, ..progress };
            for step in [progress.examine(), progress.discharge(), progress.cancel()] {
                prop_assert!(step.is_err());
            }
        }

        #[test]
        fn late_entry_is_counted_in_days(back in 0i64..400) {
            let today = date(2026, 11, 22);
            let entered = may_enter(today.saturating_sub(back.days()), today, &policy());
            prop_assert_eq!(entered.is_ok(), back <= 180);
        }

        #[test]
        fn codes_are_read_back(kind in proptest::sample::select(Kind::ALL), state in proptest::sample::select(State::ALL), end in proptest::sample::select(Discharge::ALL)) {
            prop_assert_eq!(Kind::of_code(kind.code()), Some(kind));
            prop_assert_eq!(State::of_code(state.code()), Some(state));
            prop_assert_eq!(Discharge::of_code(end.code()), Some(end));
        }
    }
}
