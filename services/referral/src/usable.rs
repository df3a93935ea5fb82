//! Whether a referral may be used for a service on a day: the answer a SEP rests on.

use jiff::{Timestamp, civil::Date};
use vocabulary::{FacilityCode, MemberId, Poli};

use crate::{course::Terms, letter::Letter};

/// The service for which the referral would be used.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its day.
    pub date: Date,
    /// The facility that gives it.
    pub facility: FacilityCode,
    /// The clinic that gives it; `None` when no clinic is to be compared.
    pub poli: Option<Poli>,
    /// The member who gets it.
    pub member_id: MemberId,
}

/// Why a referral may not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// There is none with the number.
    UnknownNumber,
    /// The day lies after the validity.
    ValidityEnded,
    /// The day lies before the referral.
    BeforeReferralDate,
    /// Another facility.
    OtherFacility,
    /// Another clinic.
    OtherClinic,
    /// Another member.
    OtherMember,
    /// It needs an acceptance and has none.
    NotAccepted,
    /// Refused.
    Refused,
    /// Cancelled.
    Cancelled,
    /// Completed before the day.
    Completed,
}

/// Every reason why the referral may not be used for the service; empty when it may. `day_of` tells the day on which
/// an instant falls.
#[must_use]
pub fn hindrances(
    letter: &Letter,
    terms: &Terms,
    service: &Service,
    day_of: impl Fn(Timestamp) -> Date,
) -> Vec<Unusable> {
    let times = &letter.times;
    let not_accepted = terms.answer_due_at.is_some() && times.accepted_at.is_none();
    let completed_before = times.completed_at.is_some_and(|at| day_of(at) < service.date);
    [
        (service.date > terms.valid_through, Unusable::ValidityEnded),
        (service.date < letter.referral_date, Unusable::BeforeReferralDate),
        (letter.destination != service.facility, Unusable::OtherFacility),
        (service.poli.is_some_and(|poli| poli != letter.poli), Unusable::OtherClinic),
        (letter.member_id != service.member_id, Unusable::OtherMember),
        (not_accepted && times.refused_at.is_none() && times.cancelled_at.is_none(), Unusable::NotAccepted),
        (times.refused_at.is_some(), Unusable::Refused),
        (times.cancelled_at.is_some(), Unusable::Cancelled),
        (completed_before, Unusable::Completed),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect()
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan, civil::date};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::tests::clock,
        letter::{CareType, tests::letter},
    };

    fn sample(care: CareType) -> Letter {
        letter(care, date(2026, 3, 2), "2026-03-02T02:00:00Z".parse().unwrap())
    }

    fn service(letter: &Letter, on: Date) -> Service {
        Service {
            date: on,
            facility: letter.destination.clone(),
            poli: Some(letter.poli),
            member_id: letter.member_id,
        }
    }

    fn judged(letter: &Letter, service: &Service) -> Vec<Unusable> {
        hindrances(letter, &clock().terms(letter), service, chassis::time::today_at)
    }

    #[test]
    fn day_ninety_is_usable_and_day_ninety_one_is_not() {
        let letter = sample(CareType::Outpatient);
        assert_eq!(judged(&letter, &service(&letter, date(2026, 3, 2))), []);
        assert_eq!(judged(&letter, &service(&letter, date(2026, 5, 31))), []);
        assert_eq!(judged(&letter, &service(&letter, date(2026, 6, 1))), [Unusable::ValidityEnded]);
        assert_eq!(judged(&letter, &service(&letter, date(2026, 3, 1))), [Unusable::BeforeReferralDate]);
    }

    #[test]
    fn only_in_patient_and_emergency_care_need_an_acceptance() {
        for (care, expected) in [
            (CareType::Outpatient, vec![]),
            (CareType::Inpatient, vec![Unusable::NotAccepted]),
            (CareType::Emergency, vec![Unusable::NotAccepted]),
        ] {
            let mut letter = sample(care);
            assert_eq!(judged(&letter, &service(&letter, date(2026, 3, 3))), expected);
            letter.times.accepted_at = Some(letter.times.sent_at);
            assert_eq!(judged(&letter, &service(&letter, date(2026, 3, 3))), []);
        }
    }

    #[test]
    fn every_difference_is_named() {
        let mut letter = sample(CareType::Outpatient);
        letter.times.refused_at = Some(letter.times.sent_at);
        let other = Service {
            date: date(2026, 6, 1),
            facility: letter.origin.clone(),
            poli: Poli::parse("MAT").ok(),
            member_id: MemberId::new(),
        };
        assert_eq!(
            judged(&letter, &other),
            [
                Unusable::ValidityEnded,
                Unusable::OtherFacility,
                Unusable::OtherClinic,
                Unusable::OtherMember,
                Unusable::Refused
            ]
        );
    }

    #[test]
    fn a_completed_referral_still_covers_its_last_day() {
        let mut letter = sample(CareType::Outpatient);
        letter.times.arrived_at = Some("2026-03-04T02:00:00Z".parse().unwrap());
        letter.times.completed_at = Some("2026-03-04T09:00:00Z".parse().unwrap());
        assert_eq!(judged(&letter, &service(&letter, date(2026, 3, 4))), []);
        assert_eq!(judged(&letter, &service(&letter, date(2026, 3, 5))), [Unusable::Completed]);
    }

    proptest! {
        #[test]
        fn usable_means_within_the_days_of_validity(offset in -200_i64..300) {
            let letter = sample(CareType::Outpatient);
            let on = letter.referral_date + offset.days();
            prop_assert_eq!(judged(&letter, &service(&letter, on)).is_empty(), (0..=90).contains(&offset));
        }
    }
}
