//! What a hospital does with its claims beside coding them one by one; and both sides compared.

use std::pin::Pin;

use chassis::{Call, Fields, Mutation, RequestId, time};
use futures::{Stream, StreamExt, stream};
use jiff::{ToSpan, Unit, civil::Date};
use prost::Message as _;
use proto::claims::v1::{self as pb, eklaim_service_server::EklaimService};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Claims,
    claim_life::{Opened, data, named, take, unchanged},
    claim_read::claim_id,
    facility_scope, rule_facts, sep,
};
use crate::{
    error::Error,
    life::Step,
    store::{self, eklaim::Period},
};

const MOST_DAYS: i64 = 31;
const MOST_DIFFERENCES: i64 = 1000;

/// The key of one claim of a day, so that the day may be sent again under its key.
fn key_of(day: &RequestId, claim_id: Uuid) -> String {
    let hash = Sha256::digest(day.to_string());
    let hash = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{hash}{}", claim_id.simple())
}

impl Claims {
    async fn reedit(
        &self,
        call: &Call,
        message: pb::ReeditClaimRequest,
    ) -> Result<pb::ReeditClaimResponse, Error> {
        let (request_id, id) = named(&message.request_id, &message.claim_id)?;
        let mutation = Mutation::new(call, &message, request_id.clone());
        let write = async {
            let seen = self.seen(call, id, Step::Reedit).await?;
            self.grouper.reedit(&seen.sep_number).await?;
            let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
                Opened::Replayed(answer) => return Ok(answer),
                Opened::Fresh(opened) => *opened,
            };
            unchanged(&seen, &row)?;
            let step = take(&mut row, Step::Reedit, call)?;
            store::claim::save(write.connection(), &row, &step).await?;
            let claim = Some(self.shown(&mut write, &row, call).await?);
            Ok(write.commit(pb::ReeditClaimResponse { claim }).await?)
        };
        Box::pin(mutation.once(&self.db, write)).await
    }

    async fn withdraw(
        &self,
        call: &Call,
        message: pb::WithdrawClaimRequest,
    ) -> Result<pb::WithdrawClaimResponse, Error> {
        let (request_id, id) = named(&message.request_id, &message.claim_id)?;
        let (mut write, mut row) = match self.open(call, &message, request_id, id).await? {
            Opened::Replayed(answer) => return Ok(answer),
            Opened::Fresh(opened) => *opened,
        };
        let step = take(&mut row, Step::Withdraw, call)?;
        store::claim::save(write.connection(), &row, &step).await?;
        let claim = Some(self.shown(&mut write, &row, call).await?);
        Ok(write.commit(pb::WithdrawClaimResponse { claim }).await?)
    }

    async fn day_sent(
        &self,
        call: Call,
        message: pb::SendDayRequest,
    ) -> Result<impl Stream<Item = Result<pb::SendDayResponse, Status>> + Send + 'static, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let day = fields.parse("discharged_on", vocabulary::date(&message.discharged_on));
        fields.require(
            "discharged_on",
            day.is_none_or(|day| day <= call.today),
            "must not lie in the future",
        );
        let care_type = sep::care_type(&mut fields, message.care_type);
        fields.finish()?;
        let own = call.caller.facility().unwrap_or_default().to_owned();
        let unsent = match day {
            Some(day) => store::eklaim::unsent(&self.db.pool, &own, day, care_type).await,
            None => Ok(Vec::new()),
        };
        let unsent = unsent.map_err(Error::from)?;
        let key = |claim_id| request_id.as_ref().map(|day| key_of(day, claim_id)).unwrap_or_default();
        let rows = unsent.iter().map(|unsent| {
            let claim_id = unsent.claim_id;
            Ok(pb::SubmitClaimsRequest { request_id: key(claim_id), claim_id: claim_id.to_string() })
        });
        let answers = self.submit_all(call, stream::iter(rows.collect::<Vec<_>>()));
        Ok(answers.zip(stream::iter(unsent)).map(|(row, unsent)| {
            row.map(|row| pb::SendDayResponse {
                claim_id: row.claim_id,
                sep_number: unsent.sep_number,
                state: row.state,
                pending: row.pending,
                reason: row.reason,
                message: row.message,
            })
        }))
    }

    async fn form(
        &self,
        call: &Call,
        message: pb::GetClaimFormRequest,
    ) -> Result<pb::GetClaimFormResponse, Error> {
        let mut fields = Fields::new();
        let Some(id) = claim_id(&mut fields, "claim_id", &message.claim_id) else {
            return Err(fields.into());
        };
        let own = call.caller.facility();
        let row = store::claim::get(&self.db.pool, id, own).await?.ok_or(Error::NoClaim)?;
        let letter = store::sep::get(&self.db.pool, &row.sep_number, None).await?.ok_or(Error::NoSep)?;
        let letter = sep::view(&letter)?;
        let data = data(&row)?;
        let grouping = row.grouping.as_deref().ok_or(Error::NotGrouped)?;
        let grouping = pb::Grouping::decode(grouping).map_err(|_| Error::Unreadable("claim"))?;
        let day = |at: &Option<prost_types::Timestamp>| {
            at.as_ref().and_then(time::from_proto).map(time::today_at).ok_or(Error::Unreadable("claim"))
        };
        let (admitted, discharged) = (day(&data.admitted_at)?, day(&data.discharged_at)?);
        let birth: Date = vocabulary::date(&data.birth_date).map_err(|_| Error::Unreadable("claim"))?;
        let years = birth.until((Unit::Year, admitted)).map_or(0, |age| i32::from(age.get_years()));
        let form = pb::ClaimForm {
            sep_number: row.sep_number.clone(),
            facility_code: row.facility_code.clone(),
            medical_record_number: letter.medical_record_number,
            state: row.state.into(),
            care_type: row.care_type.into(),
            entitled_class: letter.entitled_class,
            admitted_on: admitted.to_string(),
            discharged_on: discharged.to_string(),
            stay_days: (discharged - admitted).get_days() + 1,
            age_years: years,
            age_days: (admitted - birth).get_days(),
            intensive_care: data.icu_days > 0,
            charges_rupiah: rule_facts::amounts(data.charges.as_ref()).iter().sum(),
            claimed_rupiah: grouping.tariff_rupiah,
            data: Some(pb::ClaimData { coder_nik: String::new(), ..data }),
            grouping: Some(pb::Grouping { answer: String::new(), ..grouping }),
        };
        Ok(pb::GetClaimFormResponse { form: Some(form) })
    }

    async fn compared(
        &self,
        call: &Call,
        message: pb::ReconcileClaimsRequest,
    ) -> Result<pb::ReconcileClaimsResponse, Status> {
        let mut fields = Fields::new();
        let facility = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let from = fields.parse("discharged_from", vocabulary::date(&message.discharged_from));
        let to = fields.parse("discharged_to", vocabulary::date(&message.discharged_to));
        let fits = from.zip(to).is_none_or(|(from, to)| {
            from <= to && from.checked_add((MOST_DAYS - 1).days()).is_ok_and(|last| to <= last)
        });
        let asked = format!("discharged_from or later, at most {MOST_DAYS} days in all");
        fields.require("discharged_to", fits, asked);
        let (Some(from), Some(to), true) = (from, to, fits) else { return Err(fields.into()) };
        fields.finish()?;
        let period = Period { facility_code: facility.as_deref(), from, to };
        let pool = &self.db.pool;
        let days = store::eklaim::days(pool, &period).await.map_err(Error::from)?;
        let differences =
            store::eklaim::differences(pool, &period, MOST_DIFFERENCES).await.map_err(Error::from)?;
        Ok(pb::ReconcileClaimsResponse {
            differences_total: days.iter().map(|day| day.differences).sum(),
            days: days
                .into_iter()
                .map(|day| pb::ReconciledDay {
                    facility_code: day.facility_code,
                    discharged_on: day.discharged_on.to_string(),
                    eklaim_claims: day.eklaim_claims,
                    eklaim_rupiah: day.eklaim_rupiah,
                    vklaim_claims: day.vklaim_claims,
                    vklaim_rupiah: day.vklaim_rupiah,
                    differences: day.differences,
                })
                .collect(),
            differences: differences
                .into_iter()
                .map(|one| pb::ReconciliationDifference {
                    kind: one.kind,
                    claim_id: one.claim_id.to_string(),
                    sep_number: one.sep_number,
                    facility_code: one.facility_code,
                    discharged_on: one.discharged_on.to_string(),
                    eklaim_rupiah: one.eklaim_rupiah,
                    vklaim_rupiah: one.vklaim_rupiah,
                })
                .collect(),
        })
    }
}

#[tonic::async_trait]
impl EklaimService for Claims {
    async fn reedit_claim(
        &self,
        request: Request<pb::ReeditClaimRequest>,
    ) -> Result<Response<pb::ReeditClaimResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.reedit(&call, message)).await?))
    }

    async fn withdraw_claim(
        &self,
        request: Request<pb::WithdrawClaimRequest>,
    ) -> Result<Response<pb::WithdrawClaimResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.withdraw(&call, message)).await?))
    }

    type SendDayStream = Pin<Box<dyn Stream<Item = Result<pb::SendDayResponse, Status>> + Send>>;

    async fn send_day(
        &self,
        request: Request<pb::SendDayRequest>,
    ) -> Result<Response<Self::SendDayStream>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(Box::pin(self.day_sent(call, message)).await?)))
    }

    async fn get_claim_form(
        &self,
        request: Request<pb::GetClaimFormRequest>,
    ) -> Result<Response<pb::GetClaimFormResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.form(&call, message)).await?))
    }

    async fn reconcile_claims(
        &self,
        request: Request<pb::ReconcileClaimsRequest>,
    ) -> Result<Response<pb::ReconcileClaimsResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.compared(&call, message)).await?))
    }
}
