//! The assessment of the coding of drawn hospitals.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    audit_frames::{
        MINISTRY, PROTOCOL, Paid, count, drawn, export, middle, past, publish, redraw, sample, seed, wish,
        write,
    },
    refusal::{reason, wrong_fields},
    served::Served,
    wishes::{HOSPITAL, key},
};
use claims::frame::sha256;
use prost::Name;
use proto::claims::v1 as pb;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn the_coding_of_drawn_hospitals_is_assessed() {
    let served = Served::start().await;
    let quarter = past(1);
    // 24 hospitals of two strata with 2 claims each, and one with 40, so that its claims are drawn as well.
    let mut claims = Vec::new();
    for n in 0..25 {
        let facility = format!("0301R{n:03}");
        let place = if n % 3 == 0 { ("A", "12") } else { ("B", "32") };
        let many = if n == 0 { 40 } else { 2 };
        for _ in 0..many {
            let claim = Paid {
                class: place.0,
                province: place.1,
                care: pb::CareType::Inpatient,
                primary: "A41.9",
                secondary: vec!["J96.0", "E11.9"],
                procedures: vec!["96.71", "99.18"],
                severity: 3,
                cbg: "A-4-10-III",
                tariff: 4_000_000,
                ..Paid::visit(&facility, middle(quarter))
            };
            claims.push(claim);
        }
    }
    write(&served, &claims).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Hospitals, quarter)).await.unwrap();
    assert_eq!((frame.rows, frame.sample_size), (25, 20));
    let names: Vec<_> = frame.strata.iter().map(|stratum| stratum.name.as_str()).collect();
    assert_eq!(names, ["A,sumatra", "B,java-bali"]);
    let text = export(&served, &frame).await;
    let accuracy = pb::GetCodingAccuracyRequest { frame_id: frame.frame_id.clone() };
    let early = served.audits(MINISTRY).get_coding_accuracy(accuracy.clone()).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_SAMPLE_MISSING");
    let seed = seed("hospitals");
    let frame = drawn(&served, &frame, &seed).await;
    assert_eq!(frame.strata.iter().map(|stratum| stratum.drawn).collect::<Vec<_>>(), [7, 13]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hospitals.txt");
    std::fs::write(&file, &text).unwrap();
    let printed = redraw(&file, &["--seed", &seed, "--hash", &frame.frame_hash]).await;
    assert_eq!(sha256(&String::from_utf8(printed.stdout).unwrap()), frame.draw.as_ref().unwrap().sample_hash);
    assert_eq!(count(&served, "audit").await, 0, "hospitals are assessed, not audited");

    // Of each drawn hospital as many claims as it has, at most 30, by the same rank.
    let list = pb::ListCodingReviewsRequest {
        frame_id: frame.frame_id.clone(),
        page_size: 13,
        ..Default::default()
    };
    let mut wanted = Vec::new();
    let mut page = list.clone();
    loop {
        let answer = served.audits(MINISTRY).list_coding_reviews(page).await.unwrap().into_inner();
        wanted.extend(answer.reviews);
        if answer.next_page_token.is_empty() {
            break;
        }
        page = pb::ListCodingReviewsRequest { page_token: answer.next_page_token, ..list.clone() };
    }
    let mut of: BTreeMap<String, Vec<pb::CodingReview>> = BTreeMap::new();
    for review in &wanted {
        of.entry(review.facility_code.clone()).or_default().push(review.clone());
    }
    assert_eq!(of.len(), 20);
    let sampled: BTreeSet<_> = sample(&served, &frame).await.rows.into_iter().map(|row| row.key).collect();
    assert_eq!(of.keys().cloned().collect::<BTreeSet<_>>(), sampled);
    for (facility, drawn) in &of {
        let mut own: Vec<_> = claims
            .iter()
            .filter(|claim| claim.facility == *facility)
            .map(|claim| claim.claim_id.to_string())
            .collect();
        own.sort_by_key(|claim| claims::draw::rank(&seed, claim));
        own.truncate(30);
        assert_eq!(drawn.iter().map(|review| review.claim_id.clone()).collect::<Vec<_>>(), own);
        assert_eq!(
            drawn.iter().map(|review| review.place).collect::<Vec<_>>(),
            (1..=own.len() as i32).collect::<Vec<_>>()
        );
    }

    // One review agrees, one takes a code out that made the case heavier, one finds codes that cannot be grouped.
    let codes = |primary: &str, secondary: &[&str], procedures: &[&str]| pb::EpisodeCodes {
        primary_diagnosis: primary.into(),
        secondary_diagnoses: secondary.iter().map(|code| (*code).into()).collect(),
        procedures: procedures.iter().map(|code| (*code).into()).collect(),
    };
    let review = |drawn: &pb::CodingReview, codes: pb::EpisodeCodes| pb::RecordCodingReviewRequest {
        request_id: key(),
        frame_id: frame.frame_id.clone(),
        claim_id: drawn.claim_id.clone(),
        protocol_version: PROTOCOL.into(),
        codes: Some(codes),
    };
    let record = |request: pb::RecordCodingReviewRequest| {
        let mut client = served.audits(MINISTRY);
        async move { client.record_coding_review(request).await.map(|answer| answer.into_inner().review.unwrap()) }
    };
    let (first, second) = {
        let mut hospitals = of.values();
        (hospitals.next().unwrap().clone(), hospitals.next().unwrap().clone())
    };
    let same = codes("A41.9", &["E11.9", "J96.0"], &["99.18", "96.71"]);
    let agreed = record(review(&first[0], same.clone())).await.unwrap();
    let score = agreed.score.unwrap();
    assert_eq!((score.diagnoses_agreed, score.diagnoses_reviewed), (3, 3));
    assert_eq!(
        (score.diagnosis_accuracy_basis_points, score.procedure_accuracy_basis_points),
        (Some(10_000), Some(10_000))
    );
    assert_eq!((agreed.cbg_changed, agreed.reviewed_cbg_code.as_str()), (false, "A-4-10-III"));
    let lighter = record(review(&first[1], codes("A41.9", &["E11.9"], &["99.18"]))).await.unwrap();
    let score = lighter.score.unwrap();
    assert_eq!((score.diagnoses_agreed, score.diagnoses_reviewed), (2, 3));
    assert_eq!((score.procedures_agreed, score.procedures_reviewed), (1, 2));
    assert_eq!((lighter.cbg_changed, lighter.reviewed_cbg_code.as_str()), (true, "A-4-10-II"));
    let effect = lighter.effect_rupiah.unwrap();
    assert_eq!(effect, agreed.effect_rupiah.unwrap() + tariff_of(&first[1], 2) - tariff_of(&first[1], 3));
    let ungroupable = record(review(&second[0], codes("W19", &[], &[]))).await.unwrap();
    assert_eq!((ungroupable.reviewed_cbg_code.as_str(), ungroupable.effect_rupiah), ("X-0-13-X", None));

    // Once, only what was drawn, and only whole.
    assert_eq!(reason(&record(review(&first[0], same.clone())).await.unwrap_err()), "CODING_REVIEW_EXISTS");
    let stranger = claims.iter().find(|claim| !sampled.contains(&claim.facility)).unwrap();
    let stranger = pb::CodingReview { claim_id: stranger.claim_id.to_string(), ..Default::default() };
    assert_eq!(record(review(&stranger, same.clone())).await.unwrap_err().code(), Code::NotFound);
    let wild = pb::RecordCodingReviewRequest {
        request_id: "?".into(),
        claim_id: "?".into(),
        codes: Some(codes("?", &["E11.9"; 40], &["12.3", "?"])),
        ..review(&first[2 % first.len()], same)
    };
    let wrong = wrong_fields(&record(wild).await.unwrap_err());
    for field in [
        "request_id",
        "claim_id",
        "codes.primary_diagnosis",
        "codes.secondary_diagnoses",
        "codes.procedures[1]",
    ] {
        assert!(wrong.iter().any(|name| name == field), "{field}: {wrong:?}");
    }

    let whole = served.audits(MINISTRY).get_coding_accuracy(accuracy.clone()).await.unwrap().into_inner();
    assert_eq!(whole.hospitals.len(), 20);
    let own =
        whole.hospitals.iter().find(|hospital| hospital.facility_code == first[0].facility_code).unwrap();
    let score = own.score.unwrap();
    assert_eq!((own.reviewed, own.cbg_changed, own.effect_unknown), (2, 1, 0));
    assert_eq!(own.effect_rupiah, agreed.effect_rupiah.unwrap() + effect);
    assert_eq!(
        (score.diagnosis_accuracy_basis_points, score.procedure_accuracy_basis_points),
        (Some(8333), Some(7500))
    );
    let overall = whole.overall.unwrap();
    assert_eq!((overall.drawn, overall.reviewed), (wanted.len() as i64, 3));
    assert_eq!((overall.cbg_changed, overall.effect_unknown), (2, 1));
    let score = overall.score.unwrap();
    // 5 of 6, and of the third the primary diagnosis and two others that are not agreed.
    assert_eq!((score.diagnoses_agreed, score.diagnoses_reviewed), (5, 9));
    assert_eq!((score.procedures_agreed, score.procedures_reviewed), (3, 6));
    let unreviewed = whole.hospitals.iter().find(|hospital| hospital.reviewed == 0).unwrap();
    assert_eq!(unreviewed.score.unwrap().diagnosis_accuracy_basis_points, None);

    // A hospital sees its own; one that was not drawn sees nothing.
    let listed = served.audits(HOSPITAL).list_coding_reviews(list).await.unwrap().into_inner().reviews;
    assert!(listed.iter().all(|review| review.facility_code == "0301R011"));
    assert_eq!(listed.len(), of.get("0301R011").map_or(0, Vec::len));
    let narrow = served.audits(HOSPITAL).get_coding_accuracy(accuracy).await.unwrap().into_inner();
    assert!(narrow.hospitals.iter().all(|hospital| hospital.facility_code == "0301R011"));
    let events = served.events(5).await;
    assert_eq!(events.iter().filter(|event| event.r#type == pb::CodingReviewed::full_name()).count(), 3);
    assert!(events.iter().all(|event| !String::from_utf8_lossy(&event.body).contains("A41")));
}

/// The tariff of septicaemia at the hospital of a review, for class 3, by the table the service uses.
fn tariff_of(review: &pb::CodingReview, severity: u8) -> i64 {
    let table = include_str!("../../../../policy/claims/tariff.toml");
    let table = chassis::policy::parse::<claims::tariff::Table>("claims/tariff.toml", table).unwrap();
    let number: u32 = review.facility_code[5..].parse().unwrap();
    let (class, province) = if number.is_multiple_of(3) { ("A", "12") } else { ("B", "32") };
    let roman = ["I", "II", "III"][usize::from(severity) - 1];
    let package = claims::grouper::Package {
        cbg: vocabulary::Cbg::parse(&format!("A-4-10-{roman}")).unwrap(),
        title: String::new(),
        group: "A-4-10".into(),
        case_type: 4,
        severity,
    };
    let hospital =
        claims::tariff::Hospital { province: province.into(), class: class.into(), government_owned: true };
    let class = vocabulary::CareClass::Three;
    table.versions()[0].of(&package, &hospital, class).unwrap().amount.get()
}
