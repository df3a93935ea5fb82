//! What is recorded of an open visit: RecordVitalSigns, RecordLaboratoryResults, RecordDiagnoses, RecordDrugs.

use chassis::{Begun, Call, Fields, Mutation, RequestId};
use prost::Message;
use proto::primary_care::v1 as pb;
use tonic::Status;
use vocabulary::{AtcCode, Icd10, VisitNumber};

use super::{PrimaryCare, own, wire};
use crate::{
    diagnosis::{self, Diagnoses},
    drug::{self, Drug},
    error::Error,
    store,
    visit::{State, Visit},
};
use wire::event;

/// What all of these calls name.
struct Named {
    request_id: Option<RequestId>,
    visit_number: Option<VisitNumber>,
}

impl Named {
    fn read(fields: &mut Fields, request_id: &str, visit_number: &str) -> Self {
        Self {
            request_id: fields.parse("request_id", RequestId::parse(request_id)),
            visit_number: fields.parse("visit_number", VisitNumber::parse(visit_number)),
        }
    }
}

impl PrimaryCare {
    pub(super) async fn vital_signs(
        &self,
        call: &Call,
        message: &pb::RecordVitalSignsRequest,
    ) -> Result<pb::RecordVitalSignsResponse, Status> {
        let mut fields = Fields::new();
        let named = Named::read(&mut fields, &message.request_id, &message.visit_number);
        let vital_signs = wire::vital_signs(&mut fields, message.vital_signs);
        self.examine(
            call,
            message,
            fields,
            named,
            |visit| visit.vital_signs = vital_signs,
            |visit| pb::RecordVitalSignsResponse { visit: Some(visit) },
        )
        .await
    }

    pub(super) async fn laboratory_results(
        &self,
        call: &Call,
        message: &pb::RecordLaboratoryResultsRequest,
    ) -> Result<pb::RecordLaboratoryResultsResponse, Status> {
        let mut fields = Fields::new();
        let named = Named::read(&mut fields, &message.request_id, &message.visit_number);
        let laboratory = wire::laboratory_results(&mut fields, message.laboratory_results);
        self.examine(
            call,
            message,
            fields,
            named,
            |visit| visit.laboratory = laboratory,
            |visit| pb::RecordLaboratoryResultsResponse { visit: Some(visit) },
        )
        .await
    }

    pub(super) async fn diagnoses(
        &self,
        call: &Call,
        message: &pb::RecordDiagnosesRequest,
    ) -> Result<pb::RecordDiagnosesResponse, Status> {
        let mut fields = Fields::new();
        let named = Named::read(&mut fields, &message.request_id, &message.visit_number);
        let diagnoses = read_diagnoses(&mut fields, &message.diagnosis_codes);
        self.examine(
            call,
            message,
            fields,
            named,
            |visit| visit.diagnoses = diagnoses,
            |visit| pb::RecordDiagnosesResponse { visit: Some(visit) },
        )
        .await
    }

    pub(super) async fn drugs(
        &self,
        call: &Call,
        message: &pb::RecordDrugsRequest,
    ) -> Result<pb::RecordDrugsResponse, Status> {
        let mut fields = Fields::new();
        let named = Named::read(&mut fields, &message.request_id, &message.visit_number);
        let drugs = read_drugs(&mut fields, &message.drugs);
        self.examine(
            call,
            message,
            fields,
            named,
            |visit| visit.drugs = drugs,
            |visit| pb::RecordDrugsResponse { visit: Some(visit) },
        )
        .await
    }

    /// Records something of an open visit. The first time it counts as a contact from then on.
    async fn examine<A: Message + Default>(
        &self,
        call: &Call,
        message: &impl Message,
        fields: Fields,
        named: Named,
        record: impl FnOnce(&mut Visit),
        answer: fn(pb::Visit) -> A,
    ) -> Result<A, Status> {
        let (Some(request_id), Some(number)) = (named.request_id, named.visit_number) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mut write = match Mutation::new(call, message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut visit = own(call, store::lock_visit(write.connection(), &number).await?)?;
        let before = visit.state;
        visit.state = visit.progress().examine().map_err(Error::from)?;
        record(&mut visit);
        store::update_examination(write.connection(), &visit).await?;
        if before == State::Registered {
            let examined =
                event!(VisitExamined, visit, examined_at: Some(chassis::time::to_proto(call.received_at)));
            write.emit(visit.number.as_str(), &examined).await?;
        }
        Ok(write.commit(answer(wire::of_visit(&visit))).await?)
    }
}

/// One more of each list than is allowed is read, so that a huge one costs nothing and is still refused by its number.
fn read_diagnoses(fields: &mut Fields, given: &[String]) -> Option<Diagnoses> {
    let given = &given[..given.len().min(diagnosis::MOST + 1)];
    let codes: Vec<_> = given
        .iter()
        .enumerate()
        .filter_map(|(i, code)| fields.parse(format!("diagnosis_codes[{i}]"), Icd10::parse(code)))
        .collect();
    if codes.len() == given.len() { fields.parse("diagnosis_codes", Diagnoses::new(codes)) } else { None }
}

fn read_drugs(fields: &mut Fields, given: &[pb::Drug]) -> Vec<Drug> {
    let mut drugs = Vec::new();
    for (i, drug) in given.iter().take(drug::MOST + 1).enumerate() {
        let code = fields.parse(format!("drugs[{i}].atc_code"), AtcCode::parse(&drug.atc_code));
        fields.require(
            format!("drugs[{i}].quantity"),
            (1..=drug::MOST_UNITS).contains(&drug.quantity),
            "must be 1 to 1,000",
        );
        drugs.extend(code.map(|code| Drug { code, quantity: drug.quantity }));
    }
    fields.parse("drugs", drug::check(&drugs));
    drugs
}
