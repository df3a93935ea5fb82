//! The assessment of coding: reviews of the drawn claims, and the accuracy of each hospital and of all together.

use std::collections::HashSet;

use chassis::{Begun, Call, Fields, Mutation, RequestId, page::Page, time};
use prost::Message as _;
use proto::claims::v1 as pb;
use uuid::Uuid;
use vocabulary::{CareClass, FacilityCode, Icd9Procedure, Icd10, Malformed};

use super::{Audits, claim_data, claim_read::claim_id as id, facility_scope, sep};
use crate::{
    accuracy::{Codes, Score, basis_points, compare},
    episode::{Care, Episode},
    error::{Error, audit::Refused},
    store::{
        self,
        claim::Row as Claim,
        coding_review::{Accuracy, Made, Row},
    },
    tariff::Hospital,
};

const MOST_SECONDARY: usize = 29;
const MOST_PROCEDURES: usize = 30;

/// What the reviewer's codes are worth.
struct Regrouped {
    cbg_code: String,
    /// `None` when they are ungroupable, or the package has no tariff.
    tariff_rupiah: Option<i64>,
}

impl Audits {
    pub(super) async fn review(
        &self,
        call: &Call,
        message: pb::RecordCodingReviewRequest,
    ) -> Result<pb::RecordCodingReviewResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let frame_id = id(&mut fields, "frame_id", &message.frame_id);
        let claim_id = id(&mut fields, "claim_id", &message.claim_id);
        fields.parse("protocol_version", vocabulary::text(&message.protocol_version, 40));
        let codes = codes(&mut fields, message.codes.as_ref());
        let (Some(request_id), Some(frame_id), Some(claim_id), Some(codes)) =
            (request_id, frame_id, claim_id, codes)
        else {
            return Err(fields.into());
        };
        fields.checked()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        self.knows_protocol(call, &message.protocol_version)?;
        let row = store::coding_review::lock(write.connection(), frame_id, claim_id).await?;
        let row = row.ok_or(Refused::NoReview)?;
        if row.reviewed_at.is_some() {
            return Err(Refused::ReviewExists.into());
        }
        let claim = store::claim::get(write.connection(), claim_id, None).await?.ok_or(Error::NoClaim)?;
        let letter = store::sep::get(write.connection(), &claim.sep_number, None).await?;
        let letter = sep::view(&letter.ok_or(Error::NoSep)?)?;
        let inpatient = claim.care_type == pb::CareType::Inpatient as i16;
        let care = if inpatient { Care::Inpatient } else { Care::Outpatient };
        let episode = claim_data::stored(claim.data.as_deref().ok_or(Error::DataMissing)?, care)?;
        let original = Codes {
            primary: episode.primary.clone(),
            secondary: episode.secondary.clone(),
            procedures: episode.procedures.clone(),
        };
        let grouping = claim.grouping.as_deref().map(pb::Grouping::decode).transpose();
        let grouping = grouping.map_err(|_| Error::Unreadable("claim"))?.ok_or(Error::NotGrouped)?;
        let regrouped = self.regroup(&claim, &letter, episode, &codes)?;
        let score = compare(&original, &codes);
        let effect_rupiah = regrouped.tariff_rupiah.map(|tariff| tariff - grouping.tariff_rupiah);
        let review = pb::CodingReview {
            reviewed_at: Some(time::to_proto(call.received_at)),
            reviewed_by: call.caller.to_string(),
            protocol_version: message.protocol_version.clone(),
            original: Some(shown_codes(&original)),
            reviewed: Some(shown_codes(&codes)),
            score: Some(shown_score(score)),
            cbg_changed: regrouped.cbg_code != grouping.cbg_code,
            original_cbg_code: grouping.cbg_code,
            reviewed_cbg_code: regrouped.cbg_code,
            effect_rupiah,
            ..pb::CodingReview::default()
        };
        let made = Made {
            at: call.received_at,
            review: review.encode_to_vec(),
            score,
            cbg_changed: review.cbg_changed,
            effect_rupiah,
        };
        store::coding_review::save(write.connection(), frame_id, claim_id, &made).await?;
        let event = pb::CodingReviewed {
            frame_id: frame_id.to_string(),
            claim_id: claim_id.to_string(),
            facility_code: row.facility_code.clone(),
            diagnoses_reviewed: score.diagnoses_reviewed,
            diagnoses_agreed: score.diagnoses_agreed,
            procedures_reviewed: score.procedures_reviewed,
            procedures_agreed: score.procedures_agreed,
            cbg_changed: review.cbg_changed,
            reviewed_on: call.today.to_string(),
        };
        write.emit(&event.claim_id, &event).await?;
        let row = Row { review: Some(made.review), ..row };
        let review = Some(shown(frame_id, row)?);
        Ok(write.commit(pb::RecordCodingReviewResponse { review }).await?)
    }

    /// Groups the episode with the reviewer's codes, by the tables of the day of service.
    fn regroup(
        &self,
        claim: &Claim,
        letter: &pb::Sep,
        episode: Episode,
        codes: &Codes,
    ) -> Result<Regrouped, Error> {
        let table = self.policies.groups.on(claim.service_date)?;
        let tariffs = self.policies.tariff.on(claim.service_date)?;
        let episode = Episode {
            primary: codes.primary.clone(),
            secondary: codes.secondary.clone(),
            procedures: codes.procedures.clone(),
            ..episode
        };
        let Ok(package) = table.group(&episode) else {
            return Ok(Regrouped { cbg_code: table.ungroupable().as_str().to_owned(), tariff_rupiah: None });
        };
        let class = CareClass::try_from(letter.entitled_class).map_err(|_| Error::Unreadable("SEP"))?;
        let hospital = Hospital {
            province: letter.province_code.clone(),
            class: letter.hospital_class.clone(),
            government_owned: letter.government_owned,
        };
        let tariff = tariffs.of(&package, &hospital, class).ok();
        Ok(Regrouped {
            cbg_code: package.cbg.as_str().to_owned(),
            tariff_rupiah: tariff.map(|tariff| tariff.amount.get()),
        })
    }

    pub(super) async fn reviews(
        &self,
        call: &Call,
        message: pb::ListCodingReviewsRequest,
    ) -> Result<pb::ListCodingReviewsResponse, Error> {
        let mut fields = Fields::new();
        let frame_id = id(&mut fields, "frame_id", &message.frame_id);
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| {
            let parts = key.split_once('|').and_then(|(facility, place)| {
                Some((FacilityCode::parse(facility).ok()?, place.parse::<i32>().ok()?))
            });
            fields.require(
                "page_token",
                parts.is_some(),
                "must be a next_page_token of an answer to the same list",
            );
            parts
        });
        let facility = facility_scope(&mut fields, call.caller.facility(), &message.facility_code);
        let Some(frame_id) = frame_id else { return Err(fields.into()) };
        fields.checked()?;
        let pool = &self.db.pool;
        store::audit_frame::get(pool, frame_id).await?.ok_or(Refused::NoFrame)?;
        let after = after.as_ref().map(|(facility, place)| (facility.as_str(), *place));
        let limit = page.size + 1;
        let mut rows = store::coding_review::list(pool, frame_id, facility.as_deref(), after, limit).await?;
        let next_page_token =
            sep::next(&mut rows, page.size, |row| format!("{}|{}", row.facility_code, row.place));
        let reviews = rows.into_iter().map(|row| shown(frame_id, row)).collect::<Result<_, _>>()?;
        Ok(pb::ListCodingReviewsResponse { reviews, next_page_token })
    }

    pub(super) async fn accuracy(
        &self,
        call: &Call,
        message: pb::GetCodingAccuracyRequest,
    ) -> Result<pb::GetCodingAccuracyResponse, Error> {
        let frame = self.frame_named(&message.frame_id).await?;
        let own = call.caller.facility();
        let hospitals = store::coding_review::accuracy(&self.db.pool, frame.frame_id, own).await?;
        if hospitals.is_empty() && own.is_none() {
            return Err(Refused::SampleMissing.into());
        }
        let together = hospitals.iter().fold(Accuracy::default(), |sum, hospital| Accuracy {
            facility_code: String::new(),
            drawn: sum.drawn + hospital.drawn,
            reviewed: sum.reviewed + hospital.reviewed,
            score: sum.score + hospital.score,
            cbg_changed: sum.cbg_changed + hospital.cbg_changed,
            effect_rupiah: sum.effect_rupiah + hospital.effect_rupiah,
            effect_unknown: sum.effect_unknown + hospital.effect_unknown,
        });
        Ok(pb::GetCodingAccuracyResponse {
            hospitals: hospitals.into_iter().map(shown_accuracy).collect(),
            overall: Some(shown_accuracy(together)),
        })
    }
}

/// Reads the reviewer's codes; `None` when one is wrong, which is then noted.
fn codes(fields: &mut Fields, given: Option<&pb::EpisodeCodes>) -> Option<Codes> {
    let Some(given) = given else {
        fields.wrong("codes", "must be set");
        return None;
    };
    let primary = fields.parse("codes.primary_diagnosis", Icd10::parse(&given.primary_diagnosis));
    let secondary =
        each(fields, "codes.secondary_diagnoses", &given.secondary_diagnoses, MOST_SECONDARY, Icd10::parse);
    let mut seen: HashSet<&str> = primary.iter().map(Icd10::as_str).collect();
    let once = secondary.iter().all(|code| seen.insert(code.as_str()));
    fields.require(
        "codes.secondary_diagnoses",
        once,
        "must name no diagnosis twice, the primary one included",
    );
    let procedures =
        each(fields, "codes.procedures", &given.procedures, MOST_PROCEDURES, Icd9Procedure::parse);
    Some(Codes { primary: primary?, secondary, procedures })
}

fn each<T>(
    fields: &mut Fields,
    path: &str,
    given: &[String],
    most: usize,
    parse: impl Fn(&str) -> Result<T, Malformed>,
) -> Vec<T> {
    fields.require(path, given.len() <= most, format!("at most {most}"));
    let given = given.iter().take(most).enumerate();
    given.filter_map(|(at, code)| fields.parse(format!("{path}[{at}]"), parse(code))).collect()
}

fn shown_codes(codes: &Codes) -> pb::EpisodeCodes {
    pb::EpisodeCodes {
        primary_diagnosis: codes.primary.as_str().to_owned(),
        secondary_diagnoses: codes.secondary.iter().map(|code| code.as_str().to_owned()).collect(),
        procedures: codes.procedures.iter().map(|code| code.as_str().to_owned()).collect(),
    }
}

fn shown_score(score: Score) -> pb::CodingScore {
    pb::CodingScore {
        diagnoses_reviewed: score.diagnoses_reviewed,
        diagnoses_agreed: score.diagnoses_agreed,
        procedures_reviewed: score.procedures_reviewed,
        procedures_agreed: score.procedures_agreed,
        diagnosis_accuracy_basis_points: basis_points(score.diagnoses_agreed, score.diagnoses_reviewed),
        procedure_accuracy_basis_points: basis_points(score.procedures_agreed, score.procedures_reviewed),
    }
}

fn shown(frame_id: Uuid, row: Row) -> Result<pb::CodingReview, Error> {
    let made = row.review.as_deref().map(pb::CodingReview::decode).transpose();
    Ok(pb::CodingReview {
        frame_id: frame_id.to_string(),
        claim_id: row.claim_id.to_string(),
        facility_code: row.facility_code,
        place: row.place,
        ..made.map_err(|_| Error::Unreadable("coding review"))?.unwrap_or_default()
    })
}

fn shown_accuracy(accuracy: Accuracy) -> pb::CodingAccuracy {
    pb::CodingAccuracy {
        facility_code: accuracy.facility_code,
        drawn: accuracy.drawn,
        reviewed: accuracy.reviewed,
        score: Some(shown_score(accuracy.score)),
        cbg_changed: accuracy.cbg_changed,
        effect_rupiah: accuracy.effect_rupiah,
        effect_unknown: accuracy.effect_unknown,
    }
}
