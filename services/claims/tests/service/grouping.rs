//! Grouping over gRPC: by the table, with its special CMGs; and by an e-Klaim web service, which a server of our own speaks
//! here, in its encrypted form and with its own states and refusals.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{
    refusal::{fact, reason},
    served::Served,
    wishes::{CODER, HOSPITAL, coding, day, key, visit},
};
use claims::grouping::envelope::Key;
use proto::claims::v1 as pb;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tonic::{Code, Status};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// A number that the register SITB knows.
const SITB: &str = "SITB-2026-000001";
/// A number of which e-Klaim says nothing.
const SILENT: &str = "SITB-2026-000002";
/// Stands in refusals of e-Klaim, and must not come out of them.
const NAME: &str = "PASIEN RAHASIA";

/// A claim at e-Klaim.
#[derive(Default)]
struct Held {
    data: Value,
    idrg: Track,
    inacbg: Track,
    imported: bool,
    registered: bool,
    is_final: bool,
}

#[derive(Default)]
struct Track {
    diagnoses: String,
    procedures: String,
    grouped: bool,
    is_final: bool,
}

/// The e-Klaim server.
#[derive(Default)]
struct Server {
    claims: HashMap<String, Held>,
    methods: Vec<String>,
    patients: Vec<Value>,
    refuse: Option<(&'static str, &'static str)>,
    garbled: bool,
}

fn refused(number: &str) -> Value {
    json!({
        "metadata": { "code": 400, "message": format!("Ditolak: {NAME}"), "error_no": number },
        "duplicate": [{ "nama_pasien": NAME }],
    })
}

fn done(mut more: Value) -> Value {
    more["metadata"] = json!({ "code": 200, "message": "Ok" });
    more
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Server {
    fn answer(&mut self, message: &Value) -> Value {
        let (metadata, data) = (&message["metadata"], &message["data"]);
        let method = text(&metadata["method"]);
        self.methods.push(method.clone());
        if let Some((of, number)) = self.refuse
            && of == method
        {
            return refused(number);
        }
        let in_data = text(&data["nomor_sep"]);
        let sep = if in_data.is_empty() { text(&metadata["nomor_sep"]) } else { in_data };
        if method == "new_claim" {
            self.patients.push(data.clone());
            let mandatory = ["nomor_kartu", "nomor_sep", "nomor_rm", "nama_pasien", "tgl_lahir", "gender"];
            if mandatory.iter().any(|name| text(&data[*name]).is_empty()) {
                return refused("E2030");
            }
            if self.claims.contains_key(&sep) {
                return refused("E2007");
            }
            self.claims.insert(sep, Held::default());
            return done(json!({ "response": { "patient_id": 453, "admission_id": 1 } }));
        }
        let Some(claim) = self.claims.get_mut(&sep) else { return refused("E2004") };
        claim.answer(&method, metadata, data)
    }
}

impl Held {
    fn answer(&mut self, method: &str, metadata: &Value, data: &Value) -> Value {
        let open = !self.is_final;
        let no = |number: &str| refused(number);
        match method {
            "set_claim_data" if !open => return no("E2009"),
            "set_claim_data" if text(&data["coder_nik"]).is_empty() || data["payor_id"] != "3" => {
                return no("E2030");
            }
            "set_claim_data" => self.data = data.clone(),
            "idrg_diagnosa_set" | "idrg_procedure_set" if self.idrg.is_final => return no("E2102"),
            "idrg_diagnosa_set" => self.idrg.diagnoses = text(&data["diagnosa"]),
            "idrg_procedure_set" => self.idrg.procedures = text(&data["procedure"]),
            "grouper" => return self.group(metadata, data),
            "idrg_grouper_final" if !self.idrg.grouped => return no("E2017"),
            "idrg_grouper_final" => self.idrg.is_final = true,
            "idrg_to_inacbg_import" if !self.idrg.is_final => return no("E2103"),
            "idrg_to_inacbg_import" => self.imported = true,
            "inacbg_diagnosa_set" | "inacbg_procedure_set" if !self.imported => return no("E2103"),
            "inacbg_diagnosa_set" | "inacbg_procedure_set" if self.inacbg.is_final => return no("E2102"),
            "inacbg_diagnosa_set" => self.inacbg.diagnoses = text(&data["diagnosa"]),
            "inacbg_procedure_set" => self.inacbg.procedures = text(&data["procedure"]),
            "inacbg_grouper_final" if !self.inacbg.grouped => return no("E2017"),
            "inacbg_grouper_final" if self.inacbg.is_final => return no("E2102"),
            "inacbg_grouper_final" => self.inacbg.is_final = true,
            "claim_final" if !self.inacbg.is_final => return no("E2104"),
            "claim_final" if data["coder_nik"] != self.data["coder_nik"] => return no("E2006"),
            "claim_final" if self.is_final => return no("E2009"),
            "claim_final" if self.inacbg.diagnoses.starts_with("A15") && !self.registered => {
                return no("E2066");
            }
            "claim_final" => self.is_final = true,
            "reedit_claim" if open => return no("E2018"),
            "reedit_claim" => self.is_final = false,
            "inacbg_grouper_reedit" if !self.inacbg.is_final => return no("E2104"),
            "inacbg_grouper_reedit" => self.inacbg.is_final = false,
            "idrg_grouper_reedit" if self.inacbg.is_final => return no("E2102"),
            "idrg_grouper_reedit" if !self.idrg.is_final => return no("E2103"),
            "idrg_grouper_reedit" => (self.idrg.is_final, self.imported) = (false, false),
            "sitb_validate" => {
                self.registered = data["nomor_register_sitb"] == SITB;
                if data["nomor_register_sitb"] == SILENT {
                    return done(json!({ "response": { "detail": NAME } }));
                }
                let status = if self.registered { "VALID" } else { "INVALID" };
                return done(json!({ "response": { "status": status, "detail": NAME } }));
            }
            _ => return no("E2001"),
        }
        done(json!({}))
    }

    fn group(&mut self, metadata: &Value, data: &Value) -> Value {
        let track = if metadata["grouper"] == "idrg" { &mut self.idrg } else { &mut self.inacbg };
        if track.diagnoses.is_empty() || track.is_final {
            return refused("E2011");
        }
        track.grouped = true;
        let diagnosis = track.diagnoses.clone();
        if metadata["grouper"] == "idrg" {
            let code = if diagnosis.starts_with('W') { "3600001" } else { "1807119" };
            return done(json!({ "response_idrg": { "drg_code": code, "cost_weight": "5.14" } }));
        }
        if diagnosis.starts_with('V') {
            return refused("E2063");
        }
        let code = if diagnosis.starts_with('R') { "X-0-98-X" } else { "M-1-04-I" };
        let options = if track.procedures.contains("81.5") {
            json!([
                { "code": "RR04", "description": "Hip Implant", "type": "Special Prosthesis" },
                { "code": "YY01", "description": "Hip Replacement", "type": "Special Procedure" },
            ])
        } else {
            Value::Null
        };
        let mut result = json!({
            "cbg": { "code": code, "description": "PROSEDUR PADA SENDI" },
            "base_tariff": "31713400",
            "tariff": "31713400",
            "inacbg_version": "5.10.5",
        });
        if metadata["stage"].as_u64() == Some(2) {
            let claimed = text(&data["special_cmg"]);
            let special: Vec<_> = claimed
                .split('#')
                .map(|code| json!({ "code": code, "description": code, "tariff": 13_099_000 }))
                .collect();
            result["special_cmg"] = json!(special);
        }
        done(json!({ "response_inacbg": result, "special_cmg_option": options }))
    }
}

/// The server with its address. While `gate` has no permits, its answers to `grouper` wait.
#[derive(Clone)]
struct Eklaim {
    server: Arc<Mutex<Server>>,
    gate: Arc<Semaphore>,
    asked: Arc<Notify>,
    url: String,
}

impl Eklaim {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/E-Klaim/ws.php", listener.local_addr().unwrap());
        let eklaim = Self {
            server: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            asked: Arc::default(),
            url,
        };
        let served = eklaim.clone();
        let router = axum::Router::new().fallback(move |body: String| served.clone().answer(body));
        let service = hyper_util::service::TowerToHyperService::new(router);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let io = hyper_util::rt::TokioIo::new(stream);
                let executor = hyper_util::rt::TokioExecutor::new();
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(executor);
                    let _ = server.serve_connection(io, service).await;
                });
            }
        });
        eklaim
    }

    async fn answer(self, body: String) -> String {
        let key = Key::parse(KEY).unwrap();
        let Ok(opened) = key.open(&body) else {
            return key.seal_answer(refused("E2031").to_string().as_bytes()).unwrap();
        };
        let message: Value = serde_json::from_slice(&opened).unwrap();
        if message["metadata"]["method"] == "grouper" {
            self.asked.notify_one();
            let _open = self.gate.acquire().await.unwrap();
        }
        let (answer, garbled) = {
            let mut server = self.server.lock().unwrap();
            (server.answer(&message), server.garbled)
        };
        if garbled { answer.to_string() } else { key.seal_answer(answer.to_string().as_bytes()).unwrap() }
    }

    fn change(&self, change: impl FnOnce(&mut Server)) {
        change(&mut self.server.lock().unwrap());
    }

    fn methods(&self) -> Vec<String> {
        std::mem::take(&mut self.server.lock().unwrap().methods)
    }

    async fn beside(&self, key: &str) -> Served {
        Served::start_with(&[
            ("service.grouper", "eklaim"),
            ("service.eklaim.url", &self.url),
            ("service.eklaim.secret", key),
            ("service.eklaim.timeout-milliseconds", "5000"),
        ])
        .await
    }
}

/// An in-patient with a new hip, who claims these special CMGs.
async fn hip(served: &Served, special: &[&str]) -> pb::Claim {
    let wish = pb::IssueSepRequest {
        entry: pb::Entry::Emergency.into(),
        care_type: pb::CareType::Inpatient.into(),
        poli_code: String::new(),
        referral_number: String::new(),
        admitted_at: chassis::time::start_of(day(-2)).map(chassis::time::to_proto),
        ..visit(day(-2))
    };
    let claim = served.created(&served.issue(wish).await.unwrap()).await;
    served.set(&claim, hip_data(special)).await.unwrap()
}

fn hip_data(special: &[&str]) -> pb::ClaimData {
    let discharged = chassis::time::start_of(day(0)).unwrap();
    pb::ClaimData {
        discharged_at: Some(chassis::time::to_proto(discharged)),
        procedures: vec!["81.51".into()],
        special_items: special.iter().map(|code| (*code).to_owned()).collect(),
        adl_sub_acute: 15,
        ..coding(day(-2), "S72.0")
    }
}

async fn visited(served: &Served, primary: &str) -> pb::Claim {
    let claim = served.created(&served.issue(visit(day(0))).await.unwrap()).await;
    served.set(&claim, coding(day(0), primary)).await.unwrap()
}

async fn group(served: &Served, claim: &pb::Claim) -> Result<pb::Claim, Status> {
    let request = pb::GroupClaimRequest { request_id: key(), claim_id: claim.claim_id.clone() };
    Ok(served.claims(HOSPITAL).group_claim(request).await?.into_inner().claim.unwrap())
}

fn codes(items: &[pb::SpecialCmg]) -> Vec<&str> {
    items.iter().map(|item| item.code.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_pays_special_cmgs_beside_the_package() {
    let served = Served::start().await;
    let claim = hip(&served, &["RR04", "YY01"]).await;
    let grouped = served.grouped(&claim).await;
    let grouping = grouped.grouping.as_ref().unwrap();
    assert_eq!((grouping.cbg_code.as_str(), grouping.grouper.as_str()), ("M-1-04-I", "table"));
    assert_eq!(codes(&grouping.top_ups), ["RR04", "YY01"]);
    assert_eq!(grouping.tariff_rupiah, grouping.package_rupiah + 18_000_000 + 13_099_000);
    assert_eq!(
        (codes(&grouping.special_options), &grouping.unpriced),
        (vec!["YY01", "RR04"], &vec!["SA".to_owned()])
    );
    assert_eq!(grouping.top_ups[0].kind(), pb::SpecialKind::Prosthesis);

    // What is open and not claimed is not paid; what is not open is not guessed.
    let claim = served.set(&claim, hip_data(&[])).await.unwrap();
    let plain = served.grouped(&claim).await.grouping.unwrap();
    assert_eq!(plain.tariff_rupiah, grouping.package_rupiah);
    let claim = served.set(&claim, hip_data(&["YY02"])).await.unwrap();
    let closed = served.grouped(&claim).await;
    let grouping = closed.grouping.as_ref().unwrap();
    assert_eq!((closed.state(), grouping.tariff_rupiah), (pb::ClaimState::Draft, 0));
    assert_eq!(grouping.ungroupable_reason(), pb::UngroupableReason::SpecialNotOpen);
    let refused = served.finalised(&closed).await.unwrap_err();
    assert_eq!(fact(&refused, "ungroupable_reason"), "SPECIAL_NOT_OPEN");

    // The whole amount goes to payment.
    let claim = served.set(
        &claim,
        pb::ClaimData {
            documents: vec![pb::Document {
                kind: pb::DocumentKind::MedicalSummary.into(),
                reference: "MS".into(),
            }],
            ..hip_data(&["YY01"])
        },
    );
    let claim = served.finalised(&served.grouped(&claim.await.unwrap()).await).await.unwrap();
    let claim = served
        .approved(&served.verified(&served.submitted(&claim).await.unwrap()).await.unwrap())
        .await
        .unwrap();
    assert_eq!(claim.approved_rupiah, plain.package_rupiah + 13_099_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eklaim_service_groups_finalises_and_opens_again() {
    let eklaim = Eklaim::start().await;
    let served = eklaim.beside(KEY).await;
    let claim = hip(&served, &["RR04", "YY01"]).await;
    let grouped = group(&served, &claim).await.unwrap();
    let grouping = grouped.grouping.as_ref().unwrap();
    assert_eq!((grouping.cbg_code.as_str(), grouping.case_type, grouping.severity), ("M-1-04-I", 1, 1));
    assert_eq!((grouping.package_rupiah, grouping.tariff_rupiah), (31_713_400, 31_713_400 + 2 * 13_099_000));
    assert_eq!(
        (codes(&grouping.top_ups), codes(&grouping.special_options)),
        (vec!["RR04", "YY01"], vec!["RR04", "YY01"])
    );
    assert_eq!((grouping.grouper.as_str(), grouping.tariff_source.as_str()), ("eklaim", "e-Klaim 5.10.5"));
    let kept: Value = serde_json::from_str(&grouping.answer).unwrap();
    assert_eq!(
        kept["response_inacbg"]["special_cmg"][1]["code"], "YY01",
        "its answer is kept with the grouping"
    );
    assert_eq!(
        eklaim.methods(),
        [
            "new_claim",
            "set_claim_data",
            "idrg_diagnosa_set",
            "idrg_procedure_set",
            "grouper",
            "idrg_grouper_final",
            "idrg_to_inacbg_import",
            "inacbg_diagnosa_set",
            "inacbg_procedure_set",
            "grouper",
            "grouper"
        ]
    );
    {
        let server = eklaim.server.lock().unwrap();
        let held = &server.claims[&claim.sep_number];
        assert_eq!((held.inacbg.diagnoses.as_str(), held.inacbg.procedures.as_str()), ("S72.0", "81.51"));
        let data = &held.data;
        let shown = ["jenis_rawat", "kelas_rawat", "adl_sub_acute", "cara_masuk", "kode_tarif", "payor_id"]
            .map(|name| text(&data[name]));
        assert_eq!(shown, ["1", "2", "15", "gp", "BP", "3"]);
        assert_eq!(text(&data["tgl_masuk"]), format!("{} 00:00:00", day(-2)), "in Asia/Jakarta");
        assert_eq!(
            (&data["tarif_rs"]["konsultasi"], text(&data["coder_nik"])),
            (&json!("150000"), CODER.into())
        );
        assert_eq!(server.patients[0]["nomor_kartu"], "0001234567890");
        assert!(data["nomor_kartu_t"].is_null(), "the card is the patient's own");
    }

    let done = served.finalised(&grouped).await.unwrap();
    assert_eq!(eklaim.methods(), ["inacbg_grouper_final", "claim_final"]);
    assert!(eklaim.server.lock().unwrap().claims[&claim.sep_number].is_final);
    let reedit = pb::ReeditClaimRequest { request_id: key(), claim_id: done.claim_id.clone() };
    let open = served.eklaim(HOSPITAL).reedit_claim(reedit.clone()).await.unwrap().into_inner();
    assert!(!eklaim.server.lock().unwrap().claims[&claim.sep_number].is_final);
    eklaim.methods();
    assert_eq!(served.eklaim(HOSPITAL).reedit_claim(reedit).await.unwrap().into_inner(), open);
    assert!(eklaim.methods().is_empty(), "a repeated call asks nobody");

    // Final once more; then coded anew: e-Klaim is opened again on the way.
    let done = served.finalised(&open.claim.unwrap()).await.unwrap();
    let anew = served.set(&done, hip_data(&[])).await.unwrap();
    let grouping = group(&served, &anew).await.unwrap().grouping.unwrap();
    assert_eq!(grouping.tariff_rupiah, 31_713_400);
    assert_eq!(
        eklaim.methods()[2..6],
        ["new_claim", "reedit_claim", "inacbg_grouper_reedit", "idrg_grouper_reedit"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_tuberculosis_is_final_once_eklaim_found_its_number_in_the_register() {
    let eklaim = Eklaim::start().await;
    let served = eklaim.beside(KEY).await;
    let with = |number: &str| pb::ClaimData { sitb_number: number.into(), ..coding(day(0), "A15.0") };
    let claim = visited(&served, "A15.0").await;
    let without = group(&served, &claim).await.unwrap();
    let refused = served.finalised(&without).await.unwrap_err();
    assert_eq!(
        (fact(&refused, "method"), fact(&refused, "error_no")),
        ("claim_final".into(), "E2066".into())
    );

    let unknown = served.set(&without, with("TYPING-ERROR")).await.unwrap();
    let rows = served.rows().await;
    let refused = group(&served, &unknown).await.unwrap_err();
    assert_eq!(reason(&refused), "SITB_NUMBER_UNKNOWN");
    assert!(!format!("{refused:?}").contains(NAME));
    assert_eq!(served.rows().await, rows, "a refusal writes nothing");
    let silent = served.set(&unknown, with(SILENT)).await.unwrap();
    let refused = group(&served, &silent).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "nothing is concluded from it: {refused:?}");
    let known = served.set(&silent, with(SITB)).await.unwrap();
    let grouped = group(&served, &known).await.unwrap();
    assert_eq!(served.finalised(&grouped).await.unwrap().state(), pb::ClaimState::Final);
}

#[tokio::test(flavor = "multi_thread")]
async fn eklaim_is_told_that_a_newborn_is_claimed_for_on_its_mothers_card() {
    let eklaim = Eklaim::start().await;
    let served = eklaim.beside(KEY).await;
    let born = pb::IssueSepRequest {
        newborn_order: 1,
        entry: pb::Entry::Emergency.into(),
        referral_number: String::new(),
        ..visit(day(0))
    };
    let claim = served.created(&served.issue(born).await.unwrap()).await;
    let data = pb::ClaimData {
        birth_date: day(-3).to_string(),
        birth_weight_gram: 3100,
        newborn_status: pb::NewbornStatus::Healthy.into(),
        ..coding(day(0), "S72.0")
    };
    group(&served, &served.set(&claim, data).await.unwrap()).await.unwrap();
    let server = eklaim.server.lock().unwrap();
    assert_eq!(server.claims[&claim.sep_number].data["nomor_kartu_t"], "klaim_ibu");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_eklaim_cannot_group_or_refuses_is_told_and_names_nobody() {
    let eklaim = Eklaim::start().await;
    let served = eklaim.beside(KEY).await;
    for (primary, code) in [("W19", ""), ("V01", ""), ("R51", "X-0-98-X")] {
        let claim = group(&served, &visited(&served, primary).await).await.unwrap();
        let grouping = claim.grouping.unwrap();
        assert_eq!(grouping.ungroupable_reason(), pb::UngroupableReason::Grouper, "{primary}");
        assert_eq!((claim.state, grouping.cbg_code.as_str()), (pb::ClaimState::Draft as i32, code));
    }
    let closed = hip(&served, &["YY02"]).await;
    let grouping = group(&served, &closed).await.unwrap().grouping.unwrap();
    assert_eq!(grouping.ungroupable_reason(), pb::UngroupableReason::SpecialNotOpen);
    assert_eq!(codes(&grouping.special_options), ["RR04", "YY01"]);

    let claim = visited(&served, "E11.9").await;
    let rows = served.rows().await;
    eklaim.change(|server| server.refuse = Some(("set_claim_data", "E2065")));
    let refused = group(&served, &claim).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), fact(&refused, "method").as_str(), fact(&refused, "error_no").as_str()),
        ("GROUPER_REFUSED", "set_claim_data", "E2065")
    );
    assert!(!format!("{refused:?}").contains(NAME));
    eklaim.change(|server| server.refuse = Some(("new_claim", NAME)));
    let refused = group(&served, &claim).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), fact(&refused, "error_no").as_str()), ("GROUPER_REFUSED", ""));
    assert!(!format!("{refused:?}").contains(NAME), "a number that is none is not handed on");
    assert_eq!(served.rows().await, rows, "a refusal writes nothing");
    eklaim.change(|server| server.refuse = None);
    assert_eq!(group(&served, &claim).await.unwrap().state(), pb::ClaimState::Grouped);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eklaim_that_does_not_answer_right_is_a_passing_fault() {
    let eklaim = Eklaim::start().await;
    let served = eklaim.beside(KEY).await;
    let claim = visited(&served, "E11.9").await;
    let rows = served.rows().await;
    eklaim.change(|server| server.garbled = true);
    let refused = group(&served, &claim).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE"));
    assert_eq!(served.rows().await, rows);
    eklaim.change(|server| server.garbled = false);
    assert_eq!(group(&served, &claim).await.unwrap().state(), pb::ClaimState::Grouped);

    let stranger = eklaim.beside(OTHER_KEY).await;
    let claim = visited(&stranger, "E11.9").await;
    assert_eq!(group(&stranger, &claim).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_changes_while_it_is_grouped_keeps_the_change() {
    let eklaim = Eklaim::start().await;
    let served = eklaim.beside(KEY).await;
    let claim = hip(&served, &[]).await;
    eklaim.gate.forget_permits(usize::MAX);
    let (mut client, id) = (served.claims(HOSPITAL), claim.claim_id.clone());
    let grouping = tokio::spawn(async move {
        client.group_claim(pb::GroupClaimRequest { request_id: key(), claim_id: id }).await
    });
    eklaim.asked.notified().await;
    let changed = hip_data(&["YY01"]);
    served.set(&claim, changed.clone()).await.unwrap();
    eklaim.gate.add_permits(1000);
    let refused = grouping.await.unwrap().unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "CLAIM_CHANGED"));
    let now = served.read(&claim).await;
    assert_eq!((now.state(), now.data.unwrap(), now.grouping), (pb::ClaimState::Draft, changed, None));
}
