//! The work on drawn claims: audits, their findings, verdicts and recoveries, and what a quarter came to.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use prost::Message;
use proto::claims::v1 as pb;
use uuid::Uuid;

use super::{Audits, claim_read::claim_id as id, facility_scope, sep::next};
use crate::{
    audit::{Closed, State, Step, Verdict, tally, unfounded},
    error::{Error, audit::Refused},
    quarter::Quarter,
    store::{
        self,
        audit::{Finding, Recovery, Row},
        recovery::OfAudit,
    },
};

/// More than any claim ever was.
const MOST_RUPIAH: i64 = 1_000_000_000_000;

/// A write that was begun on an audit.
enum Opened<R> {
    Replayed(R),
    Fresh(Box<(Write, Row)>),
}

/// Takes a step in the stored audit, or says why not.
fn take(row: &mut Row, step: Step) -> Result<(), Error> {
    let state = State::of(row.state).ok_or(Error::Unreadable("audit"))?;
    row.state = state.take(step).map_err(Refused::StateWrong)? as i16;
    Ok(())
}

fn verdict_of(verdict: pb::AuditVerdict) -> Option<Verdict> {
    match verdict {
        pb::AuditVerdict::Unspecified => None,
        pb::AuditVerdict::Conform => Some(Verdict::Conform),
        pb::AuditVerdict::NotConform => Some(Verdict::NotConform),
        pb::AuditVerdict::Corrected => Some(Verdict::Corrected),
    }
}

impl Audits {
    async fn open<R: Message + Default>(
        &self,
        call: &Call,
        message: &impl Message,
        request_id: RequestId,
        audit_id: Uuid,
    ) -> Result<Opened<R>, Error> {
        match Mutation::new(call, message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => Ok(Opened::Replayed(answer)),
            Begun::Fresh(mut write) => {
                let row = store::audit::lock(write.connection(), audit_id).await?.ok_or(Refused::NoAudit)?;
                Ok(Opened::Fresh(Box::new((write, row))))
            }
        }
    }

    pub(super) async fn begin_review(
        &self,
        call: &Call,
        message: pb::BeginAuditReviewRequest,
    ) -> Result<pb::BeginAuditReviewResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let audit_id = id(&mut fields, "audit_id", &message.audit_id);
        let (Some(request_id), Some(audit_id)) = (request_id, audit_id) else { return Err(fields.into()) };
        let (mut write, mut row) = match self.open(call, &message, request_id, audit_id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        take(&mut row, Step::Begin)?;
        (row.review_begun_at, row.reviewed_by) = (Some(call.received_at), call.caller.to_string());
        store::audit::save(write.connection(), &row).await?;
        let audit = Some(stored(&mut write, audit_id).await?);
        Ok(write.commit(pb::BeginAuditReviewResponse { audit }).await?)
    }

    pub(super) async fn find(
        &self,
        call: &Call,
        message: pb::RecordAuditFindingRequest,
    ) -> Result<pb::RecordAuditFindingResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let audit_id = id(&mut fields, "audit_id", &message.audit_id);
        let kind = message.kind() != pb::AuditFindingKind::Unspecified;
        fields.require("kind", kind, "a value of AuditFindingKind");
        let detail = fields.parse("detail", vocabulary::text(&message.detail, 1000));
        let amount = (0..=MOST_RUPIAH).contains(&message.amount_rupiah);
        fields.require("amount_rupiah", amount, format!("0 to {MOST_RUPIAH} rupiah"));
        let (Some(request_id), Some(audit_id), Some(detail)) = (request_id, audit_id, detail) else {
            return Err(fields.into());
        };
        fields.checked()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, audit_id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        take(&mut row, Step::Find)?;
        row.findings += 1;
        let finding = Finding {
            number: row.findings,
            kind: message.kind() as i16,
            detail,
            amount_rupiah: message.amount_rupiah,
            recorded_at: call.received_at,
            recorded_by: call.caller.to_string(),
        };
        store::audit::find(write.connection(), audit_id, &finding).await?;
        store::audit::save(write.connection(), &row).await?;
        let audit = Some(stored(&mut write, audit_id).await?);
        Ok(write.commit(pb::RecordAuditFindingResponse { audit }).await?)
    }

    pub(super) async fn close(
        &self,
        call: &Call,
        message: pb::CloseAuditRequest,
    ) -> Result<pb::CloseAuditResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let audit_id = id(&mut fields, "audit_id", &message.audit_id);
        let verdict = verdict_of(message.verdict());
        fields.require("verdict", verdict.is_some(), "a value of AuditVerdict");
        let conclusion = fields.parse("conclusion", vocabulary::text(&message.conclusion, 1000));
        fields.parse("protocol_version", vocabulary::text(&message.protocol_version, 40));
        let amount = (0..=MOST_RUPIAH).contains(&message.recovery_rupiah);
        fields.require("recovery_rupiah", amount, format!("0 to {MOST_RUPIAH} rupiah"));
        let (Some(request_id), Some(audit_id), Some(verdict), Some(conclusion)) =
            (request_id, audit_id, verdict, conclusion)
        else {
            return Err(fields.into());
        };
        fields.checked()?;
        let (mut write, mut row) = match self.open(call, &message, request_id, audit_id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        take(&mut row, Step::Close)?;
        self.knows_protocol(call, &message.protocol_version)?;
        let findings = usize::try_from(row.findings).unwrap_or_default();
        let wrong = unfounded(verdict, findings, message.recovery_rupiah, row.paid_rupiah);
        if !wrong.is_empty() {
            return Err(Refused::Unfounded(wrong).into());
        }
        row.verdict = Some(verdict as i16);
        row.conclusion = conclusion;
        row.protocol_version.clone_from(&message.protocol_version);
        row.recovery_rupiah = message.recovery_rupiah;
        (row.closed_at, row.closed_on) = (Some(call.received_at), Some(call.today));
        row.closed_by = call.caller.to_string();
        store::audit::save(write.connection(), &row).await?;
        let event = pb::AuditClosed {
            audit_id: row.audit_id.to_string(),
            claim_id: row.claim_id.to_string(),
            facility_code: row.facility_code.clone(),
            verdict: message.verdict,
            protocol_version: row.protocol_version.clone(),
            closed_on: call.today.to_string(),
        };
        write.emit(&event.claim_id, &event).await?;
        if row.recovery_rupiah > 0 {
            let recovery = Recovery {
                audit_id,
                claim_id: row.claim_id,
                facility_code: row.facility_code.clone(),
                verdict: verdict as i16,
                amount_rupiah: row.recovery_rupiah,
                recorded_on: call.today,
            };
            store::audit::recover(write.connection(), &recovery, call.received_at).await?;
            let event = pb::AuditRecoveryRecorded {
                audit_id: event.audit_id,
                claim_id: event.claim_id,
                facility_code: event.facility_code,
                verdict: message.verdict,
                amount_rupiah: recovery.amount_rupiah,
                recorded_on: event.closed_on,
            };
            write.emit(&event.claim_id, &event).await?;
        }
        let audit = Some(stored(&mut write, audit_id).await?);
        Ok(write.commit(pb::CloseAuditResponse { audit }).await?)
    }

    /// Refuses a protocol that the policy of today does not know.
    pub(super) fn knows_protocol(&self, call: &Call, version: &str) -> Result<(), Error> {
        let rules = self.policies.audit.on(call.today)?;
        let mut fields = Fields::new();
        fields.require(
            "protocol_version",
            rules.knows_protocol(version),
            format!("must be the protocol in force, {}, or an earlier one", rules.protocol()),
        );
        Ok(fields.checked()?)
    }

    pub(super) async fn audit(
        &self,
        call: &Call,
        message: pb::GetAuditRequest,
    ) -> Result<pb::GetAuditResponse, Error> {
        let mut fields = Fields::new();
        let Some(audit_id) = id(&mut fields, "audit_id", &message.audit_id) else {
            return Err(fields.into());
        };
        let pool = &self.db.pool;
        let row = store::audit::get(pool, audit_id, call.caller.facility()).await?.ok_or(Refused::NoAudit)?;
        let findings = store::audit::findings(pool, audit_id).await?;
        let settled = store::recovery::of_audits(pool, &[audit_id]).await?;
        Ok(pb::GetAuditResponse { audit: Some(shown(&row, &findings, &settled)) })
    }

    pub(super) async fn audits(
        &self,
        call: &Call,
        message: pb::ListAuditsRequest,
    ) -> Result<pb::ListAuditsResponse, Error> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| id(&mut fields, "page_token", key));
        let state = pb::AuditState::try_from(message.state);
        fields.require("state", state.is_ok(), "a value of AuditState, or unspecified for all");
        let verdict = pb::AuditVerdict::try_from(message.verdict);
        fields.require("verdict", verdict.is_ok(), "a value of AuditVerdict, or unspecified for all");
        let mut maybe = |path: &str, given: &str| {
            if given.is_empty() { None } else { id(&mut fields, path, given) }
        };
        let (frame_id, claim_id) =
            (maybe("frame_id", &message.frame_id), maybe("claim_id", &message.claim_id));
        let filter = store::audit::Filter {
            facility_code: facility_scope(&mut fields, call.caller.facility(), &message.facility_code),
            frame_id,
            claim_id,
            state: state.ok().filter(|state| *state != pb::AuditState::Unspecified).map(|state| state as i16),
            verdict: verdict.ok().and_then(verdict_of).map(|verdict| verdict as i16),
            after,
            limit: page.size + 1,
        };
        fields.checked()?;
        let mut rows = store::audit::list(&self.db.pool, &filter).await?;
        let next_page_token = next(&mut rows, page.size, |row| row.audit_id.to_string());
        let ids: Vec<_> = rows.iter().map(|row| row.audit_id).collect();
        let settled = store::recovery::of_audits(&self.db.pool, &ids).await?;
        Ok(pb::ListAuditsResponse {
            audits: rows.iter().map(|row| shown(row, &[], &settled)).collect(),
            next_page_token,
        })
    }

    pub(super) async fn quarter(
        &self,
        _call: &Call,
        message: pb::GetAuditQuarterRequest,
    ) -> Result<pb::GetAuditQuarterResponse, Error> {
        let mut fields = Fields::new();
        let quarter = fields.parse("quarter", Quarter::parse(&message.quarter));
        let Some(quarter) = quarter else { return Err(fields.into()) };
        let rules = self.policies.audit.on(quarter.last())?;
        let mut closed = Vec::new();
        for row in store::audit::closed(&self.db.pool, quarter.first(), quarter.last()).await? {
            let verdict = pb::AuditVerdict::try_from(i32::from(row.verdict)).ok().and_then(verdict_of);
            let in_force = self.policies.audit.on(row.on)?.protocol() == row.protocol;
            let row = Closed {
                on: row.on,
                protocol: row.protocol,
                verdict: verdict.ok_or(Error::Unreadable("audit"))?,
                claims: row.claims,
                recovery_rupiah: row.recovery_rupiah,
            };
            closed.push((row, in_force));
        }
        let tally = tally(quarter, &closed);
        Ok(pb::GetAuditQuarterResponse {
            quarter: Some(pb::AuditQuarter {
                quarter: quarter.to_string(),
                audited: tally.audited,
                target: rules.quarter_target(),
                met: tally.audited >= rules.quarter_target(),
                other_protocols: tally.other_protocols,
                conform: tally.conform,
                not_conform: tally.not_conform,
                corrected: tally.corrected,
                recovery_rupiah: tally.recovery_rupiah,
                protocol_version: rules.protocol().to_owned(),
            }),
        })
    }

    pub(super) async fn recoveries(
        &self,
        call: &Call,
        message: pb::ListAuditRecoveriesRequest,
    ) -> Result<pb::ListAuditRecoveriesResponse, Error> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| id(&mut fields, "page_token", key));
        let facility = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        fields.checked()?;
        let pool = &self.db.pool;
        let mut rows = store::audit::recoveries(pool, facility.as_deref(), after, page.size + 1).await?;
        let next_page_token = next(&mut rows, page.size, |row| row.audit_id.to_string());
        let ids: Vec<_> = rows.iter().map(|row| row.audit_id).collect();
        let settled = store::recovery::of_audits(pool, &ids).await?;
        let recoveries = rows.into_iter().map(|row| pb::AuditRecovery {
            settlement: settlement(row.audit_id, &settled),
            audit_id: row.audit_id.to_string(),
            claim_id: row.claim_id.to_string(),
            facility_code: row.facility_code,
            verdict: row.verdict.into(),
            amount_rupiah: row.amount_rupiah,
            recorded_on: row.recorded_on.to_string(),
        });
        Ok(pb::ListAuditRecoveriesResponse { recoveries: recoveries.collect(), next_page_token })
    }
}

/// The audit as it was just written, for the wire: read again, so that the answer is what others read later.
async fn stored(write: &mut Write, audit_id: Uuid) -> Result<pb::Audit, Error> {
    let row = store::audit::get(write.connection(), audit_id, None).await?.ok_or(Refused::NoAudit)?;
    // Nothing is recovered of an audit before it is closed.
    Ok(shown(&row, &store::audit::findings(write.connection(), audit_id).await?, &[]))
}

/// An audit for the wire.
fn shown(row: &Row, findings: &[Finding], settled: &[OfAudit]) -> pb::Audit {
    pb::Audit {
        audit_id: row.audit_id.to_string(),
        frame_id: row.frame_id.to_string(),
        quarter: row.quarter.clone(),
        place: row.place,
        claim_id: row.claim_id.to_string(),
        sep_number: row.sep_number.clone(),
        facility_code: row.facility_code.clone(),
        state: row.state.into(),
        registered_at: Some(time::to_proto(row.registered_at)),
        review_begun_at: row.review_begun_at.map(time::to_proto),
        reviewed_by: row.reviewed_by.clone(),
        findings: findings
            .iter()
            .map(|finding| pb::AuditFinding {
                number: finding.number,
                kind: finding.kind.into(),
                detail: finding.detail.clone(),
                amount_rupiah: finding.amount_rupiah,
                recorded_at: Some(time::to_proto(finding.recorded_at)),
                recorded_by: finding.recorded_by.clone(),
            })
            .collect(),
        verdict: row.verdict.unwrap_or_default().into(),
        conclusion: row.conclusion.clone(),
        protocol_version: row.protocol_version.clone(),
        recovery_rupiah: row.recovery_rupiah,
        closed_at: row.closed_at.map(time::to_proto),
        closed_on: row.closed_on.map_or_else(String::new, |day| day.to_string()),
        closed_by: row.closed_by.clone(),
        paid_rupiah: row.paid_rupiah,
        settlement: settlement(row.audit_id, settled),
    }
}

/// What settlement made of an audit.
fn settlement(audit_id: Uuid, settled: &[OfAudit]) -> Option<pb::AuditSettlement> {
    let one = settled.iter().find(|one| one.audit_id == audit_id)?;
    let day = |at| time::today_at(at).to_string();
    let whole = one.left_rupiah == 0;
    Some(pb::AuditSettlement {
        recovery_id: one.recovery_id.to_string(),
        amount_rupiah: one.amount_rupiah,
        recovered_rupiah: one.amount_rupiah - one.left_rupiah,
        recorded_on: day(one.recorded_at),
        recovered_on: one.offset_at.filter(|_| whole).map_or_else(String::new, day),
    })
}
