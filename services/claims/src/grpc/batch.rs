//! Payment batches: opened, posted to, closed, paid. The payment of a single claim goes the same way at once.

use std::collections::BTreeSet;

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use jiff::civil::Date;
use proto::claims::v1 as pb;
use tonic::Status;
use uuid::Uuid;
use vocabulary::{FacilityCode, Rupiah};

use super::{Claims, claim_read::claim_id, facility_scope, filing::filed, sep};
use crate::{
    error::Error,
    filing,
    ledger::{self, Entry, Totals},
    life::{Life, State, Step},
    payment::{self, MOST_CLAIMS},
    store::{
        self,
        batch::{Claim, Row},
        claim,
        ledger::Posting,
    },
};

/// Most claims in one call of PostClaims.
const MOST_POSTED: usize = 500;

impl Claims {
    pub(super) async fn begin_batch(
        &self,
        call: &Call,
        message: pb::OpenBatchRequest,
    ) -> Result<pb::OpenBatchResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let facility = fields.parse("facility_code", FacilityCode::parse(&message.facility_code));
        let (Some(request_id), Some(facility)) = (request_id, facility) else { return Err(fields.into()) };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let facility_code = facility.as_str().to_owned();
        store::filing::lock_facility(write.connection(), &facility_code).await?;
        if let Some(open) = store::batch::open_of(write.connection(), &facility_code).await? {
            return Err(Error::BatchIsOpen(open));
        }
        let row = Row {
            batch_id: Uuid::now_v7(),
            facility_code,
            single: false,
            opened_at: call.received_at,
            closed_at: None,
            claims: 0,
            totals: Totals::default(),
            payment_reference: None,
            paid_on: None,
        };
        store::batch::open(write.connection(), &row, &call.caller.to_string()).await?;
        Ok(write.commit(pb::OpenBatchResponse { batch: Some(shown(&row)) }).await?)
    }

    pub(super) async fn post(
        &self,
        call: &Call,
        message: pb::PostClaimsRequest,
    ) -> Result<pb::PostClaimsResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let batch_id = claim_id(&mut fields, "batch_id", &message.batch_id);
        let ids = posted_ids(&mut fields, &message.claim_ids);
        let (Some(request_id), Some(batch_id)) = (request_id, batch_id) else { return Err(fields.into()) };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            let row = store::batch::lock(write.connection(), batch_id).await?.ok_or(Error::NoBatch)?;
            let claims = store::batch::claims(write.connection(), &ids).await?;
            let mut wrong = Vec::new();
            let mut fresh = Vec::new();
            for (place, id) in ids.iter().enumerate() {
                let found = claims.iter().find(|claim| claim.claim_id == *id);
                match found
                    .map_or(Ok(Postable::No("there is no such claim of this facility".into())), |claim| {
                        self.postable(claim, &row, call)
                    })? {
                    Postable::Already => {}
                    Postable::Now(amount) => fresh.push((*id, amount)),
                    Postable::No(why) => wrong.push((format!("claim_ids[{place}]"), why)),
                }
            }
            if !wrong.is_empty() {
                return Err(Error::ClaimsNotPostable(wrong));
            }
            // What is in the batch already is no second effect, whatever became of the batch.
            if !fresh.is_empty() {
                in_state(&row, "OPEN")?;
            }
            let posted = i64::try_from(fresh.len()).unwrap_or(i64::MAX);
            if row.claims.saturating_add(posted) > MOST_CLAIMS {
                return Err(Error::BatchFull(MOST_CLAIMS));
            }
            store::batch::post(write.connection(), batch_id, &fresh, call.received_at).await?;
            let row = store::batch::get(write.connection(), batch_id, None).await?.ok_or(Error::NoBatch)?;
            let posted = i32::try_from(posted).unwrap_or(i32::MAX);
            Ok(write.commit(pb::PostClaimsResponse { batch: Some(shown(&row)), posted }).await?)
        };
        Ok(answer.await?)
    }

    /// Whether a claim may be posted to a batch.
    fn postable(&self, claim: &Claim, batch: &Row, call: &Call) -> Result<Postable, Error> {
        if claim.facility_code != batch.facility_code {
            return Ok(Postable::No("there is no such claim of this facility".into()));
        }
        match claim.batch_id {
            Some(own) if own == batch.batch_id => return Ok(Postable::Already),
            Some(other) => return Ok(Postable::No(format!("is in batch {other}"))),
            None => {}
        }
        let (state, amount) = (State::of(claim.state), claim.approved_rupiah);
        let (Some(State::Approved), Some(amount)) = (state, amount) else {
            return Ok(Postable::No(format!("is {}, not APPROVED", state.map_or("unknown", State::name))));
        };
        if let Some(filed) = filed(claim.filed_at, claim.filing_outcome, claim.filing_stated_on) {
            let periods = &self.policies.clock.on(claim.service_date)?.rule;
            let standing = filed.standing(periods, call.today);
            if !standing.complete() {
                return Ok(Postable::No(format!("its filing is {}", standing.name())));
            }
        }
        Ok(Postable::Now(amount))
    }

    pub(super) async fn close(
        &self,
        call: &Call,
        message: pb::CloseBatchRequest,
    ) -> Result<pb::CloseBatchResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let batch_id = claim_id(&mut fields, "batch_id", &message.batch_id);
        let (Some(request_id), Some(batch_id)) = (request_id, batch_id) else { return Err(fields.into()) };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut row = store::batch::lock(write.connection(), batch_id).await?.ok_or(Error::NoBatch)?;
        in_state(&row, "OPEN")?;
        if row.claims == 0 {
            return Err(Error::BatchEmpty);
        }
        let penalties = store::batch::penalties(write.connection(), &row.facility_code).await?;
        let left = store::recovery::left(write.connection(), &row.facility_code).await?;
        let (totals, taken) =
            payment::totals(&[rupiah(row.totals.claims)?], &amounts(&penalties)?, &amounts(&left)?)
                .ok_or(Error::Unreadable("batch"))?;
        (row.totals, row.closed_at) = (totals, Some(call.received_at));
        let paying: Vec<_> = penalties.iter().map(|(claim, _)| *claim).collect();
        store::batch::close(write.connection(), &row, &paying).await?;
        let taken = left.iter().zip(taken).map(|((id, _), part)| (*id, part.get()));
        let taken: Vec<_> = taken.filter(|(_, part)| *part > 0).collect();
        store::recovery::offset(write.connection(), batch_id, &taken).await?;
        book(&mut write, &row, call, call.today, &ledger::closed(&totals)).await?;
        let event = pb::BatchClosed {
            batch_id: row.batch_id.to_string(),
            facility_code: row.facility_code.clone(),
            claims: count(row.claims),
            claims_rupiah: totals.claims,
            penalties_rupiah: totals.penalties,
            offset_rupiah: totals.offset,
            due_rupiah: totals.due,
            closed_on: call.today.to_string(),
        };
        write.emit(&event.batch_id, &event).await?;
        Ok(write.commit(pb::CloseBatchResponse { batch: Some(shown(&row)) }).await?)
    }

    pub(super) async fn pay(
        &self,
        call: &Call,
        message: pb::RecordPaymentRequest,
    ) -> Result<pb::RecordPaymentResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let batch_id = claim_id(&mut fields, "batch_id", &message.batch_id);
        let reference = fields.parse("payment_reference", vocabulary::text(&message.payment_reference, 40));
        fields.require("amount_rupiah", message.amount_rupiah >= 0, "must be what is due, in whole rupiah");
        let paid_on = fields.parse("paid_on", vocabulary::date(&message.paid_on));
        fields.require("paid_on", paid_on.is_none_or(|day| day <= call.today), "must not lie in the future");
        let (Some(request_id), Some(batch_id), Some(reference), Some(paid_on)) =
            (request_id, batch_id, reference, paid_on)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let answer = async {
            let mut row = store::batch::lock(write.connection(), batch_id).await?.ok_or(Error::NoBatch)?;
            let mut penalties_earned_rupiah = 0;
            if row.paid_on.is_some() {
                // The same payment, recorded again under another request_id.
                if row.payment_reference.as_ref() != Some(&reference) {
                    return Err(Error::PaymentReferenceUsed);
                }
                is_due(&row, message.amount_rupiah)?;
                penalties_earned_rupiah = store::batch::earned(write.connection(), batch_id).await?;
            } else {
                in_state(&row, "CLOSED")?;
                is_due(&row, message.amount_rupiah)?;
                if row.closed_at.is_some_and(|closed| paid_on < time::today_at(closed)) {
                    let mut fields = Fields::new();
                    fields.wrong("paid_on", "must not lie before the day of closing");
                    return Err(fields.into());
                }
                (row.payment_reference, row.paid_on) = (Some(reference), Some(paid_on));
                let claims = store::batch::held(write.connection(), batch_id).await?;
                for claim in &claims {
                    claim.life()?.take(Step::Settle).map_err(Error::StateWrong)?;
                }
                let by = call.caller.to_string();
                store::batch::pay(write.connection(), &row, State::Paid as i16, call.received_at, &by)
                    .await?;
                penalties_earned_rupiah +=
                    self.settle_lines(&mut write, &row, &claims, paid_on, call).await?;
                for claim in &claims {
                    let event = pb::ClaimPaid {
                        claim_id: claim.claim_id.to_string(),
                        sep_number: claim.sep_number.clone(),
                        facility_code: claim.facility_code.clone(),
                        amount_rupiah: claim.approved_rupiah.unwrap_or_default(),
                        paid_on: paid_on.to_string(),
                    };
                    write.emit(&event.claim_id, &event).await?;
                }
                let event = pb::BatchPaid {
                    batch_id: row.batch_id.to_string(),
                    facility_code: row.facility_code.clone(),
                    amount_rupiah: row.totals.due,
                    paid_on: paid_on.to_string(),
                };
                write.emit(&event.batch_id, &event).await?;
            }
            let answer = pb::RecordPaymentResponse { batch: Some(shown(&row)), penalties_earned_rupiah };
            Ok(write.commit(answer).await?)
        };
        Ok(answer.await?)
    }

    /// Pays a claim that is in no batch: a batch of one, closed and paid at once, from which nothing is offset. The claim
    /// itself is the caller's to save.
    pub(super) async fn pay_single(
        &self,
        write: &mut Write,
        claim: &claim::Row,
        reference: &str,
        paid_on: Date,
        call: &Call,
    ) -> Result<(), Error> {
        let amount = rupiah(claim.approved_rupiah.unwrap_or_default())?;
        let (totals, _) = payment::totals(&[amount], &[], &[]).ok_or(Error::Unreadable("claim"))?;
        let row = Row {
            batch_id: Uuid::now_v7(),
            facility_code: claim.facility_code.clone(),
            single: true,
            opened_at: call.received_at,
            closed_at: Some(call.received_at),
            claims: 1,
            totals,
            payment_reference: Some(reference.to_owned()),
            paid_on: Some(paid_on),
        };
        let by = call.caller.to_string();
        store::batch::single(write.connection(), &row, claim.claim_id, &by).await?;
        book(write, &row, call, call.today, &ledger::closed(&totals)).await?;
        let claims = store::batch::held(write.connection(), row.batch_id).await?;
        self.settle_lines(write, &row, &claims, paid_on, call).await?;
        Ok(())
    }

    /// Books a payment, and what its lateness earned. Returns the latter.
    async fn settle_lines(
        &self,
        write: &mut Write,
        batch: &Row,
        claims: &[Claim],
        paid_on: Date,
        call: &Call,
    ) -> Result<i64, Error> {
        book(write, batch, call, paid_on, &ledger::paid(batch.totals.due)).await?;
        let mut judged = Vec::with_capacity(claims.len());
        for claim in claims {
            let periods = &self.policies.clock.on(claim.service_date)?.rule;
            let submitted = time::today_at(claim.submitted_at.ok_or(Error::Unreadable("claim"))?);
            let filed = filed(claim.filed_at, claim.filing_outcome, claim.filing_stated_on);
            let came_back = claim.came_back_at.map(time::today_at);
            let due = filing::payment_due(periods, submitted, filed.as_ref(), came_back);
            let amount = rupiah(claim.approved_rupiah.unwrap_or_default())?;
            let penalty = match due {
                Some(due) => self.policies.penalty.on(due)?.rule.of(amount, due, paid_on),
                None => Rupiah::ZERO,
            };
            judged.push((claim.claim_id, due, penalty));
        }
        let earned = Rupiah::checked_sum(judged.iter().map(|(_, _, penalty)| *penalty))
            .ok_or(Error::Unreadable("batch"))?
            .get();
        let lines: Vec<_> =
            judged.iter().map(|(claim, due, penalty)| (*claim, *due, penalty.get())).collect();
        store::batch::judge(write.connection(), &lines).await?;
        book(write, batch, call, paid_on, &ledger::late(earned)).await?;
        if earned > 0 {
            let late = lines.iter().filter(|(_, _, penalty)| *penalty > 0).count();
            let event = pb::LatePenaltyEarned {
                batch_id: batch.batch_id.to_string(),
                facility_code: batch.facility_code.clone(),
                claims: i32::try_from(late).unwrap_or(i32::MAX),
                penalty_rupiah: earned,
                paid_on: paid_on.to_string(),
            };
            write.emit(&event.batch_id, &event).await?;
        }
        Ok(earned)
    }

    pub(super) async fn one_batch(
        &self,
        call: &Call,
        message: pb::GetBatchRequest,
    ) -> Result<pb::GetBatchResponse, Error> {
        let row = self.batch(call, &message.batch_id).await?;
        Ok(pb::GetBatchResponse { batch: Some(shown(&row)) })
    }

    async fn batch(&self, call: &Call, batch_id: &str) -> Result<Row, Error> {
        let mut fields = Fields::new();
        let Some(id) = claim_id(&mut fields, "batch_id", batch_id) else { return Err(fields.into()) };
        store::batch::get(&self.db.pool, id, call.caller.facility()).await?.ok_or(Error::NoBatch)
    }

    pub(super) async fn batches(
        &self,
        call: &Call,
        message: pb::ListBatchesRequest,
    ) -> Result<pb::ListBatchesResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key));
        let facility_code = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let state = pb::BatchState::try_from(message.state);
        fields.require("state", state.is_ok(), "a value of BatchState, or unspecified for all");
        let state =
            state.ok().filter(|state| *state != pb::BatchState::Unspecified).map(|state| state as i16);
        fields.finish()?;
        let of = facility_code.as_deref();
        let rows = store::batch::list(&self.db.pool, of, state, after, page.size + 1).await;
        let mut rows = rows.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.batch_id.to_string());
        Ok(pb::ListBatchesResponse { batches: rows.iter().map(shown).collect(), next_page_token })
    }

    pub(super) async fn batch_claims(
        &self,
        call: &Call,
        message: pb::ListBatchClaimsRequest,
    ) -> Result<pb::ListBatchClaimsResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key));
        claim_id(&mut fields, "batch_id", &message.batch_id);
        fields.finish()?;
        let batch = self.batch(call, &message.batch_id).await?;
        let rows = store::batch::lines(&self.db.pool, batch.batch_id, after, page.size + 1).await;
        let mut rows = rows.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.claim_id.to_string());
        let claims = rows.into_iter().map(|line| pb::BatchClaim {
            claim_id: line.claim_id.to_string(),
            sep_number: line.sep_number,
            amount_rupiah: line.amount_rupiah,
            posted_at: Some(time::to_proto(line.posted_at)),
            due_on: line.due_on.map_or_else(String::new, |day| day.to_string()),
            penalty_rupiah: line.penalty_rupiah,
            penalty_batch_id: line.penalty_batch.map_or_else(String::new, |id| id.to_string()),
        });
        Ok(pb::ListBatchClaimsResponse { claims: claims.collect(), next_page_token })
    }
}

/// Whether a claim may be posted.
enum Postable {
    Now(i64),
    Already,
    No(String),
}

impl Claim {
    fn life(&self) -> Result<Life, Error> {
        let state = State::of(self.state).ok_or(Error::Unreadable("claim"))?;
        Ok(Life { state, round: self.round, asked: None, submitted: self.submitted_at.is_some() })
    }
}

fn posted_ids(fields: &mut Fields, given: &[String]) -> Vec<Uuid> {
    if !(1..=MOST_POSTED).contains(&given.len()) {
        fields.wrong("claim_ids", format!("1 to {MOST_POSTED} ids"));
        return Vec::new();
    }
    let mut seen = BTreeSet::new();
    let mut ids = Vec::with_capacity(given.len());
    for (place, id) in given.iter().enumerate() {
        let path = format!("claim_ids[{place}]");
        if let Some(id) = claim_id(fields, &path, id) {
            fields.require(path, seen.insert(id), "stands here twice");
            ids.push(id);
        }
    }
    ids
}

fn state_of(row: &Row) -> (pb::BatchState, &'static str) {
    match (row.closed_at, row.paid_on) {
        (None, _) => (pb::BatchState::Open, "OPEN"),
        (_, None) => (pb::BatchState::Closed, "CLOSED"),
        _ => (pb::BatchState::Paid, "PAID"),
    }
}

fn in_state(row: &Row, wanted: &str) -> Result<(), Error> {
    let (_, state) = state_of(row);
    if state == wanted { Ok(()) } else { Err(Error::BatchStateWrong(state)) }
}

fn is_due(row: &Row, amount: i64) -> Result<(), Error> {
    if amount == row.totals.due { Ok(()) } else { Err(Error::PaymentNotDue(row.totals.due)) }
}

fn rupiah(amount: i64) -> Result<Rupiah, Error> {
    Rupiah::new(amount).map_err(|_| Error::Unreadable("amount"))
}

fn amounts(of: &[(Uuid, i64)]) -> Result<Vec<Rupiah>, Error> {
    of.iter().map(|(_, amount)| rupiah(*amount)).collect()
}

fn count(claims: i64) -> i32 {
    i32::try_from(claims).unwrap_or(i32::MAX)
}

async fn book(write: &mut Write, batch: &Row, call: &Call, on: Date, entry: &Entry) -> Result<(), Error> {
    let by = call.caller.to_string();
    let posting = Posting {
        facility_code: &batch.facility_code,
        batch_id: Some(batch.batch_id),
        recovery_id: None,
        on,
        at: call.received_at,
        by: &by,
    };
    Ok(store::ledger::post(write.connection(), posting, entry).await?)
}

fn shown(row: &Row) -> pb::Batch {
    let payment = row.payment_reference.as_ref().map(|reference| pb::Payment {
        payment_reference: reference.clone(),
        amount_rupiah: row.totals.due,
        paid_on: row.paid_on.map_or_else(String::new, |day| day.to_string()),
    });
    pb::Batch {
        batch_id: row.batch_id.to_string(),
        facility_code: row.facility_code.clone(),
        single: row.single,
        state: state_of(row).0.into(),
        claims: count(row.claims),
        claims_rupiah: row.totals.claims,
        penalties_rupiah: row.totals.penalties,
        offset_rupiah: row.totals.offset,
        due_rupiah: row.totals.due,
        opened_at: Some(time::to_proto(row.opened_at)),
        closed_at: row.closed_at.map(time::to_proto),
        payment,
    }
}
