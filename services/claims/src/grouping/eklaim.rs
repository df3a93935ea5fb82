//! An e-Klaim web service outside of the mesh, in the form of its manual, build 5.10: the iDRG track first, which its
//! INA-CBG track wants final, then INA-CBG in stages 1 and 2. Each method may be repeated: what e-Klaim has already is
//! no fault.

use std::time::Duration;

use chassis::{Call, Problem, Upstream};
use proto::{
    claims::v1 as pb,
    membership::v1::{GetMemberRequest, membership_service_client::MembershipServiceClient},
};
use reqwest::{Client, Url};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vocabulary::Cbg;

use super::{Asked, Grouper, envelope::Key, ungroupable, wire};
use crate::{config, error::Error};

const NAME: &str = "e-Klaim";
/// An answer of a method is a few kilobytes.
const MOST_BYTES: usize = 1 << 20;

/// The SEP has a claim at e-Klaim.
const CLAIMED: [&str; 2] = ["E2003", "E2007"];
/// The claim, or one of its tracks, is not final.
const NOT_FINAL: [&str; 4] = ["E2017", "E2018", "E2103", "E2104"];
/// The claim, or one of its tracks, is final already.
const FINAL: [&str; 2] = ["E2009", "E2102"];
/// The codes cannot be grouped.
const UNGROUPABLE: [&str; 3] = ["E2016", "E2063", "E2105"];

/// The client.
pub(crate) struct EklaimGrouper {
    client: Client,
    url: Url,
    key: Key,
    membership: MembershipServiceClient<Upstream>,
}

/// What a method came to.
enum Answer {
    Done(Value),
    Refused(String),
}

impl EklaimGrouper {
    pub(crate) fn new(
        settings: &config::Eklaim,
        membership: MembershipServiceClient<Upstream>,
    ) -> anyhow::Result<Self> {
        let url = Url::parse(&settings.url).map_err(|_| anyhow::anyhow!("eklaim.url is not an address"))?;
        let key = Key::parse(settings.secret.expose_secret());
        let key = key.ok_or_else(|| anyhow::anyhow!("eklaim.secret must be 64 hexadecimal digits"))?;
        let timeout = Duration::from_millis(settings.timeout_milliseconds);
        anyhow::ensure!(!timeout.is_zero(), "eklaim.timeout-milliseconds must be at least 1");
        // A redirect would carry the claim elsewhere; a proxy would see it.
        let client = Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, url, key, membership })
    }

    /// Calls a method. No answer, or one that cannot be opened, is a passing fault: nothing is concluded from it.
    async fn call(&self, metadata: Value, data: Value) -> Result<Answer, Problem> {
        let failed = |what: &'static str| {
            tracing::warn!(what, "e-Klaim was asked in vain");
            Problem::unavailable(NAME)
        };
        let message = json!({ "metadata": metadata, "data": data }).to_string();
        let body = self.key.seal(message.as_bytes()).map_err(|_| failed("no random numbers"))?;
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let mut response = request.send().await.map_err(|error| {
            failed(if error.is_timeout() { "no answer in time" } else { "no connection" })
        })?;
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|_| failed("an answer that was cut"))? {
            if bytes.len() + part.len() > MOST_BYTES {
                return Err(failed("an answer without end"));
            }
            bytes.extend_from_slice(&part);
        }
        let text = String::from_utf8(bytes).map_err(|_| failed("an answer that is no text"))?;
        let opened = self.key.open(&text).map_err(|_| failed("an answer that cannot be opened"))?;
        let answer: Value =
            serde_json::from_slice(&opened).map_err(|_| failed("an answer that cannot be read"))?;
        let status = &answer["metadata"];
        let code = status["code"].as_i64().or_else(|| status["code"].as_str()?.parse().ok());
        match code {
            Some(200) => Ok(Answer::Done(answer)),
            Some(_) => {
                // Its message may name a patient; its number does not.
                let number = status["error_no"].as_str().unwrap_or_default();
                let is_number = number.len() <= 8 && number.bytes().all(|b| b.is_ascii_alphanumeric());
                Ok(Answer::Refused(if is_number { number.to_owned() } else { String::new() }))
            }
            None => Err(failed("an answer without a code")),
        }
    }

    /// Calls a method on the claim of a SEP; a refusal with one of the numbers that are no fault is `None`.
    async fn ask(
        &self,
        method: &'static str,
        metadata: Value,
        data: Value,
        no_fault: &[&str],
    ) -> Result<Option<Value>, Error> {
        let mut whole = json!({ "method": method });
        if let (Value::Object(whole), Value::Object(more)) = (&mut whole, metadata) {
            whole.extend(more);
        }
        match self.call(whole, data).await? {
            Answer::Done(answer) => Ok(Some(answer)),
            Answer::Refused(number) if no_fault.contains(&number.as_str()) => Ok(None),
            Answer::Refused(error_no) => {
                tracing::warn!(method, error_no, "e-Klaim refused");
                Err(Error::GrouperRefused { method, error_no })
            }
        }
    }

    /// The claim at e-Klaim, open for coding.
    async fn opened(&self, asked: &Asked<'_>) -> Result<(), Error> {
        let member = self.member(asked.call, &asked.row.member_id.to_string()).await?;
        let created = self.ask("new_claim", json!({}), wire::patient(asked, &member), &CLAIMED).await?;
        if created.is_none() {
            self.reopened(&asked.row.sep_number).await?;
        }
        Ok(())
    }

    async fn member(&self, call: &Call, member_id: &str) -> Result<proto::membership::v1::Member, Error> {
        let request = call.onward(GetMemberRequest { member_id: member_id.to_owned() });
        let answer = self.membership.clone().get_member(request).await;
        let answer = answer.map_err(|status| Problem::from_upstream("membership", &status))?;
        answer.into_inner().member.ok_or_else(|| Problem::unavailable("membership").into())
    }

    async fn reopened(&self, sep_number: &str) -> Result<(), Error> {
        for method in ["reedit_claim", "inacbg_grouper_reedit", "idrg_grouper_reedit"] {
            self.ask(method, json!({}), json!({ "nomor_sep": sep_number }), &NOT_FINAL).await?;
        }
        Ok(())
    }

    /// Has e-Klaim ask the register SITB for the number of the claim: it makes no claim of tuberculosis final without
    /// (E2066).
    async fn registered(&self, asked: &Asked<'_>) -> Result<(), Error> {
        let number = &asked.data.sitb_number;
        if number.is_empty() {
            return Ok(());
        }
        let data = json!({ "nomor_sep": asked.row.sep_number, "nomor_register_sitb": number });
        let answer = self.ask("sitb_validate", json!({}), data, &[]).await?;
        match answer.as_ref().and_then(|answer| answer["response"]["status"].as_str()) {
            Some("VALID") => Ok(()),
            Some(_) => Err(Error::SitbNumberUnknown),
            None => Err(unreadable()),
        }
    }

    /// Sets the codes of a track.
    async fn coded(&self, asked: &Asked<'_>, track: Track) -> Result<(), Error> {
        let of_sep = json!({ "nomor_sep": asked.row.sep_number });
        let diagnoses = wire::codes(asked.episode.diagnoses().map(vocabulary::Icd10::as_str));
        let procedures = wire::codes(asked.episode.procedures.iter().map(vocabulary::Icd9Procedure::as_str));
        self.ask(track.diagnoses, of_sep.clone(), json!({ "diagnosa": diagnoses }), &[]).await?;
        self.ask(track.procedures, of_sep, json!({ "procedure": procedures }), &[]).await?;
        Ok(())
    }

    async fn grouped(
        &self,
        asked: &Asked<'_>,
        track: Track,
        stage: u8,
        data: Value,
    ) -> Result<Option<Value>, Error> {
        let metadata = json!({ "stage": stage, "grouper": track.name });
        let mut data = data;
        data["nomor_sep"] = json!(asked.row.sep_number);
        self.ask("grouper", metadata, data, &UNGROUPABLE).await
    }
}

/// One of the two groupers of e-Klaim.
#[derive(Clone, Copy)]
struct Track {
    name: &'static str,
    diagnoses: &'static str,
    procedures: &'static str,
}

const IDRG: Track = Track { name: "idrg", diagnoses: "idrg_diagnosa_set", procedures: "idrg_procedure_set" };
const INACBG: Track =
    Track { name: "inacbg", diagnoses: "inacbg_diagnosa_set", procedures: "inacbg_procedure_set" };

/// An answer that lacks what it must have.
fn unreadable() -> Error {
    tracing::warn!(what = "an answer that lacks what it must have", "e-Klaim was asked in vain");
    Problem::unavailable(NAME).into()
}

#[tonic::async_trait]
impl Grouper for EklaimGrouper {
    async fn group(&self, asked: &Asked<'_>) -> Result<pb::Grouping, Error> {
        let sep_number = &asked.row.sep_number;
        let of_sep = json!({ "nomor_sep": sep_number });
        self.opened(asked).await?;
        self.ask("set_claim_data", of_sep.clone(), wire::claim_data(asked), &[]).await?;
        self.registered(asked).await?;
        let refused = |answer: Option<&Value>| pb::Grouping {
            grouper: "eklaim".to_owned(),
            answer: answer.map(Value::to_string).unwrap_or_default(),
            ..ungroupable(pb::UngroupableReason::Grouper, asked)
        };

        self.coded(asked, IDRG).await?;
        let idrg = self.grouped(asked, IDRG, 1, json!({})).await?;
        let group = idrg.as_ref().and_then(|answer| answer["response_idrg"]["drg_code"].as_str());
        if group.is_none_or(|code| code.starts_with("36")) {
            return Ok(refused(idrg.as_ref()));
        }
        self.ask("idrg_grouper_final", json!({}), of_sep.clone(), &FINAL).await?;
        self.ask("idrg_to_inacbg_import", json!({}), of_sep, &[]).await?;

        self.coded(asked, INACBG).await?;
        let Some(mut answer) = self.grouped(asked, INACBG, 1, json!({})).await? else {
            return Ok(refused(None));
        };
        let special_options = wire::specials(&answer["special_cmg_option"]).ok_or_else(unreadable)?;
        let special = &asked.episode.special;
        let is_open = |code: &str| special_options.iter().any(|option| option.code == code);
        if !special.iter().all(|code| is_open(code.as_str())) {
            return Ok(pb::Grouping {
                special_options,
                ungroupable_reason: pb::UngroupableReason::SpecialNotOpen.into(),
                ..refused(Some(&answer))
            });
        }
        if !special.is_empty() {
            let codes = wire::codes(special.iter().map(crate::special::SpecialCode::as_str));
            let staged = self.grouped(asked, INACBG, 2, json!({ "special_cmg": codes })).await?;
            answer = staged.ok_or_else(unreadable)?;
        }
        let result = &answer["response_inacbg"];
        let code = result["cbg"]["code"].as_str().ok_or_else(unreadable)?;
        let cbg = Cbg::parse(code).map_err(|_| unreadable())?;
        if cbg.main_group() == "X" {
            return Ok(pb::Grouping { cbg_code: code.to_owned(), ..refused(Some(&answer)) });
        }
        let package_rupiah =
            wire::rupiah(&result["tariff"]).filter(|amount| *amount > 0).ok_or_else(unreadable)?;
        let top_ups = wire::specials(&result["special_cmg"]).ok_or_else(unreadable)?;
        let claimed_all = special.iter().all(|code| top_ups.iter().any(|paid| paid.code == code.as_str()));
        if !claimed_all || top_ups.len() != special.len() {
            return Err(unreadable());
        }
        let severity = match cbg.severity() {
            "I" => 1,
            "II" => 2,
            "III" => 3,
            _ => 0,
        };
        let version = result["inacbg_version"].as_str().unwrap_or_default();
        Ok(pb::Grouping {
            cbg_code: code.to_owned(),
            title: result["cbg"]["description"].as_str().unwrap_or_default().to_owned(),
            case_type: cbg.case_type().to_digit(10).and_then(|digit| i32::try_from(digit).ok()).unwrap_or(0),
            severity,
            tariff_rupiah: package_rupiah + top_ups.iter().map(|paid| paid.amount_rupiah).sum::<i64>(),
            care_class: asked.letter.entitled_class,
            tariff_class: wire::tariff_class(asked.letter),
            tariff_source: format!("e-Klaim {version}"),
            package_rupiah,
            special_options,
            top_ups,
            ungroupable_reason: pb::UngroupableReason::Unspecified.into(),
            ..refused(Some(&answer))
        })
    }

    async fn finalise(&self, sep_number: &str, coder_nik: &str) -> Result<(), Error> {
        let of_sep = json!({ "nomor_sep": sep_number });
        self.ask("inacbg_grouper_final", json!({}), of_sep, &FINAL).await?;
        let coded = json!({ "nomor_sep": sep_number, "coder_nik": coder_nik });
        self.ask("claim_final", json!({}), coded, &FINAL).await?;
        Ok(())
    }

    async fn reedit(&self, sep_number: &str) -> Result<(), Error> {
        let of_sep = json!({ "nomor_sep": sep_number });
        for method in ["reedit_claim", "inacbg_grouper_reedit"] {
            self.ask(method, json!({}), of_sep.clone(), &NOT_FINAL).await?;
        }
        Ok(())
    }
}
