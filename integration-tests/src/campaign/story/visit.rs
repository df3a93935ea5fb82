//! A member comes to the puskesmas: a visit, examined and ended.

use jiff::civil::Date;
use proto::primary_care::v1 as pb;
use rand::RngExt;

use super::given;
use crate::campaign::{
    caller::{Caller, Patient},
    desk::Stopped,
    journal::Told,
};

const SERVICE: &str = "primary-care";

impl Caller {
    pub(crate) async fn visit(&mut self) -> Result<(), Stopped> {
        let patient = given(self.take_patient())?;
        let visit_number = self.examined(&patient, "J06.9", self.today()).await?;
        let request = pb::DischargeVisitRequest {
            visit_number,
            discharge_status: pb::DischargeStatus::Recovered.into(),
            ..pb::DischargeVisitRequest::default()
        };
        let fktp = patient.fktp.caller();
        let discharged = self.desk.write(&fktp, request, |answer| {
            answer.visit.iter().map(|v| Told::of::<pb::VisitDischarged>(SERVICE, &v.visit_number)).collect()
        });
        discharged.await?;
        self.patients.push(patient);
        Ok(())
    }

    /// A visit of a day with vital signs, a diagnosis, a laboratory result and drugs; its number.
    pub(super) async fn examined(
        &mut self,
        patient: &Patient,
        diagnosis: &str,
        day: Date,
    ) -> Result<String, Stopped> {
        let fktp = patient.fktp.caller();
        let request = pb::RegisterVisitRequest {
            member: Some(pb::register_visit_request::Member::MemberId(patient.member_id.clone())),
            kind: pb::VisitKind::Sick.into(),
            visit_date: day.to_string(),
            complaint: "as told".to_owned(),
            ..pb::RegisterVisitRequest::default()
        };
        let registered = self.desk.write(&fktp, request, |answer| {
            answer.visit.iter().map(|v| Told::of::<pb::VisitRegistered>(SERVICE, &v.visit_number)).collect()
        });
        let visit_number = given(registered.await?.visit)?.visit_number;
        let request = pb::RecordVitalSignsRequest {
            visit_number: visit_number.clone(),
            vital_signs: Some(pb::VitalSigns {
                systolic_mmhg: Some(self.desk.chance.random_range(110..160)),
                diastolic_mmhg: Some(self.desk.chance.random_range(70..95)),
                heart_rate: Some(self.desk.chance.random_range(60..100)),
                consciousness: pb::Consciousness::Alert.into(),
                ..pb::VitalSigns::default()
            }),
            ..pb::RecordVitalSignsRequest::default()
        };
        // The first thing that is recorded makes it a contact.
        let recorded = self.desk.write(&fktp, request, |answer| {
            answer.visit.iter().map(|v| Told::of::<pb::VisitExamined>(SERVICE, &v.visit_number)).collect()
        });
        recorded.await?;
        let request = pb::RecordDiagnosesRequest {
            visit_number: visit_number.clone(),
            diagnosis_codes: vec![diagnosis.to_owned()],
            ..pb::RecordDiagnosesRequest::default()
        };
        self.desk.write(&fktp, request, |_| Vec::new()).await?;
        let request = pb::RecordLaboratoryResultsRequest {
            visit_number: visit_number.clone(),
            laboratory_results: Some(pb::LaboratoryResults {
                fasting_glucose_mg_dl: Some(self.desk.chance.random_range(70..180)),
                ..pb::LaboratoryResults::default()
            }),
            ..pb::RecordLaboratoryResultsRequest::default()
        };
        self.desk.write(&fktp, request, |_| Vec::new()).await?;
        let drug = |atc_code: &str| pb::Drug { atc_code: atc_code.to_owned(), quantity: 10 };
        let request = pb::RecordDrugsRequest {
            visit_number: visit_number.clone(),
            drugs: vec![drug("N02BE01"), drug("C01DA08")],
            ..pb::RecordDrugsRequest::default()
        };
        self.desk.write(&fktp, request, |_| Vec::new()).await?;
        Ok(visit_number)
    }
}
