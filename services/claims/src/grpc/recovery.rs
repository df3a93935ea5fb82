//! Recoveries after audits, the accounts of a facility, and reconciliation.

use chassis::{Call, Fields, RequestId, page::Page, time};
use jiff::ToSpan;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;
use vocabulary::FacilityCode;

use super::{Claims, claim_life::Opened, claim_read::claim_id, facility_scope, optional, sep, view::life};
use crate::{
    audit::State,
    error::{Error, audit::Refused},
    ledger,
    life::Step,
    reconcile,
    recovered::{Audit, Wanted, may_recover},
    store::{
        self,
        ledger::{Period, Posting},
        recovery::Row,
    },
};

/// Most differences in one answer.
const MOST_DIFFERENCES: usize = 1000;

impl Claims {
    pub(super) async fn recover(
        &self,
        call: &Call,
        message: pb::RecordRecoveryRequest,
    ) -> Result<pb::RecordRecoveryResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "claim_id", &message.claim_id);
        let audit_id = match message.audit_id.as_str() {
            "" => None,
            given => claim_id(&mut fields, "audit_id", given),
        };
        // A recovery of an audit needs no name of its own: there is one for each audit.
        let reference = if message.audit_reference.is_empty() && !message.audit_id.is_empty() {
            audit_id.map(|id| id.to_string())
        } else {
            fields.parse("audit_reference", vocabulary::text(&message.audit_reference, 40))
        };
        fields.require("amount_rupiah", message.amount_rupiah > 0, "must be above zero, in whole rupiah");
        let decided_on = fields.parse("decided_on", vocabulary::date(&message.decided_on));
        let past = decided_on.is_none_or(|day| day <= call.today);
        fields.require("decided_on", past, "must not lie in the future");
        let (Some(request_id), Some(id), Some(reference), Some(decided_on)) =
            (request_id, id, reference, decided_on)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let (mut write, claim) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let answer = async {
            if let Some(row) = store::recovery::of_reference(write.connection(), &reference).await? {
                // The same recovery, recorded again under another request_id.
                let same = row.claim_id == id && row.amount_rupiah == message.amount_rupiah;
                if !same || row.audit_id != audit_id {
                    return Err(Error::AuditReferenceUsed);
                }
                return Ok(write.commit(pb::RecordRecoveryResponse { recovery: Some(shown(&row)) }).await?);
            }
            life(&claim)?.take(Step::Recover).map_err(Error::StateWrong)?;
            if let Some(audit_id) = audit_id {
                let wanted = Wanted { claim_id: id, amount_rupiah: message.amount_rupiah, decided_on };
                let audit = audited(write.connection(), audit_id).await?;
                may_recover(&audit, &wanted).map_err(Refused::NotRecoverable)?;
            }
            if claim.paid_on.is_some_and(|paid_on| decided_on < paid_on) {
                let mut fields = Fields::new();
                fields.wrong("decided_on", "must not lie before the day of payment");
                return Err(fields.into());
            }
            let earlier = store::recovery::of_claim(write.connection(), id).await?;
            let left = claim.paid_rupiah.unwrap_or_default().saturating_sub(earlier);
            if message.amount_rupiah > left {
                return Err(Error::RecoveryTooHigh(left));
            }
            let row = Row {
                recovery_id: Uuid::now_v7(),
                facility_code: claim.facility_code.clone(),
                claim_id: id,
                audit_reference: reference,
                amount_rupiah: message.amount_rupiah,
                left_rupiah: message.amount_rupiah,
                decided_on,
                recorded_at: call.received_at,
                audit_id,
            };
            store::recovery::record(write.connection(), &row).await?;
            let by = call.caller.to_string();
            let posting = Posting {
                facility_code: &row.facility_code,
                batch_id: None,
                recovery_id: Some(row.recovery_id),
                on: call.today,
                at: call.received_at,
                by: &by,
            };
            let entry = ledger::recovered(row.amount_rupiah);
            store::ledger::post(write.connection(), posting, &entry).await?;
            let event = pb::RecoveryRecorded {
                recovery_id: row.recovery_id.to_string(),
                claim_id: row.claim_id.to_string(),
                facility_code: row.facility_code.clone(),
                audit_reference: row.audit_reference.clone(),
                amount_rupiah: row.amount_rupiah,
                decided_on: row.decided_on.to_string(),
                audit_id: row.audit_id.map_or_else(String::new, |id| id.to_string()),
            };
            write.emit(&event.claim_id, &event).await?;
            Ok(write.commit(pb::RecordRecoveryResponse { recovery: Some(shown(&row)) }).await?)
        };
        Ok(answer.await?)
    }

    pub(super) async fn recoveries(
        &self,
        call: &Call,
        message: pb::ListRecoveriesRequest,
    ) -> Result<pb::ListRecoveriesResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key));
        let facility_code = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        fields.finish()?;
        let (of, open) = (facility_code.as_deref(), message.only_open);
        let rows = store::recovery::list(&self.db.pool, of, open, after, page.size + 1).await;
        let mut rows = rows.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.recovery_id.to_string());
        Ok(pb::ListRecoveriesResponse { recoveries: rows.iter().map(shown).collect(), next_page_token })
    }

    pub(super) async fn accounts(
        &self,
        call: &Call,
        message: pb::GetAccountsRequest,
    ) -> Result<pb::GetAccountsResponse, Status> {
        let mut fields = Fields::new();
        let facility = fields.parse("facility_code", FacilityCode::parse(&message.facility_code));
        let own = call.caller.facility();
        let seen = facility.as_ref().is_none_or(|asked| own.is_none_or(|own| asked.as_str() == own));
        fields.require("facility_code", seen, "your own facility");
        let Some(facility) = facility else { return Err(fields.into()) };
        fields.finish()?;
        let balances =
            store::ledger::balances(&self.db.pool, facility.as_str()).await.map_err(Error::from)?;
        let sum_rupiah = balances.iter().map(|(_, balance)| balance).sum();
        let balances = balances
            .into_iter()
            .map(|(account, balance_rupiah)| pb::AccountBalance { account: account.into(), balance_rupiah });
        Ok(pb::GetAccountsResponse { balances: balances.collect(), sum_rupiah })
    }

    pub(super) async fn reconcile(
        &self,
        _: &Call,
        message: pb::ReconcileSettlementRequest,
    ) -> Result<pb::ReconcileSettlementResponse, Status> {
        let mut fields = Fields::new();
        let from = fields.parse("closed_from", vocabulary::date(&message.closed_from));
        let to = fields.parse("closed_to", vocabulary::date(&message.closed_to));
        let facility = optional(&mut fields, "facility_code", &message.facility_code, FacilityCode::parse);
        if let (Some(from), Some(to)) = (from, to) {
            let most = from.saturating_add(366.days());
            let within = (from..=most).contains(&to);
            fields.require("closed_to", within, "must lie 0 to 366 days after closed_from");
        }
        let (Some(from), Some(to)) = (from, to) else { return Err(fields.into()) };
        fields.finish()?;
        let next = to.saturating_add(1.day());
        let (Some(begin), Some(end)) = (time::start_of(from), time::start_of(next)) else {
            return Err(Error::Unreadable("period").into());
        };
        let period = Period {
            facility_code: facility.map(|code| code.as_str().to_owned()),
            from: begin,
            before: end,
            days: (from, to),
        };
        // One moment for all sides, or a payment under way would be told as a difference.
        let mut moment = self.db.pool.begin().await.map_err(Error::from)?;
        store::ledger::as_of_now(&mut moment).await.map_err(Error::from)?;
        let batches = store::ledger::closed(&mut *moment, &period).await.map_err(Error::from)?;
        let limit = i64::try_from(MOST_DIFFERENCES + 1).unwrap_or(i64::MAX);
        let odd = store::ledger::odd_claims(&mut *moment, &period, limit).await.map_err(Error::from)?;
        let mut answer = pb::ReconcileSettlementResponse::default();
        for batch in &batches {
            let sides = &batch.sides;
            answer.batches += 1;
            answer.claims_rupiah = answer.claims_rupiah.saturating_add(sides.totals.claims);
            answer.due_rupiah = answer.due_rupiah.saturating_add(sides.totals.due);
            answer.paid_rupiah = answer.paid_rupiah.saturating_add(sides.paid.unwrap_or_default());
            let unpaid = if sides.paid.is_none() { sides.totals.due } else { 0 };
            answer.unpaid_rupiah = answer.unpaid_rupiah.saturating_add(unpaid);
            answer.differences.extend(reconcile::differences(sides).into_iter().map(|one| pb::Difference {
                kind: one.kind as i32,
                batch_id: batch.batch_id.to_string(),
                claim_id: String::new(),
                facility_code: batch.facility_code.clone(),
                expected_rupiah: one.expected,
                found_rupiah: one.found,
            }));
        }
        answer.differences.extend(odd.into_iter().map(|one| {
            let kind = match one.batch_id {
                Some(_) => reconcile::Kind::ClaimAndLine,
                None => reconcile::Kind::ClaimWithoutBatch,
            };
            pb::Difference {
                kind: kind as i32,
                batch_id: one.batch_id.map_or_else(String::new, |id| id.to_string()),
                claim_id: one.claim_id.to_string(),
                facility_code: one.facility_code,
                expected_rupiah: one.expected,
                found_rupiah: one.found,
            }
        }));
        if let Some(facility_code) = &period.facility_code {
            let of = facility_code.as_str();
            let open = store::ledger::open(&mut *moment, of).await.map_err(Error::from)?;
            let balances = store::ledger::balances(&mut *moment, of).await.map_err(Error::from)?;
            let told = reconcile::accounts(&balances, &open).into_iter().map(|one| pb::Difference {
                kind: one.kind as i32,
                batch_id: String::new(),
                claim_id: String::new(),
                facility_code: facility_code.clone(),
                expected_rupiah: one.expected,
                found_rupiah: one.found,
            });
            answer.differences.extend(told);
        }
        answer.more = answer.differences.len() > MOST_DIFFERENCES;
        answer.differences.truncate(MOST_DIFFERENCES);
        Ok(answer)
    }
}

fn shown(row: &Row) -> pb::Recovery {
    pb::Recovery {
        recovery_id: row.recovery_id.to_string(),
        facility_code: row.facility_code.clone(),
        claim_id: row.claim_id.to_string(),
        audit_reference: row.audit_reference.clone(),
        amount_rupiah: row.amount_rupiah,
        left_rupiah: row.left_rupiah,
        decided_on: row.decided_on.to_string(),
        recorded_at: Some(time::to_proto(row.recorded_at)),
        audit_id: row.audit_id.map_or_else(String::new, |id| id.to_string()),
    }
}

/// What a recovery is judged by: the audit, and the recovery that it has.
async fn audited(connection: &mut PgConnection, audit_id: Uuid) -> Result<Audit, Error> {
    let row = store::audit::get(&mut *connection, audit_id, None).await?.ok_or(Refused::NoAudit)?;
    let earlier = store::recovery::of_audits(connection, &[audit_id]).await?;
    Ok(Audit {
        claim_id: row.claim_id,
        state: State::of(row.state).ok_or(Error::Unreadable("audit"))?,
        found_rupiah: row.recovery_rupiah,
        closed_on: row.closed_on,
        recovery_id: earlier.first().map(|one| one.recovery_id),
    })
}
