//! Work lists over gRPC.

use std::collections::BTreeMap;

use chassis::{Call, Fields, page::Page, time};
use jiff::{ToSpan, civil::Date};
use proto::claims::v1::{self as pb, work_service_server::WorkService};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Claims, claim::answered, facility_scope, filing::filed, optional, sep};
use crate::{
    error::Error,
    life::{Life, Party, State},
    store::{self, work::Row},
    work::{self, Times},
};

#[tonic::async_trait]
impl WorkService for Claims {
    async fn list_work(
        &self,
        request: Request<pb::ListWorkRequest>,
    ) -> Result<Response<pb::ListWorkResponse>, Status> {
        answered!(self, request, work)
    }

    async fn summarise_work(
        &self,
        request: Request<pb::SummariseWorkRequest>,
    ) -> Result<Response<pb::SummariseWorkResponse>, Status> {
        answered!(self, request, work_sums)
    }
}

impl Claims {
    async fn work(&self, call: &Call, message: pb::ListWorkRequest) -> Result<pb::ListWorkResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| {
            let read = place(key);
            fields.require(
                "page_token",
                read.is_some(),
                "must be a next_page_token of an answer to the same list",
            );
            read
        });
        let facility_code = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let party = pb::Party::try_from(message.waiting_for);
        fields.require("waiting_for", party.is_ok(), "a value of Party, or unspecified for all");
        let party = party.ok().and_then(|party| Party::of(party as i16));
        let reason = pb::PendingReason::try_from(message.reason);
        fields.require("reason", reason.is_ok(), "a value of PendingReason, or unspecified for all");
        let as_of = optional(&mut fields, "as_of", &message.as_of, vocabulary::date).unwrap_or(call.today);
        let bounded = (0..=100_000).contains(&message.min_age_days);
        fields.require("min_age_days", bounded, "0 to 100000");
        fields.finish()?;
        let filter = store::work::Filter {
            facility_code,
            states: party.map(waiting_states),
            party: party.map(|party| party as i16),
            reason: reason.ok().filter(|r| *r != pb::PendingReason::Unspecified).map(|r| r as i16),
            begun_by: as_of.saturating_sub(i64::from(message.min_age_days).days()),
            after,
            limit: page.size + 1,
        };
        let mut rows = store::work::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token =
            sep::next(&mut rows, page.size, |row| format!("{}|{}", row.begun_on, row.claim_id));
        let items = rows.iter().map(|row| self.item(row, as_of)).collect::<Result<_, _>>()?;
        Ok(pb::ListWorkResponse { items, next_page_token })
    }

    fn item(&self, row: &Row, as_of: Date) -> Result<pb::WorkItem, Error> {
        let life = row.life()?;
        let times = Times {
            completed: row.discharged_on,
            submitted: row.submitted_at.map(time::today_at),
            filed: filed(row.filed_at, row.filing_outcome, row.filing_stated_on),
            came_back: row.came_back_at.map(time::today_at),
            disputed: row.disputed_at.map(time::today_at),
        };
        let periods = &self.policies.clock.on(row.service_date)?.rule;
        let disputes = &self.policies.dispute.on(row.service_date)?.rule;
        let clocks = work::clocks(periods, disputes, life, &times, as_of);
        let last_step = time::today_at(row.last_step_at);
        Ok(pb::WorkItem {
            claim_id: row.claim_id.to_string(),
            sep_number: row.sep_number.clone(),
            facility_code: row.facility_code.clone(),
            care_type: row.care_type.into(),
            state: row.state.into(),
            waiting_for: life.waiting_for().map_or(0, |party| party as i32),
            round: row.round,
            reason: row.pending_reason.unwrap_or_default().into(),
            amount_rupiah: row.tariff_rupiah.unwrap_or_default(),
            begun_on: row.begun_on.to_string(),
            age_days: work::age(row.begun_on, as_of),
            last_step_on: last_step.to_string(),
            idle_days: work::age(last_step, as_of),
            clocks: clocks
                .into_iter()
                .map(|reading| pb::WorkClockReading {
                    clock: reading.clock as i32,
                    due_on: reading.due.to_string(),
                    passed: reading.passed,
                    days_left: reading.days_left,
                })
                .collect(),
        })
    }

    async fn work_sums(
        &self,
        call: &Call,
        message: pb::SummariseWorkRequest,
    ) -> Result<pb::SummariseWorkResponse, Status> {
        let mut fields = Fields::new();
        let facility_code = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let as_of = optional(&mut fields, "as_of", &message.as_of, vocabulary::date).unwrap_or(call.today);
        fields.finish()?;
        let bands = &self.policies.bands.on(as_of)?.rule;
        let rows = store::work::sums(&self.db.pool, facility_code.as_deref(), as_of).await;
        let mut sums = BTreeMap::<_, (i64, i64)>::new();
        for row in rows.map_err(Error::from)? {
            let state = State::of(row.state).ok_or(Error::Unreadable("claim"))?;
            let asked = row.asked_of.and_then(Party::of);
            let party = Life { state, round: 0, asked, submitted: true }.waiting_for();
            let band = bands.of(work::age(row.begun_on, as_of));
            let key = (party.map_or(0, |party| party as i32), row.reason.unwrap_or_default(), band.0, band.1);
            let sum = sums.entry(key).or_default();
            *sum = (sum.0 + row.claims, sum.1.saturating_add(row.amount_rupiah));
        }
        let sums = sums.into_iter().map(|((party, reason, from_days, to_days), (claims, amount_rupiah))| {
            pb::WorkSum {
                waiting_for: party,
                reason: reason.into(),
                from_days,
                to_days,
                claims,
                amount_rupiah,
            }
        });
        Ok(pb::SummariseWorkResponse { as_of: as_of.to_string(), sums: sums.collect() })
    }
}

impl Row {
    fn life(&self) -> Result<Life, Error> {
        let state = State::of(self.state).ok_or(Error::Unreadable("claim"))?;
        let asked = self.asked_of.and_then(Party::of);
        Ok(Life { state, round: self.round, asked, submitted: self.submitted_at.is_some() })
    }
}

/// The states in which a claim waits for a party whatever its round says; the others depend on who is asked.
fn waiting_states(party: Party) -> Vec<i16> {
    State::ALL
        .into_iter()
        .filter(|state| {
            let life = Life { state: *state, round: 0, asked: None, submitted: true };
            life.waiting_for() == Some(party)
        })
        .map(|state| state as i16)
        .collect()
}

/// The day and id of the last row of a page.
fn place(key: &str) -> Option<(Date, Uuid)> {
    let (day, id) = key.split_once('|')?;
    Some((vocabulary::date(day).ok()?, Uuid::try_parse(id).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indexes_of_the_work_lists_leave_out_exactly_what_nobody_owes_a_step_on() {
        // The statements and the indexes say: state not in (9, 10, 12), and that only 5 depends on who is asked.
        let closed: Vec<_> = State::ALL
            .into_iter()
            .filter(|state| {
                [None, Some(Party::Hospital), Some(Party::Bpjs)].into_iter().all(|asked| {
                    Life { state: *state, round: 1, asked, submitted: true }.waiting_for().is_none()
                })
            })
            .map(|state| state as i16)
            .collect();
        assert_eq!(closed, [9, 10, 12]);
        let all = [Party::Hospital, Party::Bpjs, Party::DisputeBody].map(waiting_states).concat();
        let asked: Vec<_> =
            (1..=12i16).filter(|state| !closed.contains(state) && !all.contains(state)).collect();
        assert_eq!(asked, [5]);
    }
}
