//! The facilities themselves: registered and certified before all else; then hospitals post their room, and the
//! Ministry changes an entry of the registry, which many do at the same time.

use proto::{accreditation::v1 as accreditation, claims::v1 as claims, referral::v1 as referral};
use rand::{RngExt, seq::IndexedRandom};

use super::given;
use crate::campaign::{
    caller::Caller,
    cast::{CLINIC, CODER_NIK, Facility, MINISTRY},
    desk::Stopped,
    journal::Told,
};

const SERVICE: &str = "accreditation";

impl Caller {
    /// Registers every facility and brings in the certificates of the hospitals.
    pub(crate) async fn set_up(&mut self) -> Result<(), Stopped> {
        for facility in Facility::puskesmas().into_iter().chain(Facility::all_hospitals()) {
            let code = facility.code();
            let request = accreditation::RegisterFacilityRequest {
                facility: Some(facility.entry()),
                ..accreditation::RegisterFacilityRequest::default()
            };
            let told = vec![Told::of::<accreditation::FacilityRegistered>(SERVICE, &code)];
            self.desk.write(MINISTRY, request, |_| told).await?;
            if matches!(facility, Facility::Hospital(_)) {
                let request = accreditation::ImportCertificateRequest {
                    certificate_number: format!("LAMA-{code}"),
                    facility_code: code.clone(),
                    grade: accreditation::Grade::Madya.into(),
                    decided_on: format!("{}-01-15", self.first_day.year() - 1),
                    ..accreditation::ImportCertificateRequest::default()
                };
                let told = vec![Told::of::<accreditation::AccreditationDecided>(SERVICE, &code)];
                self.desk.write(MINISTRY, request, |_| told).await?;
                self.coder(&code).await?;
            }
        }
        Ok(())
    }

    /// Registers the certificate of the coder at a hospital.
    async fn coder(&mut self, code: &str) -> Result<(), Stopped> {
        let request = claims::RegisterCoderRequest {
            certificate_number: "UJK-1".to_owned(),
            coder_nik: CODER_NIK.to_owned(),
            facility_code: code.to_owned(),
            valid_from: format!("{}-01-15", self.first_day.year() - 1),
            valid_to: format!("{}-01-14", self.first_day.year() + 4),
            ..claims::RegisterCoderRequest::default()
        };
        let told = |answer: &claims::RegisterCoderResponse| {
            let id = answer.certificate.as_ref().map(|certificate| certificate.certificate_id.as_str());
            vec![Told::of::<claims::CoderRegistered>("claims", id.unwrap_or_default())]
        };
        self.desk.write(MINISTRY, request, told).await.map(drop)
    }

    /// A hospital posts its room for tomorrow.
    pub(crate) async fn room(&mut self) -> Result<(), Stopped> {
        let hospital = *given(Facility::hospitals().choose(&mut self.desk.chance))?;
        let tomorrow = given(self.today().tomorrow().ok())?;
        let request = referral::UpdateCapacityRequest {
            facility_code: hospital.code(),
            days: vec![referral::DayQuota {
                poli_code: CLINIC.to_owned(),
                date: tomorrow.to_string(),
                quota: self.desk.chance.random_range(1_000..10_000),
            }],
            ..referral::UpdateCapacityRequest::default()
        };
        self.desk.write(&hospital.caller(), request, |_| Vec::new()).await.map(drop)
    }

    /// The Ministry corrects the name of a hospital.
    pub(crate) async fn registry(&mut self) -> Result<(), Stopped> {
        let hospital = *given(Facility::hospitals().choose(&mut self.desk.chance))?;
        let code = hospital.code();
        let name = format!("RSUD Kampanye {}", self.desk.chance.random_range(1..1_000));
        let request = accreditation::UpdateFacilityRequest {
            facility: Some(accreditation::Facility {
                facility_code: code.clone(),
                name,
                ..accreditation::Facility::default()
            }),
            update_mask: Some(prost_types::FieldMask { paths: vec!["name".to_owned()] }),
            ..accreditation::UpdateFacilityRequest::default()
        };
        let told = vec![Told::of::<accreditation::FacilityUpdated>(SERVICE, &code)];
        self.desk.write(MINISTRY, request, |_| told).await.map(drop)
    }
}
