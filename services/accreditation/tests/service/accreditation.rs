//! From the application to the certificate, on a real database.

use crate::house::{House, MINISTRY, PUSKESMAS, SURVEYOR, hospital, key, puskesmas, ready, reason, wrong};
use proto::accreditation::v1::{self as pb, accreditation_service_server::AccreditationService};

const CHAPTERS: [&str; 5] = ["KMP", "UKM", "UKPP", "PPN", "PMP"];

/// A survey of the puskesmas, held on 1 to 3 June 2026, with so many of 20 elements fulfilled in each chapter.
async fn surveyed(house: &House, met: [usize; 5]) -> String {
    let survey = house.apply("fktp:0301U011", PUSKESMAS, "2026-04-01").await.unwrap();
    house.record(SURVEYOR, &survey.survey_id, "2026-06-01", "2026-06-03").await.unwrap();
    for (chapter, met) in CHAPTERS.into_iter().zip(met) {
        house.score(&survey.survey_id, chapter, met, 20).await.unwrap();
    }
    survey.survey_id
}

#[tokio::test]
async fn from_the_application_to_the_certificate() {
    let house = House::new("whole").await;
    house.register(puskesmas()).await.unwrap();
    let before = house.status(PUSKESMAS, "2026-06-10").await;
    assert_eq!(before.reasons, [pb::StandingReason::NoCertificate as i32]);

    // Exactly on the row of utama: 80, 80, 70, 80, 75 per cent.
    let id = surveyed(&house, [16, 16, 14, 16, 15]).await;
    let decided = house.decide(&id, "2026-06-10").await.unwrap();
    let certificate = decided.certificate.unwrap();
    assert_eq!(certificate.grade, pb::Grade::Utama as i32);
    assert_eq!(certificate.certificate_number, "AKR-0301U011-2026-01");
    assert_eq!(
        (certificate.valid_from.as_str(), certificate.valid_to.as_str()),
        ("2026-06-10", "2031-06-09")
    );
    assert!(certificate.grading_source.contains("KMK 165/2023"));
    let survey = decided.survey.unwrap();
    assert_eq!(survey.state, pb::SurveyState::Decided as i32);
    assert_eq!(survey.chapters.iter().map(|c| c.chapter.as_str()).collect::<Vec<_>>(), CHAPTERS);
    assert_eq!(survey.chapters[2].percent_hundredths, 7000);

    let after = house.status(PUSKESMAS, "").await;
    assert!(after.in_good_standing && after.contracted && after.certified);
    assert_eq!((after.on.as_str(), after.grade), ("2026-11-22", pb::Grade::Utama as i32));
    assert!(!house.status(PUSKESMAS, "2026-06-09").await.certified);
    assert!(house.status(PUSKESMAS, "2031-06-09").await.certified);
    let expired = house.status(PUSKESMAS, "2031-06-10").await;
    assert_eq!(expired.reasons, [pb::StandingReason::CertificateExpired as i32]);
    assert_eq!(expired.certificate_number, "AKR-0301U011-2026-01");
    assert_eq!(house.events().await, ["FacilityRegistered", "SurveyRecorded", "AccreditationDecided"]);
}

#[tokio::test]
async fn below_the_lowest_row_there_is_no_certificate() {
    let house = House::new("below").await;
    house.register(puskesmas()).await.unwrap();
    let id = surveyed(&house, [14, 20, 20, 20, 20]).await;
    let decided = house.decide(&id, "2026-06-10").await.unwrap();
    assert_eq!(decided.certificate, None);
    assert_eq!(decided.survey.unwrap().grade, pb::Grade::NotAccredited as i32);
    assert!(!house.status(PUSKESMAS, "").await.certified);
    // The next survey may begin.
    house.apply(MINISTRY, PUSKESMAS, "2026-10-01").await.unwrap();
}

#[tokio::test]
async fn steps_follow_on_one_another() {
    let house = House::new("steps").await;
    house.register(puskesmas()).await.unwrap();
    let survey = house.apply("fktp:0301U011", PUSKESMAS, "2026-04-01").await.unwrap().survey_id;
    assert_eq!(reason(&house.apply(MINISTRY, PUSKESMAS, "").await.unwrap_err()), "SURVEY_OPEN");
    assert_eq!(reason(&house.score(&survey, "KMP", 20, 20).await.unwrap_err()), "SURVEY_STATE_WRONG");
    assert_eq!(reason(&house.decide(&survey, "").await.unwrap_err()), "SURVEY_STATE_WRONG");
    let early = house.record(SURVEYOR, &survey, "2026-03-01", "2026-03-03").await.unwrap_err();
    assert_eq!(reason(&early), "DATES_OUT_OF_ORDER");
    let short = house.record(SURVEYOR, &survey, "2026-06-01", "2026-06-02").await.unwrap_err();
    assert_eq!(reason(&short), "SURVEY_TOO_SMALL");
    let future = house.record(SURVEYOR, &survey, "2026-11-21", "2026-11-23").await.unwrap_err();
    assert_eq!(wrong(&future), ["to"]);
    house.record(SURVEYOR, &survey, "2026-06-01", "2026-06-03").await.unwrap();
    assert_eq!(reason(&house.score(&survey, "TKK", 1, 19).await.unwrap_err()), "CHAPTER_UNKNOWN");
    house.score(&survey, "KMP", 3, 20).await.unwrap();
    // Scored again, the new score counts.
    let again = house.score(&survey, "KMP", 20, 20).await.unwrap();
    assert_eq!((again.chapters.len(), again.chapters[0].points), (1, 200));
    let missing = house.decide(&survey, "").await.unwrap_err();
    assert_eq!(reason(&missing), "CHAPTERS_MISSING");
    assert!(missing.message().contains("UKM, UKPP, PPN, PMP"));
    for chapter in &CHAPTERS[1..] {
        house.score(&survey, chapter, 20, 20).await.unwrap();
    }
    assert_eq!(reason(&house.decide(&survey, "2026-06-02").await.unwrap_err()), "DATES_OUT_OF_ORDER");
    assert_eq!(wrong(&house.decide(&survey, "2026-11-23").await.unwrap_err()), ["decided_on"]);
    house.decide(&survey, "").await.unwrap();
    assert_eq!(reason(&house.decide(&survey, "").await.unwrap_err()), "SURVEY_STATE_WRONG");
}

#[tokio::test]
async fn a_survey_belongs_to_its_facility_and_its_surveyors() {
    let house = House::new("scope").await;
    house.register(puskesmas()).await.unwrap();
    let foreign = house.apply("fktp:0301U012", PUSKESMAS, "").await.unwrap_err();
    assert_eq!(foreign.code(), tonic::Code::NotFound);
    let survey = house.apply("fktp:0301U011", PUSKESMAS, "2026-04-01").await.unwrap().survey_id;
    let schedule = pb::ScheduleSurveyRequest {
        request_id: key(),
        survey_id: survey.clone(),
        from: "2026-12-01".into(),
        to: "2026-12-03".into(),
        days_on_site: 2,
        surveyor_numbers: vec!["S-001".into(), "S-002".into()],
    };
    house.accreditation.schedule_survey(house.call(SURVEYOR, schedule)).await.unwrap();
    let other = house.record("surveyor:other", &survey, "2026-06-01", "2026-06-03").await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::NotFound);
    for (caller, sees) in
        [("fktp:0301U011", 1), ("fktp:0301U012", 0), (SURVEYOR, 1), ("surveyor:other", 0), (MINISTRY, 1)]
    {
        let listed = house.call(caller, pb::ListSurveysRequest::default());
        let listed = house.accreditation.list_surveys(listed).await.unwrap().into_inner();
        assert_eq!(listed.surveys.len(), sees, "{caller}");
        let get = house.call(caller, pb::GetSurveyRequest { survey_id: survey.clone() });
        assert_eq!(house.accreditation.get_survey(get).await.is_ok(), sees == 1, "{caller}");
    }
}

#[tokio::test]
async fn preconditions_are_policy() {
    let house = House::new("preconditions").await;
    house.register(puskesmas()).await.unwrap();
    let preconditions =
        pb::Preconditions { licensed_medical_staff_percent: 79, incident_report_months: 11, ..ready() };
    let message = pb::ApplyForSurveyRequest {
        request_id: key(),
        facility_code: PUSKESMAS.into(),
        applied_on: String::new(),
        preconditions: Some(preconditions),
    };
    let refused = house.accreditation.apply_for_survey(house.call(MINISTRY, message)).await.unwrap_err();
    assert_eq!(reason(&refused), "PRECONDITIONS_NOT_MET");
    assert!(refused.message().contains("licensed_medical_staff_percent, incident_report_months"));
    let practice = pb::Facility {
        facility_code: "0301D001".into(),
        kind: pb::FacilityKind::DoctorPractice as i32,
        ownership: pb::Ownership::Private as i32,
        ..puskesmas()
    };
    house.register(practice).await.unwrap();
    assert_eq!(reason(&house.apply(MINISTRY, "0301D001", "").await.unwrap_err()), "KIND_NOT_GRADED");
    // A practice serves on its contract alone.
    let status = house.status("0301D001", "").await;
    assert!(status.in_good_standing && !status.certificate_required);
}

#[tokio::test]
async fn a_clinic_is_scored_element_by_element() {
    let house = House::new("clinic").await;
    let clinic = pb::Facility {
        facility_code: "0301K001".into(),
        kind: pb::FacilityKind::Clinic as i32,
        ownership: pb::Ownership::Private as i32,
        ..puskesmas()
    };
    house.register(clinic).await.unwrap();
    let survey = house.apply("fktp:0301K001", "0301K001", "2026-04-01").await.unwrap().survey_id;
    house.record(SURVEYOR, &survey, "2026-06-01", "2026-06-02").await.unwrap();
    assert_eq!(reason(&house.score(&survey, "TKK", 18, 18).await.unwrap_err()), "ELEMENTS_INCOMPLETE");
    house.score(&survey, "TKK", 19, 19).await.unwrap();
    house.score(&survey, "PMKP", 8, 18).await.unwrap();
    house.score(&survey, "PKP", 67, 67).await.unwrap();
    let decided = house.decide(&survey, "2026-06-10").await.unwrap();
    assert_eq!(decided.certificate.unwrap().grade, pb::Grade::Madya as i32);
}

#[tokio::test]
async fn certificates_of_the_past_are_brought_in_and_revoked() {
    let house = House::new("import").await;
    house.register(hospital()).await.unwrap();
    house.import("0301R011", "KARS-1.2021", pb::Grade::Paripurna, "2021-06-01").await.unwrap();
    let taken =
        house.import("0301R011", "KARS-1.2021", pb::Grade::Paripurna, "2021-06-01").await.unwrap_err();
    assert_eq!(reason(&taken), "CERTIFICATE_EXISTS");
    let unknown = house.import("0301R011", "KARS-2", pb::Grade::Dasar, "2021-06-01").await.unwrap_err();
    assert_eq!(reason(&unknown), "GRADE_NOT_IN_TABLE");
    let ours = house.import("0301R011", "AKR-1", pb::Grade::Utama, "2027-06-01").await.unwrap_err();
    assert_eq!(wrong(&ours), ["certificate_number", "decided_on"]);
    assert!(house.status("0301R011", "2026-05-31").await.in_good_standing);
    let expired = house.status("0301R011", "2026-06-01").await;
    assert_eq!(expired.reasons, [pb::StandingReason::CertificateExpired as i32]);

    house.import("0301R011", "KARS-3.2026", pb::Grade::Utama, "2026-08-01").await.unwrap();
    house.revoke("KARS-3.2026", "2026-10-01").await.unwrap();
    assert_eq!(reason(&house.revoke("KARS-3.2026", "").await.unwrap_err()), "CERTIFICATE_REVOKED");
    assert!(house.status("0301R011", "2026-09-30").await.in_good_standing);
    let revoked = house.status("0301R011", "").await;
    assert_eq!(revoked.reasons, [pb::StandingReason::CertificateRevoked as i32]);
    let events = house.events().await;
    assert_eq!(events[1..], ["AccreditationDecided", "AccreditationDecided", "CertificateRevoked"]);
}

#[tokio::test]
async fn what_expires_soon_is_listed_once() {
    let house = House::new("expiring").await;
    house.register(puskesmas()).await.unwrap();
    house.register(hospital()).await.unwrap();
    // Both end in February 2027; the hospital has a successor.
    house.import(PUSKESMAS, "OLD-1", pb::Grade::Dasar, "2022-02-11").await.unwrap();
    house.import("0301R011", "OLD-2", pb::Grade::Utama, "2022-02-11").await.unwrap();
    house.import("0301R011", "NEW-2", pb::Grade::Utama, "2026-10-01").await.unwrap();
    let expiring = async |caller: &str| {
        let message = pb::ListExpiringCertificatesRequest { within_days: 100, ..Default::default() };
        let answer =
            house.accreditation.list_expiring_certificates(house.call(caller, message)).await.unwrap();
        answer.into_inner().certificates
    };
    let listed = expiring(MINISTRY).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].certificate.as_ref().unwrap().certificate_number, "OLD-1");
    // Valid to 10 February, apply by 10 November; today is 22 November.
    assert_eq!((listed[0].days_left, listed[0].overdue), (80, true));
    assert!(expiring("hospital:0301R011").await.is_empty());
    let renewal = house.apply("fktp:0301U011", PUSKESMAS, "").await.unwrap();
    assert!(renewal.renewal && renewal.applied_late);
    let listed = expiring("fktp:0301U011").await;
    assert!(listed[0].applied && !listed[0].overdue);
}
