//! The registry of facilities.

use std::collections::BTreeSet;

use chassis::{Begun, Fields, Mutation, RequestId, call, page, page::Page};
use proto::accreditation::v1::{self as pb, facility_service_server::FacilityService};
use tonic::{Request, Response, Status};

use super::{Facilities, answer, read};
use crate::{
    contract,
    error::Error,
    facility::{Facility, HospitalClass, Kind, Level, moh_code, satusehat_id},
    store::registry,
};

#[tonic::async_trait]
impl FacilityService for Facilities {
    async fn register_facility(
        &self,
        request: Request<pb::RegisterFacilityRequest>,
    ) -> Result<Response<pb::RegisterFacilityResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        fields.require("facility", message.facility.is_some(), "must be given");
        let asked = message.facility.clone().unwrap_or_default();
        let code = read::facility_code(&mut fields, "facility.facility_code", &asked.facility_code);
        let given = read::facility(&mut fields, &asked, call.today, |_| true);
        if let Some(kind) = given.kind {
            fields.parse("facility.hospital_class", kind.fits(given.hospital_class));
        }
        let (Some(request_id), Some(code), Some(name), Some(kind), Some(ownership), Some(region_code)) =
            (request_id, code, given.name, given.kind, given.ownership, given.region_code)
        else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        let facility = Facility {
            code,
            moh_code: given.moh_code,
            satusehat_organization_id: given.satusehat_organization_id,
            name,
            kind,
            hospital_class: given.hospital_class,
            ownership,
            region_code,
            location: given.location,
            services: given.services,
            kris: given.kris,
            contracts: given.contract.into_iter().collect(),
            revision: 1,
        };
        let at = call.received_at;
        registry::insert(write.connection(), &facility, at).await?;
        if let Some(period) = given.contract {
            let recorded = contract::record(&[], period).map_err(Error::from)?;
            let by = call.caller.to_string();
            registry::record_contract(write.connection(), &facility.code, &recorded, &by, at).await?;
        }
        if let Some(kris) = &given.kris {
            registry::record_kris(write.connection(), &facility.code, kris, at).await?;
        }
        let shown = answer::facility(&facility, call.today);
        write.emit(&facility.code, &pb::FacilityRegistered { facility: Some(shown) }).await?;
        let shown = answer::facility_with_history(&facility, call.today);
        let answer = write.commit(pb::RegisterFacilityResponse { facility: Some(shown) }).await?;
        Ok(Response::new(answer))
    }

    async fn update_facility(
        &self,
        request: Request<pb::UpdateFacilityRequest>,
    ) -> Result<Response<pb::UpdateFacilityResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        fields.require("facility", message.facility.is_some(), "must be given");
        let asked = message.facility.clone().unwrap_or_default();
        let code = read::facility_code(&mut fields, "facility.facility_code", &asked.facility_code);
        let mask = changes(&mut fields, message.update_mask.as_ref());
        let in_mask = |name: &str| mask.contains(name);
        let given = read::facility(&mut fields, &asked, call.today, in_mask);
        fields.require(
            "facility.contract",
            !in_mask("contract") || asked.contract.is_some(),
            "must be given",
        );
        fields.require("facility.kris", !in_mask("kris") || asked.kris.is_some(), "must be given");
        let (Some(request_id), Some(code)) = (request_id, code) else { return Err(fields.into()) };
        fields.finish()?;
        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(Response::new(answer)),
            Begun::Fresh(write) => write,
        };
        registry::lock(write.connection(), &code).await?;
        let known = registry::get(write.connection(), &code).await?;
        let changed = Facility {
            name: given.name.unwrap_or(known.name),
            moh_code: if in_mask("moh_code") { given.moh_code } else { known.moh_code },
            satusehat_organization_id: if in_mask("satusehat_organization_id") {
                given.satusehat_organization_id
            } else {
                known.satusehat_organization_id
            },
            hospital_class: if in_mask("hospital_class") {
                given.hospital_class
            } else {
                known.hospital_class
            },
            ownership: given.ownership.unwrap_or(known.ownership),
            region_code: given.region_code.unwrap_or(known.region_code),
            location: if in_mask("location") { given.location } else { known.location },
            services: if in_mask("services") { given.services } else { known.services },
            ..known
        };
        let mut fields = Fields::new();
        fields.parse("facility.hospital_class", changed.kind.fits(changed.hospital_class));
        fields.finish()?;
        let at = call.received_at;
        registry::update(write.connection(), &changed, at).await?;
        if let Some(period) = given.contract {
            let recorded = contract::record(&changed.contracts, period).map_err(Error::from)?;
            let by = call.caller.to_string();
            registry::record_contract(write.connection(), &code, &recorded, &by, at).await?;
        }
        if let Some(kris) = &given.kris {
            registry::record_kris(write.connection(), &code, kris, at).await?;
        }
        let changed = registry::get(write.connection(), &code).await?;
        let event = pb::FacilityUpdated {
            facility: Some(answer::facility(&changed, call.today)),
            changed_fields: mask.into_iter().collect(),
        };
        write.emit(&code, &event).await?;
        let shown = answer::facility_with_history(&changed, call.today);
        let answer = write.commit(pb::UpdateFacilityResponse { facility: Some(shown) }).await?;
        Ok(Response::new(answer))
    }

    async fn get_facility(
        &self,
        request: Request<pb::GetFacilityRequest>,
    ) -> Result<Response<pb::GetFacilityResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let code = read::facility_code(&mut fields, "facility_code", &message.facility_code);
        let Some(code) = code else { return Err(fields.into()) };
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let facility = registry::get(&mut connection, &code).await?;
        let facility = answer::facility_with_history(&facility, call.today);
        Ok(Response::new(pb::GetFacilityResponse { facility: Some(facility) }))
    }

    async fn list_facilities(
        &self,
        request: Request<pb::ListFacilitiesRequest>,
    ) -> Result<Response<pb::ListFacilitiesResponse>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let filter = filter(&mut fields, &message, &page);
        fields.finish()?;
        let mut connection = self.db.pool.acquire().await.map_err(Error::from)?;
        let mut found = registry::find(&mut connection, &filter).await?;
        let full = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = found.len() > full;
        found.truncate(full);
        let next = found.last().filter(|_| more).map(|last| page::token(&last.code));
        Ok(Response::new(pb::ListFacilitiesResponse {
            facilities: found.iter().map(|facility| answer::facility(facility, call.today)).collect(),
            next_page_token: next.unwrap_or_default(),
        }))
    }
}

fn filter(fields: &mut Fields, message: &pb::ListFacilitiesRequest, page: &Page) -> registry::Filter {
    fields.require("kinds", message.kinds.len() <= Kind::ALL.len(), "must be at most 8");
    let mut kinds = BTreeSet::new();
    for (index, number) in message.kinds.iter().take(Kind::ALL.len()).enumerate() {
        let kind = Kind::from_number(*number).ok_or("must be a kind of facility");
        kinds.extend(fields.parse(format!("kinds[{index}]"), kind));
    }
    let level = read::if_specified(fields, "level", message.level, Level::from_number);
    let of_level = |kind: &Kind| level.is_none_or(|level| kind.level() == level);
    let kinds: Vec<_> = match (kinds.is_empty(), level) {
        (true, None) => Vec::new(),
        (true, Some(level)) => Kind::of_level(level).collect(),
        // A kind outside of the level asked for fits nothing; the list must not become "every kind" by it.
        (false, _) => kinds.into_iter().filter(of_level).collect(),
    };
    let nothing = kinds.is_empty() && !message.kinds.is_empty();
    let from = match &page.after {
        // No code follows on another with one more character but those that are greater.
        Some(last) => format!("{last}0"),
        None => String::new(),
    };
    registry::Filter {
        from,
        to: if nothing { String::new() } else { "ZZZZZZZZ".into() },
        kinds: kinds.into_iter().map(|kind| kind.as_str().to_owned()).collect(),
        poli: read::if_given(fields, "poli_code", &message.poli_code, vocabulary::Poli::parse)
            .map(|poli| poli.as_str().to_owned()),
        region: read::if_given(fields, "region_code", &message.region_code, read::region),
        class: read::if_specified(
            fields,
            "hospital_class",
            message.hospital_class,
            HospitalClass::from_number,
        )
        .map(|class| class.as_str().to_owned()),
        contracted_on: read::if_given(fields, "contracted_on", &message.contracted_on, vocabulary::date),
        moh_code: read::if_given(fields, "moh_code", &message.moh_code, moh_code),
        satusehat_organization_id: read::if_given(
            fields,
            "satusehat_organization_id",
            &message.satusehat_organization_id,
            satusehat_id,
        ),
        limit: page.size + 1,
    }
}

fn changes(fields: &mut Fields, mask: Option<&prost_types::FieldMask>) -> BTreeSet<String> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    let known = |path: &&String| read::CHANGEABLE.contains(&path.as_str());
    let all_known = !paths.is_empty() && paths.iter().all(|path| known(&path));
    fields.require(
        "update_mask",
        all_known,
        format!("must name at least one of: {}", read::CHANGEABLE.join(", ")),
    );
    paths.iter().filter(known).cloned().collect()
}
