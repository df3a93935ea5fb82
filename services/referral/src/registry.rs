//! Asks the registry of facilities, which the accreditation service keeps.

use chassis::{Call, Problem, Upstream};
use proto::accreditation::v1::{
    self as registry, FacilityLevel, GetFacilityRequest, HospitalClass, ListFacilitiesRequest,
    ServiceStratum, facility_service_client::FacilityServiceClient,
};
use tonic::Code;
use vocabulary::{FacilityCode, Poli};

use crate::{
    candidate::{Facility, Place},
    ladder::Standing,
};

const NAME: &str = "accreditation";
const LARGEST_PAGE: i32 = 500;

/// The registry, seen from here.
#[derive(Clone)]
pub(crate) struct Registry {
    client: FacilityServiceClient<Upstream>,
}

impl Registry {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { client: FacilityServiceClient::new(upstream) }
    }

    /// A facility; `None` when the registry does not know it.
    pub(crate) async fn facility(
        &self,
        call: &Call,
        code: &FacilityCode,
    ) -> Result<Option<Facility>, Problem> {
        let request = GetFacilityRequest { facility_code: code.to_string() };
        match self.client.clone().get_facility(call.onward(request)).await {
            Ok(answer) => answer.into_inner().facility.map(read).transpose(),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(Problem::from_upstream(NAME, &status)),
        }
    }

    /// The facilities of referral level that run a clinic, at most `most`; with a day, those contracted on it.
    pub(crate) async fn running(
        &self,
        call: &Call,
        poli: Option<Poli>,
        contracted_on: Option<String>,
        most: usize,
    ) -> Result<Vec<Facility>, Problem> {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListFacilitiesRequest {
                level: FacilityLevel::Fkrtl.into(),
                poli_code: poli.map(|poli| poli.to_string()).unwrap_or_default(),
                contracted_on: contracted_on.clone().unwrap_or_default(),
                page_size: LARGEST_PAGE,
                page_token,
                ..ListFacilitiesRequest::default()
            };
            let page = self
                .client
                .clone()
                .list_facilities(call.onward(request))
                .await
                .map_err(|status| Problem::from_upstream(NAME, &status))?
                .into_inner();
            for facility in page.facilities {
                found.push(read(facility)?);
            }
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            if found.len() >= most {
                tracing::warn!(
                    most,
                    "the registry holds more facilities for this clinic than one search looks at"
                );
                return Ok(found);
            }
            page_token = page.next_page_token;
        }
    }
}

fn read(facility: registry::Facility) -> Result<Facility, Problem> {
    let (standing, class) = match (facility.level(), facility.hospital_class()) {
        (FacilityLevel::Fktp, _) => (Standing::Fktp, ""),
        (_, HospitalClass::A) => (Standing::A, "A"),
        (_, HospitalClass::B) => (Standing::B, "B"),
        (_, HospitalClass::C) => (Standing::C, "C"),
        (_, HospitalClass::D) => (Standing::D, "D"),
        (_, HospitalClass::Unspecified) => (Standing::MainClinic, ""),
    };
    let code = FacilityCode::parse(&facility.facility_code).map_err(|_| Problem::unavailable(NAME))?;
    // The list of facilities leaves the history out.
    let contracts = if facility.contract_history.is_empty() {
        facility.contract.into_iter().collect()
    } else {
        facility.contract_history
    };
    Ok(Facility {
        code,
        name: facility.name,
        standing,
        class,
        region: facility.region_code,
        place: facility.location.map(|at| Place { latitude: at.latitude, longitude: at.longitude }),
        clinics: facility
            .services
            .into_iter()
            .map(|offered| {
                let stratum = match offered.stratum() {
                    ServiceStratum::Unspecified => "",
                    ServiceStratum::Dasar => "DASAR",
                    ServiceStratum::Madya => "MADYA",
                    ServiceStratum::Utama => "UTAMA",
                    ServiceStratum::Paripurna => "PARIPURNA",
                };
                (offered.poli_code, stratum)
            })
            .collect(),
        contracts: contracts.into_iter().map(|contract| (contract.from, contract.to)).collect(),
    })
}
