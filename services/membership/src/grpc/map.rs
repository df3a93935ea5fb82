//! From the service's own words to those of the contract.

use chassis::time::to_proto;
use jiff::civil::Date;
use proto::membership::v1 as pb;
use vocabulary::{CareClass, Segment, Sex};

use crate::{
    contribution::{Line, State},
    eligibility::{Penalty, Reason},
    family::{Ended, Relation},
    fktp_choice::{self, Ground},
    registry::{Discrepancy, Verdict},
    store::{Posting, Record},
};

pub(crate) fn segment(segment: Segment) -> pb::Segment {
    match segment {
        Segment::PbiApbn => pb::Segment::Pbi,
        Segment::PbpuPemda => pb::Segment::Pemda,
        Segment::PpuPn => pb::Segment::PpuPn,
        Segment::PpuBu => pb::Segment::PpuBu,
        Segment::Pbpu => pb::Segment::Pbpu,
        Segment::Bp => pb::Segment::Bp,
    }
}

pub(crate) fn class(class: CareClass) -> pb::CareClass {
    match class {
        CareClass::One => pb::CareClass::CareClass1,
        CareClass::Two => pb::CareClass::CareClass2,
        CareClass::Three => pb::CareClass::CareClass3,
    }
}

pub(crate) fn sex_word(sex: Sex) -> &'static str {
    match sex {
        Sex::Male => "MALE",
        Sex::Female => "FEMALE",
    }
}

pub(crate) fn sex(word: &str) -> pb::Sex {
    match word {
        "MALE" => pb::Sex::Male,
        "FEMALE" => pb::Sex::Female,
        _ => pb::Sex::Unspecified,
    }
}

pub(crate) fn relation(word: &str) -> pb::Relation {
    match Relation::ALL.into_iter().find(|relation| relation.as_str() == word) {
        Some(Relation::Head) => pb::Relation::Head,
        Some(Relation::Spouse) => pb::Relation::Spouse,
        Some(Relation::Child) => pb::Relation::Child,
        Some(Relation::Other) => pb::Relation::Other,
        None => pb::Relation::Unspecified,
    }
}

fn status(ended_why: Option<&str>) -> pb::MembershipStatus {
    match Ended::ALL.into_iter().find(|ended| Some(ended.as_str()) == ended_why) {
        Some(Ended::Deceased) => pb::MembershipStatus::Deceased,
        Some(Ended::Abroad) => pb::MembershipStatus::Abroad,
        Some(Ended::Duplicate) => pb::MembershipStatus::Duplicate,
        None => pb::MembershipStatus::Registered,
    }
}

pub(crate) fn ground(ground: Ground) -> pb::FktpChangeGround {
    match ground {
        Ground::Choice => pb::FktpChangeGround::Choice,
        Ground::Moved => pb::FktpChangeGround::Moved,
        Ground::Assigned => pb::FktpChangeGround::Assigned,
    }
}

pub(crate) fn verdict(verdict: Verdict) -> pb::NikResult {
    match verdict {
        Verdict::Matched => pb::NikResult::Matched,
        Verdict::Discrepant => pb::NikResult::Discrepant,
        Verdict::NotFound => pb::NikResult::NotFound,
    }
}

pub(crate) fn nik_result(word: Option<&str>) -> pb::NikResult {
    Verdict::ALL
        .into_iter()
        .find(|one| Some(one.as_str()) == word)
        .map_or(pb::NikResult::Unspecified, verdict)
}

pub(crate) fn discrepancy(discrepancy: Discrepancy) -> pb::NikDiscrepancy {
    match discrepancy {
        Discrepancy::Name => pb::NikDiscrepancy::Name,
        Discrepancy::BirthDate => pb::NikDiscrepancy::BirthDate,
        Discrepancy::Sex => pb::NikDiscrepancy::Sex,
        Discrepancy::Deceased => pb::NikDiscrepancy::Deceased,
    }
}

pub(crate) fn ineligibility(reason: Reason) -> pb::IneligibilityReason {
    match reason {
        Reason::NotYetRegistered => pb::IneligibilityReason::NotYetRegistered,
        Reason::MembershipEnded => pb::IneligibilityReason::MembershipEnded,
        Reason::FirstContributionUnpaid => pb::IneligibilityReason::FirstContributionUnpaid,
        Reason::SuspendedForArrears => pb::IneligibilityReason::SuspendedForArrears,
    }
}

pub(crate) fn penalty(penalty: Penalty) -> pb::InpatientPenalty {
    pb::InpatientPenalty {
        reactivated_on: penalty.reactivated_on.to_string(),
        window_ends_on: penalty.window_ends_on.to_string(),
        months: count(penalty.months),
        basis_points_per_month: i32::try_from(penalty.basis_points_per_month).unwrap_or(i32::MAX),
        cap_rupiah: penalty.cap.get(),
        paid_by_employer: penalty.paid_by_employer,
    }
}

pub(crate) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(crate) fn month(month: Date) -> String {
    month.strftime("%Y-%m").to_string()
}

pub(crate) fn line(line: Line) -> pb::ContributionMonth {
    let state = match line.state {
        State::Paid => pb::ContributionState::Paid,
        State::Due => pb::ContributionState::Due,
        State::Overdue => pb::ContributionState::Overdue,
        State::Government => pb::ContributionState::Government,
        State::Lapsed => pb::ContributionState::Lapsed,
        State::NotOwed => pb::ContributionState::NotOwed,
    };
    let payment = line.payment.filter(|_| line.state == State::Paid);
    pb::ContributionMonth {
        month: month(line.month),
        due_on: line.due_on.to_string(),
        state: state.into(),
        charge_rupiah: line.charge.get(),
        paid_on: payment.as_ref().map(|payment| payment.paid_on.to_string()).unwrap_or_default(),
        posting_id: payment.map(|payment| payment.posting_id.to_string()).unwrap_or_default(),
    }
}

pub(crate) fn posting(posting: &Posting) -> pb::ContributionPosting {
    pb::ContributionPosting {
        posting_id: posting.posting_id.to_string(),
        family_id: posting.family_id.to_string(),
        bank: posting.bank.clone(),
        bank_reference: posting.bank_reference.clone(),
        amount_rupiah: posting.amount_rupiah,
        paid_on: posting.paid_on.to_string(),
        first_month: month(posting.first_month),
        last_month: month(posting.last_month),
        reactivated: posting.reactivated,
    }
}

/// The member as of today.
pub(crate) fn member(record: &Record, today: Date) -> pb::Member {
    let standing = standing(record, today);
    let next = record.choices.iter().find(|choice| choice.from > today);
    let discrepancies = Discrepancy::ALL
        .into_iter()
        .filter(|one| record.nik_discrepancies.iter().any(|word| word == one.as_str()))
        .map(|one| discrepancy(one).into());
    pb::Member {
        member_id: record.member_id.to_string(),
        family_id: record.family_id.to_string(),
        nik: record.nik.expose().clone(),
        card_number: record.card_number.expose().clone(),
        name: record.name.expose().clone(),
        birth_date: record.birth_date.to_string(),
        sex: standing.sex,
        relation: relation(&record.relation).into(),
        region_code: record.region_code.clone(),
        address: record.address.expose().clone(),
        phone: record.phone.expose().clone(),
        segment: standing.segment,
        care_class: standing.care_class,
        fktp_code: standing.fktp_code,
        covered_from: record.covered_from.to_string(),
        status: standing.status,
        ended_on: record.ended_on.map(|day| day.to_string()).unwrap_or_default(),
        nik_verification: record.nik_checked_at.map(|at| pb::NikVerification {
            result: nik_result(record.nik_result.as_deref()).into(),
            discrepancies: discrepancies.collect(),
            checked_at: Some(to_proto(at)),
        }),
        next_fktp_code: next.map(|choice| choice.fktp.to_string()).unwrap_or_default(),
        next_fktp_from: next.map(|choice| choice.from.to_string()).unwrap_or_default(),
        updated_at: Some(to_proto(record.updated_at)),
    }
}

/// Where a member is counted on a day; a day before the registration is taken for its first.
pub(crate) fn standing(record: &Record, day: Date) -> pb::Standing {
    let terms =
        record.terms.iter().find(|terms| terms.to.is_none_or(|to| day < to)).or_else(|| record.terms.last());
    let choice = fktp_choice::on(&record.choices, day).or_else(|| record.choices.first());
    pb::Standing {
        segment: terms.map_or(pb::Segment::Unspecified, |terms| segment(terms.segment)).into(),
        care_class: terms.map_or(pb::CareClass::Unspecified, |terms| class(terms.class)).into(),
        region_code: record.region_code.clone(),
        fktp_code: choice.map(|choice| choice.fktp.to_string()).unwrap_or_default(),
        status: status(record.ended_why.as_deref()).into(),
        sex: sex(&record.sex).into(),
        birth_year: i32::from(record.birth_date.year()),
    }
}
