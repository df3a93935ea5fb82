//! Collective filings and their completeness record.

use chassis::{Begun, Call, Fields, Mutation, RequestId, page::Page, time};
use jiff::{Timestamp, ToSpan, civil::Date};
use prost::Message as _;
use proto::claims::v1 as pb;
use tonic::Status;
use uuid::Uuid;

use super::{Claims, claim_data, claim_read::claim_id, facility_scope, sep};
use crate::{
    error::Error,
    filing::{Standing, Stated, Times},
    store::{self, filing::Row},
};

/// The event times of a filing, from what is stored of it.
pub(super) fn filed(at: Option<Timestamp>, outcome: Option<i16>, stated_on: Option<Date>) -> Option<Times> {
    let stated = stated_on.zip(outcome.and_then(Stated::of));
    at.map(|at| Times { filed: time::today_at(at), stated })
}

fn month_of(day: Date) -> String {
    day.strftime("%Y-%m").to_string()
}

impl Claims {
    pub(super) async fn file(
        &self,
        call: &Call,
        message: pb::FileMonthRequest,
    ) -> Result<pb::FileMonthResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let month = fields.parse("month", vocabulary::month(&message.month));
        fields.require("month", month.is_none_or(|month| month <= call.today), "must not lie in the future");
        fields.require("claims", message.claims > 0, "the number of claims of the recapitulation");
        fields.require("claims_rupiah", message.claims_rupiah > 0, "their amount in whole rupiah");
        fields.require("documents", !message.documents.is_empty(), "1 to 50 papers of the filing");
        claim_data::documents(&mut fields, "documents", &message.documents);
        let (Some(request_id), Some(month)) = (request_id, month) else { return Err(fields.into()) };
        fields.finish()?;
        let facility_code = call.caller.id.clone();
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            store::filing::lock_facility(write.connection(), &facility_code).await?;
            let next = month.saturating_add(1.month());
            let held = store::filing::unfiled(write.connection(), &facility_code, month, next).await?;
            if held.is_empty() {
                return Err(Error::NothingToFile);
            }
            let rupiah = held.iter().fold(0i64, |sum, (_, amount)| sum.saturating_add(*amount));
            if usize::try_from(message.claims) != Ok(held.len()) || message.claims_rupiah != rupiah {
                return Err(Error::RecapitulationDiffers { claims: held.len(), rupiah });
            }
            let papers = pb::Filing { documents: message.documents, ..pb::Filing::default() };
            let number = store::filing::count(write.connection(), &facility_code, month).await? + 1;
            let row = Row {
                filing_id: Uuid::now_v7(),
                facility_code,
                month,
                number,
                claims: message.claims,
                claims_rupiah: rupiah,
                filed_at: call.received_at,
                papers: papers.encode_to_vec(),
                outcome: None,
                stated_on: None,
                note: String::new(),
            };
            store::filing::file(write.connection(), &row, &held).await?;
            let event = pb::MonthFiled {
                filing_id: row.filing_id.to_string(),
                facility_code: row.facility_code.clone(),
                month: month_of(row.month),
                number: row.number,
                claims: row.claims,
                claims_rupiah: row.claims_rupiah,
                filed_on: call.today.to_string(),
            };
            write.emit(&event.filing_id, &event).await?;
            let filing = Some(self.filing_shown(&row, call)?);
            Ok(write.commit(pb::FileMonthResponse { filing }).await?)
        };
        Ok(answer.await?)
    }

    pub(super) async fn state(
        &self,
        call: &Call,
        message: pb::StateCompletenessRequest,
    ) -> Result<pb::StateCompletenessResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "filing_id", &message.filing_id);
        let stated = i16::try_from(message.completeness).ok().and_then(Stated::of);
        fields.require("completeness", stated.is_some(), "COMPLETENESS_COMPLETE or COMPLETENESS_RETURNED");
        let note = if stated == Some(Stated::Returned) {
            fields.parse("note", vocabulary::text(&message.note, 500))
        } else {
            fields.require("note", message.note.is_empty(), "must be empty unless it is returned");
            Some(String::new())
        };
        let (Some(request_id), Some(id), Some(stated), Some(note)) = (request_id, id, stated, note) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            let mut row = store::filing::lock(write.connection(), id).await?.ok_or(Error::NoFiling)?;
            let periods = &self.policies.clock.on(row.month)?.rule;
            let times = row.times()?;
            if !times.may_state(periods, stated, call.today) {
                let on = row.stated_on.or_else(|| times.complete_on(periods)).unwrap_or(call.today);
                return Err(Error::CompletenessStated(times.standing(periods, call.today), on));
            }
            if row.outcome.is_none() {
                (row.outcome, row.stated_on, row.note) = (Some(stated as i16), Some(call.today), note);
                store::filing::state(write.connection(), &row).await?;
                let event = pb::CompletenessStated {
                    filing_id: row.filing_id.to_string(),
                    facility_code: row.facility_code.clone(),
                    month: month_of(row.month),
                    number: row.number,
                    completeness: message.completeness,
                    stated_on: call.today.to_string(),
                };
                write.emit(&event.filing_id, &event).await?;
            }
            let filing = Some(self.filing_shown(&row, call)?);
            Ok(write.commit(pb::StateCompletenessResponse { filing }).await?)
        };
        Ok(answer.await?)
    }

    pub(super) async fn one_filing(
        &self,
        call: &Call,
        message: pb::GetFilingRequest,
    ) -> Result<pb::GetFilingResponse, Error> {
        let mut fields = Fields::new();
        let Some(id) = claim_id(&mut fields, "filing_id", &message.filing_id) else {
            return Err(fields.into());
        };
        let found = store::filing::get(&self.db.pool, id, call.caller.facility()).await?;
        Ok(pb::GetFilingResponse { filing: Some(self.filing_shown(&found.ok_or(Error::NoFiling)?, call)?) })
    }

    pub(super) async fn filings(
        &self,
        call: &Call,
        message: pb::ListFilingsRequest,
    ) -> Result<pb::ListFilingsResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key));
        let facility_code = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        fields.finish()?;
        let rows = store::filing::list(&self.db.pool, facility_code.as_deref(), after, page.size + 1).await;
        let mut rows = rows.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.filing_id.to_string());
        let filings = rows.iter().map(|row| self.filing_shown(row, call)).collect::<Result<_, _>>()?;
        Ok(pb::ListFilingsResponse { filings, next_page_token })
    }

    fn filing_shown(&self, row: &Row, call: &Call) -> Result<pb::Filing, Error> {
        let papers = pb::Filing::decode(row.papers.as_slice()).map_err(|_| Error::Unreadable("filing"))?;
        let times = row.times()?;
        let periods = &self.policies.clock.on(row.month)?.rule;
        let until = self.policies.filing.on(row.month)?.rule.regular_until(row.month);
        let standing = times.standing(periods, call.today);
        let complete = times.complete_on(periods);
        let day = |day: Option<Date>| day.map_or_else(String::new, |day| day.to_string());
        Ok(pb::Filing {
            filing_id: row.filing_id.to_string(),
            facility_code: row.facility_code.clone(),
            month: month_of(row.month),
            number: row.number,
            claims: row.claims,
            claims_rupiah: row.claims_rupiah,
            filed_at: Some(time::to_proto(row.filed_at)),
            in_time: times.filed <= until,
            state: match standing {
                Standing::Awaiting => pb::FilingState::Awaiting,
                Standing::Complete => pb::FilingState::Complete,
                Standing::Deemed => pb::FilingState::DeemedComplete,
                Standing::Returned => pb::FilingState::Returned,
            }
            .into(),
            completeness_due_on: periods.completeness_due(times.filed).to_string(),
            stated_on: day(row.stated_on),
            complete_on: day(complete.filter(|_| standing.complete())),
            payment_due_on: day(complete.map(|day| periods.payment_due(day))),
            note: row.note.clone(),
            ..papers
        })
    }
}

impl Row {
    fn times(&self) -> Result<Times, Error> {
        filed(Some(self.filed_at), self.outcome, self.stated_on).ok_or(Error::Unreadable("filing"))
    }
}
