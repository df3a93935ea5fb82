//! The register of coders over gRPC.

use std::sync::Arc;

use chassis::{Begun, Call, Db, Fields, Mutation, Problem, RequestId, Upstream, page::Page, time};
use proto::{
    accreditation::v1::{self as siaf, accreditation_service_client::AccreditationServiceClient},
    claims::v1::{self as pb, coder_service_server::CoderService},
};
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;
use vocabulary::{FacilityCode, Masked, Nik};

use super::{Policies, claim_read::claim_id, facility_scope, optional, sep};
use crate::{
    coder::Certificate,
    error::Error,
    store::{
        self,
        coder::{Filter, Row},
    },
};

/// Answers for the register of coders.
#[derive(Clone)]
pub(crate) struct Coders {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
    pub(crate) accreditation: AccreditationServiceClient<Upstream>,
}

fn view(row: &Row) -> pb::CoderCertificate {
    let of = &row.certificate;
    pb::CoderCertificate {
        certificate_id: row.certificate_id.to_string(),
        certificate_number: row.certificate_number.expose().clone(),
        coder_nik: row.coder_nik.expose().clone(),
        facility_code: of.facility_code.clone(),
        valid_from: of.valid_from.to_string(),
        valid_to: of.valid_to.to_string(),
        registered_at: Some(time::to_proto(row.registered_at)),
        revoked_on: of.revoked_on.map_or_else(String::new, |day| day.to_string()),
        revoke_note: row.revoke_note.expose().clone(),
    }
}

impl Coders {
    async fn register(
        &self,
        call: &Call,
        message: pb::RegisterCoderRequest,
    ) -> Result<pb::RegisterCoderResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("certificate_number", vocabulary::text(&message.certificate_number, 40));
        let nik = fields.parse("coder_nik", Nik::parse(&message.coder_nik));
        let facility = fields.parse("facility_code", FacilityCode::parse(&message.facility_code));
        let from = fields.parse("valid_from", vocabulary::date(&message.valid_from));
        let to = fields.parse("valid_to", vocabulary::date(&message.valid_to));
        let in_order = from.zip(to).is_none_or(|(from, to)| from <= to);
        fields.require("valid_to", in_order, "must not lie before valid_from");
        let (Some(request_id), Some(number), Some(nik), Some(facility), Some(from), Some(to), true) =
            (request_id, number, nik, facility, from, to, in_order)
        else {
            return Err(fields.into());
        };
        let mutation = Mutation::new(call, &message, request_id);
        let write = async {
            self.is_referral_level(call, &facility).await?;
            let mut write = match mutation.begin(&self.db).await? {
                Begun::Replayed(answer) => return Ok(answer),
                Begun::Fresh(write) => write,
            };
            let row = Row {
                certificate_id: Uuid::now_v7(),
                certificate_number: Masked::new(number),
                coder_nik: Masked::new(nik.expose().to_owned()),
                registered_at: call.received_at,
                revoke_note: Masked::default(),
                certificate: Certificate {
                    facility_code: facility.as_str().to_owned(),
                    valid_from: from,
                    valid_to: to,
                    revoked_on: None,
                },
            };
            store::coder::register(write.connection(), &row).await?;
            let event = pb::CoderRegistered {
                certificate_id: row.certificate_id.to_string(),
                facility_code: row.certificate.facility_code.clone(),
                valid_from: from.to_string(),
                valid_to: to.to_string(),
            };
            write.emit(&event.certificate_id, &event).await?;
            Ok(write.commit(pb::RegisterCoderResponse { certificate: Some(view(&row)) }).await?)
        };
        Box::pin(mutation.once(&self.db, write)).await
    }

    /// Coders of claims work at referral-level facilities, which is what is counted.
    async fn is_referral_level(&self, call: &Call, facility: &FacilityCode) -> Result<(), Error> {
        let request = siaf::GetAccreditationStatusRequest {
            facility_code: facility.as_str().to_owned(),
            on: call.today.to_string(),
        };
        let answer = self.accreditation.clone().get_accreditation_status(call.onward(request)).await;
        match answer {
            Ok(answer) => {
                let level = answer.into_inner().status.map(|status| status.level());
                if level == Some(siaf::FacilityLevel::Fkrtl) { Ok(()) } else { Err(Error::NotReferralLevel) }
            }
            Err(status) if status.code() == Code::NotFound => Err(Error::NotReferralLevel),
            Err(status) => Err(Problem::from_upstream("accreditation", &status).into()),
        }
    }

    async fn revoke(
        &self,
        call: &Call,
        message: pb::RevokeCoderRequest,
    ) -> Result<pb::RevokeCoderResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let id = claim_id(&mut fields, "certificate_id", &message.certificate_id);
        let from = fields.parse("revoked_on", vocabulary::date(&message.revoked_on));
        let past = from.is_none_or(|day| day <= call.today);
        fields.require("revoked_on", past, "must not lie in the future");
        let note = fields.parse("note", vocabulary::text(&message.note, 200));
        let (Some(request_id), Some(id), Some(from), Some(note), true) = (request_id, id, from, note, past)
        else {
            return Err(fields.into());
        };
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut row = store::coder::lock(write.connection(), id).await?.ok_or(Error::NoCertificate)?;
        if let Some(since) = row.certificate.revoked_on {
            return Err(Error::CertificateRevoked(since));
        }
        store::coder::revoke(write.connection(), id, from, &note).await?;
        row.certificate.revoked_on = Some(from);
        row.revoke_note = Masked::new(note);
        let event = pb::CoderRevoked {
            certificate_id: id.to_string(),
            facility_code: row.certificate.facility_code.clone(),
            revoked_on: from.to_string(),
        };
        write.emit(&event.certificate_id, &event).await?;
        Ok(write.commit(pb::RevokeCoderResponse { certificate: Some(view(&row)) }).await?)
    }

    async fn list(
        &self,
        call: &Call,
        message: pb::ListCodersRequest,
    ) -> Result<pb::ListCodersResponse, Status> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let filter = Filter {
            facility_code: facility_scope(&mut fields, call.caller.facility(), &message.facility_code),
            valid_on: optional(&mut fields, "valid_on", &message.valid_on, vocabulary::date),
            after: page.after.as_deref().and_then(|key| claim_id(&mut fields, "page_token", key)),
            limit: page.size + 1,
        };
        fields.finish()?;
        let mut rows = store::coder::list(&self.db.pool, &filter).await.map_err(Error::from)?;
        let next_page_token = sep::next(&mut rows, page.size, |row| row.certificate_id.to_string());
        Ok(pb::ListCodersResponse { certificates: rows.iter().map(view).collect(), next_page_token })
    }

    async fn count(
        &self,
        call: &Call,
        message: pb::CountCertifiedFacilitiesRequest,
    ) -> Result<pb::CountCertifiedFacilitiesResponse, Status> {
        let mut fields = Fields::new();
        let on = optional(&mut fields, "on", &message.on, vocabulary::date).unwrap_or(call.today);
        fields.require("on", on <= call.today, "must not lie in the future");
        fields.finish()?;
        let duty = self.policies.coder.on(on).map_err(Error::from)?;
        let (facilities, certificates) = store::coder::count(&self.db.pool, on).await.map_err(Error::from)?;
        Ok(pb::CountCertifiedFacilitiesResponse {
            on: on.to_string(),
            facilities,
            certificates,
            target_facilities: duty.target_facilities.into(),
        })
    }
}

#[tonic::async_trait]
impl CoderService for Coders {
    async fn register_coder(
        &self,
        request: Request<pb::RegisterCoderRequest>,
    ) -> Result<Response<pb::RegisterCoderResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.register(&call, message)).await?))
    }

    async fn revoke_coder(
        &self,
        request: Request<pb::RevokeCoderRequest>,
    ) -> Result<Response<pb::RevokeCoderResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.revoke(&call, message)).await?))
    }

    async fn list_coders(
        &self,
        request: Request<pb::ListCodersRequest>,
    ) -> Result<Response<pb::ListCodersResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.list(&call, message)).await?))
    }

    async fn count_certified_facilities(
        &self,
        request: Request<pb::CountCertifiedFacilitiesRequest>,
    ) -> Result<Response<pb::CountCertifiedFacilitiesResponse>, Status> {
        let (call, message) = chassis::call::accept(request)?;
        Ok(Response::new(Box::pin(self.count(&call, message)).await?))
    }
}
