//! A stored claim as the contract shows it, with its clocks read on the day of the answer.

use chassis::{Call, time};
use prost::Message as _;
use proto::claims::v1 as pb;

use super::{Policies, filing::filed};
use crate::{
    clock::{self, Times},
    error::Error,
    life::{Life, Party, State},
    store::claim::{Pending, Row, Step},
};

/// The part of a stored claim that decides what may happen next.
pub(super) fn life(row: &Row) -> Result<Life, Error> {
    let state = State::of(row.state).ok_or(Error::Unreadable("claim"))?;
    let asked = row.asked_of.and_then(Party::of);
    Ok(Life { state, round: row.round, asked, submitted: row.submitted_at.is_some() })
}

/// The event times of a claim as days.
pub(super) fn times(row: &Row) -> Times {
    Times {
        completed: row.discharged_on,
        submitted: row.submitted_at.map(time::today_at),
        filed: filed(row.filed_at, row.filing_outcome, row.filing_stated_on),
        came_back: row.came_back_at.map(time::today_at),
        asked: row.asked_at.map(time::today_at),
        paid: row.paid_on,
    }
}

/// A claim for the wire.
pub(super) fn claim(
    row: &Row,
    policies: &Policies,
    call: &Call,
    pendings: &[Pending],
    steps: &[Step],
) -> Result<pb::Claim, Error> {
    let decoded = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(pb::ClaimData::decode).transpose();
    let grouping = row.grouping.as_deref().map(pb::Grouping::decode).transpose();
    let unreadable = |_| Error::Unreadable("claim");
    let waiting_for = life(row)?.waiting_for();
    let clocks = clock::read(&policies.clock.on(row.service_date)?.rule, &times(row), call.today);
    let day = |day: Option<jiff::civil::Date>| day.map_or_else(String::new, |day| day.to_string());
    let payment = row.payment_reference.as_ref().map(|reference| pb::Payment {
        payment_reference: reference.clone(),
        amount_rupiah: row.paid_rupiah.unwrap_or_default(),
        paid_on: day(row.paid_on),
    });
    Ok(pb::Claim {
        claim_id: row.claim_id.to_string(),
        sep_number: row.sep_number.clone(),
        facility_code: row.facility_code.clone(),
        member_id: row.member_id.to_string(),
        care_type: row.care_type.into(),
        service_date: row.service_date.to_string(),
        state: row.state.into(),
        round: row.round,
        data: decoded(&row.data).map_err(unreadable)?,
        grouping: grouping.map_err(unreadable)?,
        pendings: pendings.iter().map(pending).collect::<Result<_, _>>()?,
        steps: steps
            .iter()
            .map(|step| pb::ClaimStep {
                state: step.state.into(),
                taken_at: Some(time::to_proto(step.taken_at)),
                taken_by: step.taken_by.clone(),
            })
            .collect(),
        clocks: Some(pb::ClaimClocks {
            filing_limit_on: day(clocks.filing_limit),
            void: clocks.void,
            completeness_due_on: day(clocks.completeness_due),
            payment_due_on: day(clocks.payment_due),
            age_days: clocks.age_days,
            late: clocks.late,
            waiting_for: waiting_for.map_or(0, |party| party as i32),
            pending_days: clocks.pending_days,
        }),
        submitted_at: row.submitted_at.map(time::to_proto),
        approved_rupiah: row.approved_rupiah.unwrap_or_default(),
        payment,
    })
}

pub(super) fn pending(round: &Pending) -> Result<pb::Pending, Error> {
    let unreadable = |_| Error::Unreadable("round of pending");
    let question = pb::Pending::decode(round.question.as_slice()).map_err(unreadable)?;
    let answer =
        round.answer.as_deref().map(pb::Pending::decode).transpose().map_err(unreadable)?.unwrap_or_default();
    Ok(pb::Pending {
        round: round.round,
        answered_at: round.answered_at.map(time::to_proto),
        answer: answer.answer,
        documents: answer.documents,
        ..question
    })
}
