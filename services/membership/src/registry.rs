//! The civil registry (Dukcapil), asked over HTTP in the format of `docs/civil-registry.md`.

use std::time::Duration;

use chassis::Problem;
use jiff::civil::Date;
use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::config::CivilRegistry;

const NAME: &str = "civil registry";

/// What is asked about a person.
#[derive(Serialize)]
pub(crate) struct Question<'a> {
    pub(crate) nik: &'a str,
    pub(crate) name: &'a str,
    pub(crate) birth_date: Date,
    /// `male` or `female`.
    pub(crate) sex: String,
}

/// What the registry answers.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Answer {
    Found { name: Comparison, birth_date: Comparison, sex: Comparison, alive: bool },
    NotFound,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Comparison {
    Matches,
    Differs,
}

/// What the registry says of a NIK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Matched,
    Discrepant,
    NotFound,
}

impl Verdict {
    pub(crate) const ALL: [Self; 3] = [Self::Matched, Self::Discrepant, Self::NotFound];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Matched => "MATCHED",
            Self::Discrepant => "DISCREPANT",
            Self::NotFound => "NOT_FOUND",
        }
    }
}

/// What differs between registry and membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discrepancy {
    Name,
    BirthDate,
    Sex,
    Deceased,
}

impl Discrepancy {
    pub(crate) const ALL: [Self; 4] = [Self::Name, Self::BirthDate, Self::Sex, Self::Deceased];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "NAME",
            Self::BirthDate => "BIRTH_DATE",
            Self::Sex => "SEX",
            Self::Deceased => "DECEASED",
        }
    }
}

/// What the answer means, for a member whose membership runs or ended by death.
fn judge(answer: &Answer, known_deceased: bool) -> (Verdict, Vec<Discrepancy>) {
    let Answer::Found { name, birth_date, sex, alive } = answer else {
        return (Verdict::NotFound, Vec::new());
    };
    let compared = [
        (Discrepancy::Name, *name == Comparison::Differs),
        (Discrepancy::BirthDate, *birth_date == Comparison::Differs),
        (Discrepancy::Sex, *sex == Comparison::Differs),
        (Discrepancy::Deceased, !alive && !known_deceased),
    ];
    let discrepancies: Vec<_> =
        compared.into_iter().filter(|(_, differs)| *differs).map(|(which, _)| which).collect();
    let verdict = if discrepancies.is_empty() { Verdict::Matched } else { Verdict::Discrepant };
    (verdict, discrepancies)
}

/// The registry, seen from here. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    client: Client,
    address: Url,
    token: SecretString,
}

impl Registry {
    pub(crate) fn new(settings: &CivilRegistry) -> anyhow::Result<Self> {
        let address = Url::parse(&settings.url)
            .and_then(|url| url.join("/v1/verifications"))
            .map_err(|_| anyhow::anyhow!("civil-registry.url is not an address"))?;
        let timeout = Duration::from_millis(settings.timeout_milliseconds);
        anyhow::ensure!(!timeout.is_zero(), "civil-registry.timeout-milliseconds must be at least 1");
        // A redirect would carry the person elsewhere; a proxy would see them.
        let client = Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { client, address, token: settings.token.clone() })
    }

    /// Asks about a person. No answer, or one that cannot be read, is a passing fault: nothing is concluded from it.
    pub(crate) async fn verify(
        &self,
        question: &Question<'_>,
        request_id: &str,
        traceparent: &str,
        known_deceased: bool,
    ) -> Result<(Verdict, Vec<Discrepancy>), Problem> {
        let mut request = self
            .client
            .post(self.address.clone())
            .header("x-request-id", request_id)
            .header("traceparent", traceparent)
            .json(question);
        if !self.token.expose_secret().is_empty() {
            request = request.bearer_auth(self.token.expose_secret());
        }
        let failed = |what: &'static str| {
            tracing::warn!(what, "the civil registry was asked in vain");
            Problem::unavailable(NAME)
        };
        let response = request.send().await.map_err(|error| {
            failed(if error.is_timeout() { "no answer in time" } else { "no connection" })
        })?;
        if response.status() != StatusCode::OK {
            tracing::warn!(status = response.status().as_u16(), "the civil registry refused");
            return Err(Problem::unavailable(NAME));
        }
        let answer: Answer = response.json().await.map_err(|_| failed("an answer that cannot be read"))?;
        Ok(judge(&answer, known_deceased))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn judged(answer: &str, known_deceased: bool) -> (Verdict, Vec<Discrepancy>) {
        judge(&read(answer), known_deceased)
    }

    /// The answer as the registry would send it.
    fn read(text: &str) -> Answer {
        sqlx::types::JsonValue::from_str(text).map(|value| Answer::deserialize(value).unwrap()).unwrap()
    }

    #[test]
    fn an_answer_is_read_as_documented() {
        let found =
            r#"{"status":"found","name":"matches","birth_date":"matches","sex":"matches","alive":true}"#;
        assert_eq!(judged(found, false), (Verdict::Matched, vec![]));
        let differs = found.replace(r#""name":"matches""#, r#""name":"differs""#);
        assert_eq!(judged(&differs, false), (Verdict::Discrepant, vec![Discrepancy::Name]));
        assert_eq!(judged(r#"{"status":"not_found"}"#, false), (Verdict::NotFound, vec![]));
    }

    #[test]
    fn a_death_the_membership_does_not_know_is_a_discrepancy() {
        let dead =
            r#"{"status":"found","name":"matches","birth_date":"matches","sex":"matches","alive":false}"#;
        assert_eq!(judged(dead, false), (Verdict::Discrepant, vec![Discrepancy::Deceased]));
        assert_eq!(judged(dead, true), (Verdict::Matched, vec![]));
    }
}
