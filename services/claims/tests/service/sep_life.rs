//! What becomes of a SEP after its issue, over gRPC and on a real Postgres: changes, discharge, accidents, penalty.

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, admission, coding, day, key, today, visit},
};
use proto::{claims::v1 as pb, membership::v1 as master};
use tonic::{Code, Status};

/// The change that changes nothing.
pub(crate) fn same(sep: &pb::Sep) -> pb::UpdateSepRequest {
    pb::UpdateSepRequest {
        request_id: key(),
        sep_number: sep.sep_number.clone(),
        version: sep.version,
        initial_diagnosis: sep.initial_diagnosis.clone(),
        medical_record_number: sep.medical_record_number.clone(),
        executive_clinic: sep.executive_clinic,
        class_upgrade: sep.class_upgrade.clone(),
        accident: sep.accident.clone(),
        coordination_of_benefit: sep.coordination_of_benefit,
        cataract: sep.cataract,
        doctor_code: sep.doctor_code.clone(),
        note: sep.note.clone(),
    }
}

pub(crate) async fn update(served: &Served, change: pb::UpdateSepRequest) -> Result<pb::Sep, Status> {
    Ok(served.seps(HOSPITAL).update_sep(change).await?.into_inner().sep.unwrap())
}

async fn discharge(served: &Served, sep: &pb::Sep, discharge: pb::Discharge) -> Result<pb::Sep, Status> {
    let request = pb::RecordDischargeRequest {
        request_id: key(),
        sep_number: sep.sep_number.clone(),
        discharge: Some(discharge),
    };
    Ok(served.seps(HOSPITAL).record_discharge(request).await?.into_inner().sep.unwrap())
}

/// Home with the doctor's approval, so many seconds after admission.
fn home(sep: &pb::Sep, seconds: i64) -> pb::Discharge {
    let mut at = sep.admitted_at.unwrap_or_default();
    at.seconds += seconds;
    pb::Discharge { discharged_at: Some(at), departure: pb::Departure::Approved.into(), ..Default::default() }
}

fn upgrade(to: pb::UpgradeClass) -> Option<pb::ClassUpgrade> {
    Some(pb::ClassUpgrade {
        upgrade_class: to.into(),
        payer: pb::UpgradePayer::Self_.into(),
        responsible_name: "Contoh".into(),
    })
}

fn accident(kind: pb::AccidentKind, payers: &[pb::PrimaryPayer]) -> pb::Accident {
    pb::Accident {
        kind: kind.into(),
        occurred_on: day(-1).to_string(),
        primary_payers: payers.iter().map(|payer| *payer as i32).collect(),
        police_report_number: "LP/1/2026".into(),
        region_code: "3273".into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_a_new_version_and_the_letter_as_issued_stays() {
    let served = Served::start().await;
    let issued = served.issue(visit(today())).await.unwrap();
    assert_eq!(issued.version, 1);
    let change = pb::UpdateSepRequest {
        initial_diagnosis: "E11.2".into(),
        medical_record_number: "00-12-35".into(),
        note: "read again".into(),
        doctor_code: "31574".into(),
        ..same(&issued)
    };
    let stranger = served.seps(OTHER).update_sep(change.clone()).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);
    let second = update(&served, change.clone()).await.unwrap();
    assert_eq!((second.version, second.initial_diagnosis.as_str()), (2, "E11.2"));
    assert_eq!(update(&served, change.clone()).await.unwrap(), second, "the same request is the same change");
    let late = update(&served, pb::UpdateSepRequest { request_id: key(), ..change }).await.unwrap_err();
    assert_eq!((reason(&late).as_str(), fact(&late, "version").as_str()), ("VERSION_OUTDATED", "2"));
    let third = update(&served, pb::UpdateSepRequest { note: String::new(), ..same(&second) }).await.unwrap();

    let read = served.sep(&issued.sep_number).await;
    let shown = read.sep.unwrap();
    assert_eq!((shown.version, shown.note.as_str(), shown.evidence.len()), (3, "", 4));
    let as_issued = pb::Sep { evidence: vec![], ..issued.clone() };
    let earlier: Vec<_> = read.earlier_versions.iter().map(|kept| kept.version).collect();
    assert_eq!(earlier, [1, 2]);
    assert_eq!(read.earlier_versions[0].sep.as_ref(), Some(&as_issued));
    assert_eq!(read.earlier_versions[0].changed_by, HOSPITAL);
    assert_eq!(read.earlier_versions[1].sep.as_ref(), Some(&second));
    let listed = served.seps(HOSPITAL).list_seps(pb::ListSepsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.seps, [third]);
    let stored: Vec<u8> =
        sqlx::query_scalar("select letter from sep").fetch_one(&served.database.pool).await.unwrap();
    let stored: pb::Sep = prost::Message::decode(stored.as_slice()).unwrap();
    assert_eq!(stored.initial_diagnosis, "E11.9", "what was issued is not rewritten");

    let events = served.events(3).await;
    let kinds: Vec<_> = events.iter().map(|event| event.r#type.rsplit('.').next().unwrap()).collect();
    assert_eq!(kinds, ["SepIssued", "SepUpdated", "SepUpdated"]);
    assert!(events.iter().all(|event| !String::from_utf8_lossy(&event.body).contains("E11")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sep_is_changed_until_a_claim_beyond_draft_cites_it() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let draft = served.created(&sep).await;
    let sep = update(&served, pb::UpdateSepRequest { cataract: true, ..same(&sep) }).await.unwrap();
    let claim = served.set(&draft, coding(today(), "E11.9")).await.unwrap();
    served.finalised(&served.grouped(&claim).await).await.unwrap();
    let refused = update(&served, same(&sep)).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), fact(&refused, "claim_id")), ("SEP_IN_USE", claim.claim_id));

    let sep = served.issue(visit(today())).await.unwrap();
    served.cancelled(&sep).await.unwrap();
    assert_eq!(reason(&update(&served, same(&sep)).await.unwrap_err()), "SEP_CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_are_one_and_the_rest_must_read_again() {
    let served = Served::start().await;
    let sep = served.issue(visit(today())).await.unwrap();
    let changes =
        (0..12).map(|n| update(&served, pb::UpdateSepRequest { note: format!("note {n}"), ..same(&sep) }));
    let (changed, outdated): (Vec<_>, Vec<_>) =
        futures::future::join_all(changes).await.into_iter().partition(Result::is_ok);
    assert_eq!((changed.len(), outdated.len()), (1, 11));
    assert!(outdated.into_iter().all(|status| reason(&status.unwrap_err()) == "VERSION_OUTDATED"));
    assert_eq!(served.sep(&sep.sep_number).await.sep.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_class_upgrade_changes_by_the_rule_and_until_the_discharge() {
    let served = Served::start().await;
    let sep = served.issue(admission(2)).await.unwrap();
    let too_high = pb::UpdateSepRequest { class_upgrade: upgrade(pb::UpgradeClass::Vip), ..same(&sep) };
    assert_eq!(reason(&update(&served, too_high).await.unwrap_err()), "CLASS_UPGRADE_NOT_ALLOWED");
    let next = pb::UpdateSepRequest { class_upgrade: upgrade(pb::UpgradeClass::Class1), ..same(&sep) };
    let sep = update(&served, next).await.unwrap();
    let sep = discharge(&served, &sep, home(&sep, 3600)).await.unwrap();
    let late = pb::UpdateSepRequest { class_upgrade: None, ..same(&sep) };
    assert_eq!(reason(&update(&served, late).await.unwrap_err()), "SEP_DISCHARGED");
    let other = pb::UpdateSepRequest { note: "else".into(), ..same(&sep) };
    let sep = update(&served, other).await.unwrap();
    assert_eq!((sep.version, sep.discharge.is_some()), (4, true));

    let visit = served.issue(visit(today())).await.unwrap();
    let ward = pb::UpdateSepRequest { class_upgrade: upgrade(pb::UpgradeClass::Class1), ..same(&visit) };
    assert_eq!(wrong_fields(&update(&served, ward).await.unwrap_err()), ["class_upgrade"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inpatient_leaves_once_not_before_admission_and_not_in_the_future() {
    let served = Served::start().await;
    let sep = served.issue(admission(30)).await.unwrap();
    let early = discharge(&served, &sep, home(&sep, -1)).await.unwrap_err();
    assert_eq!(reason(&early), "DISCHARGE_CONTRADICTS_SEP");
    assert_eq!(wrong_fields(&early), ["discharge.discharged_at"]);
    let future = discharge(&served, &sep, home(&sep, 31 * 3600)).await.unwrap_err();
    assert_eq!(
        (reason(&future).as_str(), wrong_fields(&future)),
        ("FIELDS_INVALID", vec!["discharge.discharged_at".into()])
    );
    let nothing = discharge(&served, &sep, pb::Discharge::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&nothing), ["discharge.discharged_at", "discharge.departure"]);
    let died = pb::Discharge { departure: pb::Departure::Died.into(), ..home(&sep, 3600) };
    let told = wrong_fields(&discharge(&served, &sep, died.clone()).await.unwrap_err());
    assert_eq!(told, ["discharge.died_on", "discharge.death_certificate_number"]);

    let gone = discharge(&served, &sep, home(&sep, 3600)).await.unwrap();
    assert_eq!(gone.discharge.as_ref().unwrap().departure(), pb::Departure::Approved);
    let died = pb::Discharge {
        died_on: sep.service_date.clone(),
        death_certificate_number: "325/K/2026".into(),
        ..died
    };
    let corrected = discharge(&served, &gone, died).await.unwrap();
    assert_eq!((corrected.version, served.sep(&sep.sep_number).await.earlier_versions.len()), (3, 2));
    let left = served.events(3).await;
    assert!(left[2].r#type.ends_with("SepDischarged"));
    assert!(!String::from_utf8_lossy(&left[2].body).contains("325/K"));

    let visit = served.issue(visit(today())).await.unwrap();
    let left = home(&sep, 3600);
    let no_stay = discharge(&served, &visit, left).await.unwrap_err();
    assert_eq!(
        (reason(&no_stay).as_str(), wrong_fields(&no_stay)),
        ("DISCHARGE_CONTRADICTS_SEP", vec!["sep_number".into()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_first_for_an_accident_is_checked_and_kept() {
    use pb::PrimaryPayer::{BpjsTk, JasaRaharja, Taspen};
    let served = Served::start().await;
    let on_the_way = |payers: &[pb::PrimaryPayer]| pb::IssueSepRequest {
        accident: Some(accident(pb::AccidentKind::TrafficAndWork, payers)),
        ..visit(today())
    };
    let wrong = served.issue(on_the_way(&[JasaRaharja, Taspen])).await.unwrap_err();
    assert_eq!(reason(&wrong), "ACCIDENT_PAYER_WRONG");
    assert_eq!(fact(&wrong, "ACCIDENT_PAYER_WRONG"), "pays first: JASA_RAHARJA, then BPJS_TK");
    let mut unreported = on_the_way(&[BpjsTk]);
    unreported.accident.as_mut().unwrap().police_report_number.clear();
    let both = served.issue(unreported).await.unwrap_err();
    assert_eq!(fact(&both, "reasons"), "ACCIDENT_PAYER_WRONG,POLICE_REPORT_REQUIRED");
    assert_eq!(served.rows().await, 0);
    let sep = served.issue(on_the_way(&[JasaRaharja, BpjsTk])).await.unwrap();
    let payers: Vec<_> = sep.accident.unwrap().primary_payers().collect();
    assert_eq!(payers, [JasaRaharja, BpjsTk]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_emergency_the_police_report_comes_with_the_discharge() {
    let served = Served::start().await;
    let mut crash = accident(pb::AccidentKind::Traffic, &[pb::PrimaryPayer::JasaRaharja]);
    crash.police_report_number.clear();
    crash.occurred_on = admission(4).service_date;
    let sep = served.issue(pb::IssueSepRequest { accident: Some(crash), ..admission(4) }).await.unwrap();
    let without = discharge(&served, &sep, home(&sep, 3600)).await.unwrap_err();
    assert_eq!(reason(&without), "POLICE_REPORT_REQUIRED");
    let with = pb::Discharge { police_report_number: "LP/2/2026".into(), ..home(&sep, 3600) };
    let sep = discharge(&served, &sep, with).await.unwrap();
    assert_eq!(sep.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_sep_of_the_same_accident_finds_and_cites_the_first() {
    let served = Served::start().await;
    let crash = accident(pb::AccidentKind::Traffic, &[pb::PrimaryPayer::JasaRaharja]);
    let wish = pb::IssueSepRequest { accident: Some(crash.clone()), ..visit(day(-1)) };
    let first = served.issue(wish.clone()).await.unwrap();
    let other = served.issue(visit(day(-1))).await.unwrap();
    let further = |first: &str, occurred_on: i64| pb::IssueSepRequest {
        member_id: wish.member_id.clone(),
        accident: Some(pb::Accident {
            supplements_sep_number: first.into(),
            occurred_on: day(occurred_on).to_string(),
            ..crash.clone()
        }),
        ..visit(today())
    };
    let unknown = served.issue(further(&other.sep_number, -1)).await.unwrap_err();
    assert_eq!(reason(&unknown), "SUPPLEMENT_NOT_USABLE");
    assert_eq!(fact(&unknown, "SUPPLEMENT_NOT_USABLE"), "UNKNOWN_NUMBER", "another member's");
    let another = served.issue(further(&first.sep_number, -2)).await.unwrap_err();
    assert_eq!(fact(&another, "SUPPLEMENT_NOT_USABLE"), "OTHER_ACCIDENT");
    let second = served.issue(further(&first.sep_number, -1)).await.unwrap();

    // Whoever treats the patient next finds both, wherever they were issued, and nothing else.
    let look = |size: i32, token: String| pb::ListAccidentSepsRequest {
        member_id: wish.member_id.clone(),
        page_size: size,
        page_token: token,
        ..Default::default()
    };
    let page = served.seps(OTHER).list_accident_seps(look(1, String::new())).await.unwrap().into_inner();
    assert_eq!(page.seps[0].sep_number, second.sep_number);
    assert_eq!(page.seps[0].supplements_sep_number, first.sep_number);
    let rest =
        served.seps(OTHER).list_accident_seps(look(1, page.next_page_token)).await.unwrap().into_inner();
    assert_eq!(
        (rest.seps[0].sep_number.as_str(), rest.next_page_token.as_str()),
        (first.sep_number.as_str(), "")
    );
    assert_eq!(rest.seps[0].primary_payers().collect::<Vec<_>>(), [pb::PrimaryPayer::JasaRaharja]);

    let chained = pb::IssueSepRequest { poli_code: "BED".into(), ..further(&second.sep_number, -1) };
    assert_eq!(fact(&served.issue(chained).await.unwrap_err(), "SUPPLEMENT_NOT_USABLE"), "NOT_FIRST");
    // Corrected to no accident, it is found no more.
    update(&served, pb::UpdateSepRequest { accident: None, ..same(&second) }).await.unwrap();
    let left = served.seps(BPJS).list_accident_seps(look(0, String::new())).await.unwrap().into_inner().seps;
    assert_eq!(left.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_penalty_of_a_reactivated_member_is_estimated_on_the_sep() {
    let served = Served::start().await;
    let terms = master::InpatientPenalty {
        months: 12,
        basis_points_per_month: 500,
        cap_rupiah: 30_000_000,
        paid_by_employer: true,
        ..Default::default()
    };
    served.others(|others| others.eligibility.inpatient_penalty = Some(terms.clone()));
    let sep = served.issue(admission(1)).await.unwrap();
    let estimate = sep.penalty_estimate.unwrap();
    assert!(estimate.package_rupiah > 0);
    assert_eq!(estimate.estimate_rupiah, (estimate.package_rupiah * 6_000 + 5_000) / 10_000);
    assert!(estimate.paid_by_employer);

    served.others(|others| {
        others.eligibility.inpatient_penalty = Some(master::InpatientPenalty { cap_rupiah: 1000, ..terms });
    });
    let capped = served.issue(admission(1)).await.unwrap().penalty_estimate.unwrap();
    assert_eq!(capped.estimate_rupiah, 1000);
    let unknown = pb::IssueSepRequest { initial_diagnosis: "W19".into(), ..admission(1) };
    let unknown = served.issue(unknown).await.unwrap().penalty_estimate.unwrap();
    assert_eq!((unknown.package_rupiah, unknown.estimate_rupiah, unknown.months), (0, 0, 12));
    assert!(served.issue(visit(today())).await.unwrap().penalty_estimate.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_changes_name_every_wrong_field_and_write_nothing() {
    let served = Served::start().await;
    let wild = pb::UpdateSepRequest {
        note: "x".repeat(100_000),
        class_upgrade: Some(pb::ClassUpgrade::default()),
        accident: Some(pb::Accident {
            kind: pb::AccidentKind::Traffic.into(),
            occurred_on: "2026-02-30".into(),
            region_code: "32".into(),
            description: "y".repeat(201),
            supplements_sep_number: "1".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let wrong = wrong_fields(&update(&served, wild).await.unwrap_err());
    for field in [
        "request_id",
        "sep_number",
        "version",
        "initial_diagnosis",
        "medical_record_number",
        "note",
        "class_upgrade.upgrade_class",
        "class_upgrade.payer",
        "class_upgrade.responsible_name",
        "accident.occurred_on",
        "accident.primary_payers",
        "accident.region_code",
        "accident.description",
        "accident.supplements_sep_number",
    ] {
        assert!(wrong.iter().any(|name| name == field), "{field}: {wrong:?}");
    }
    let wrong = wrong_fields(
        &served.seps(HOSPITAL).record_discharge(pb::RecordDischargeRequest::default()).await.unwrap_err(),
    );
    assert!(wrong.contains(&"discharge.departure".to_owned()) && wrong.contains(&"sep_number".to_owned()));
    let nobody = pb::ListAccidentSepsRequest { page_token: "MTIzfHg".into(), ..Default::default() };
    let wrong = wrong_fields(&served.seps(HOSPITAL).list_accident_seps(nobody).await.unwrap_err());
    assert_eq!(wrong, ["page_token", "member_id"]);
    assert_eq!((served.rows().await, served.rows_around().await), (0, 0));
}
