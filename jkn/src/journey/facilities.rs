//! The facilities of the journey: registered by the Ministry, surveyed and certified. They are the same in every run;
//! what a run before has done is found and left as it is.

use anyhow::{bail, ensure};
use jiff::{ToSpan, civil::Date};
use proto::{accreditation::v1 as pb, claims::v1 as claims};
use tonic::{Code, Status};

use super::{
    MINISTRY, Run, SURVEYOR,
    cast::{CLINIC, EXPIRED_HOSPITAL, Facility, HOSPITAL, OTHER_HOSPITAL, PUSKESMAS, Person},
    desk::{Desks, given, key},
};

/// The chapters of each kind of facility, as policy/accreditation/grades.toml names them.
const PUSKESMAS_CHAPTERS: [&str; 5] = ["KMP", "UKM", "UKPP", "PPN", "PMP"];
const HOSPITAL_CHAPTERS: [&str; 15] = [
    "TKRS", "KPS", "MFK", "PMKP", "MRMIK", "PPI", "AKP", "HPK", "PP", "PAP", "PAB", "PKPO", "KE", "SKP",
    "PROGNAS",
];

impl Run<'_> {
    /// Registers and certifies the facilities, and has the hospital post its room.
    pub(super) async fn facilities(&mut self) -> anyhow::Result<()> {
        let (desks, year) = (self.desks, self.today.year());
        for facility in [PUSKESMAS, HOSPITAL, OTHER_HOSPITAL, EXPIRED_HOSPITAL] {
            let title = format!("{} {} registered", facility.name, facility.code);
            self.report.step(MINISTRY, &title, &[], register(desks, &facility)).await?;
        }
        for (facility, chapters) in [(PUSKESMAS, &PUSKESMAS_CHAPTERS[..]), (HOSPITAL, &HOSPITAL_CHAPTERS[..])]
        {
            let title = format!("{} surveyed and certified", facility.name);
            self.report.step(SURVEYOR, &title, &[], certify(desks, &facility, chapters, year)).await?;
        }
        for (facility, decided) in [(OTHER_HOSPITAL, year - 1), (EXPIRED_HOSPITAL, year - 6)] {
            let title = format!("certificate of {} brought in from {decided}", facility.name);
            self.report.step(MINISTRY, &title, &[], bring_in(desks, &facility, decided)).await?;
        }
        let title = format!("a coder of {} certified", HOSPITAL.name);
        self.report.step(MINISTRY, &title, &[], certify_coder(desks, &self.cast.coder, self.today)).await?;
        let today = self.today;
        self.report
            .step(&HOSPITAL.caller(), "room for today posted to SISRUTE", &[], async {
                use proto::referral::v1 as referral;
                let day = referral::DayQuota {
                    poli_code: CLINIC.to_owned(),
                    date: today.to_string(),
                    quota: 10_000,
                };
                let request = referral::UpdateCapacityRequest {
                    request_id: key(),
                    facility_code: HOSPITAL.code.to_owned(),
                    days: vec![day],
                    ..referral::UpdateCapacityRequest::default()
                };
                desks.referral(&HOSPITAL.caller())?.update_capacity(request).await?;
                Ok(())
            })
            .await
    }
}

/// Each run has a coder of its own, whose certificate is registered anew.
async fn certify_coder(desks: &Desks, coder: &Person, today: Date) -> anyhow::Result<()> {
    let request = claims::RegisterCoderRequest {
        request_id: key(),
        certificate_number: key(),
        coder_nik: coder.nik.expose().to_owned(),
        facility_code: HOSPITAL.code.to_owned(),
        valid_from: today.to_string(),
        valid_to: (today + 1.year()).to_string(),
    };
    desks.coders(MINISTRY)?.register_coder(request).await?;
    Ok(())
}

async fn register(desks: &Desks, facility: &Facility) -> anyhow::Result<()> {
    let request = pb::RegisterFacilityRequest { request_id: key(), facility: Some(facility.entry()) };
    match desks.facilities(MINISTRY)?.register_facility(request).await {
        Ok(_) => Ok(()),
        // Registered by a run before.
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        Err(status) => Err(status.into()),
    }
}

async fn is_certified(desks: &Desks, facility: &Facility) -> Result<bool, anyhow::Error> {
    let request =
        pb::GetAccreditationStatusRequest { facility_code: facility.code.to_owned(), on: String::new() };
    let answer = desks.accreditation(MINISTRY)?.get_accreditation_status(request).await?.into_inner();
    Ok(given(answer.status)?.certified)
}

/// A survey from the application to the decision. Its days lie in the year before, so that its keys and days are the
/// same for every run of a year: one that was interrupted is taken up where it ended.
async fn certify(desks: &Desks, facility: &Facility, chapters: &[&str], year: i16) -> anyhow::Result<()> {
    if is_certified(desks, facility).await? {
        return Ok(());
    }
    let day = |month_and_day: &str| format!("{}-{month_and_day}", year - 1);
    let key = |step: &str| format!("journey-{year}-{}-{step}", facility.code);
    let mut of_facility = desks.accreditation(&facility.caller())?;
    let mut of_surveyor = desks.accreditation(SURVEYOR)?;
    let mut of_ministry = desks.accreditation(MINISTRY)?;

    let preconditions = pb::Preconditions {
        equipment_registry_updated: true,
        all_staff_registered: true,
        licensed_medical_staff_percent: 95,
        quality_indicator_months: 24,
        incident_report_months: 24,
    };
    let applied = of_facility
        .apply_for_survey(pb::ApplyForSurveyRequest {
            request_id: key("apply"),
            facility_code: facility.code.to_owned(),
            applied_on: day("02-02"),
            preconditions: Some(preconditions),
        })
        .await?;
    let survey_id = given(applied.into_inner().survey)?.survey_id;
    of_surveyor
        .record_survey(pb::RecordSurveyRequest {
            request_id: key("record"),
            survey_id: survey_id.clone(),
            from: day("03-10"),
            to: day("03-12"),
            days_on_site: 2,
            surveyor_numbers: vec!["SURV-0001".to_owned(), "SURV-0002".to_owned()],
        })
        .await?;
    for chapter in chapters {
        let met = |element: &str| pb::ElementScore {
            element: element.to_owned(),
            fulfilment: pb::ElementFulfilment::Met.into(),
        };
        of_surveyor
            .score_chapter(pb::ScoreChapterRequest {
                request_id: key(chapter),
                survey_id: survey_id.clone(),
                chapter: (*chapter).to_owned(),
                elements: vec![met("1.1.1.a"), met("1.1.1.b"), met("1.2.1.a")],
            })
            .await?;
    }
    let decided = of_ministry
        .decide_accreditation(pb::DecideAccreditationRequest {
            request_id: key("decide"),
            survey_id,
            decided_on: day("03-24"),
        })
        .await?
        .into_inner();
    ensure!(decided.certificate.is_some(), "every element was met, and yet there is no certificate");
    Ok(())
}

async fn bring_in(desks: &Desks, facility: &Facility, decided: i16) -> anyhow::Result<()> {
    let request = pb::ImportCertificateRequest {
        request_id: key(),
        facility_code: facility.code.to_owned(),
        certificate_number: format!("LAMA-{}-{decided}", facility.code),
        grade: pb::Grade::Madya.into(),
        decided_on: format!("{decided}-01-15"),
    };
    match desks.accreditation(MINISTRY)?.import_certificate(request).await {
        Ok(_) => Ok(()),
        Err(status) if known_before(&status) => Ok(()),
        Err(status) => bail!(status),
    }
}

fn known_before(status: &Status) -> bool {
    status.code() == Code::AlreadyExists
        || chassis::Problem::from_upstream("accreditation", status).reason() == "CERTIFICATE_EXISTS"
}
