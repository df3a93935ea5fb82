//! Asks the registry of facilities, which the accreditation service keeps, whether one may be chosen.

use std::collections::{BTreeMap, BTreeSet};

use chassis::{Call, Problem, Upstream};
use jiff::civil::Date;
use proto::accreditation::v1::{
    Contract, FacilityLevel, GetFacilityRequest, facility_service_client::FacilityServiceClient,
};
use tokio::task::JoinSet;
use tonic::Code;
use vocabulary::FacilityCode;

use crate::error::Error;

const NAME: &str = "accreditation";
/// Questions under way at once when many facilities are asked about.
const AT_ONCE: usize = 16;

/// What is known of a facility that a member chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Chooseable,
    Unknown,
    NotFirstLevel,
    NotContracted,
}

impl Fit {
    /// Refuses a facility that cannot be chosen; `field` is where it was named.
    pub(crate) fn check(self, field: impl Into<String>) -> Result<(), Error> {
        let field = field.into();
        match self {
            Self::Chooseable => Ok(()),
            Self::Unknown => Err(Error::FktpUnknown { field }),
            Self::NotFirstLevel => Err(Error::FktpNotFirstLevel { field }),
            Self::NotContracted => Err(Error::FktpNotContracted { field }),
        }
    }
}

/// The registry of facilities, seen from here.
#[derive(Clone)]
pub(crate) struct Facilities {
    client: FacilityServiceClient<Upstream>,
}

impl Facilities {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { client: FacilityServiceClient::new(upstream) }
    }

    /// Whether a facility may be chosen from a day on.
    pub(crate) async fn fit(&self, call: &Call, code: &FacilityCode, day: Date) -> Result<Fit, Problem> {
        let request = GetFacilityRequest { facility_code: code.to_string() };
        let facility = match self.client.clone().get_facility(call.onward(request)).await {
            Ok(answer) => answer.into_inner().facility.ok_or_else(|| Problem::unavailable(NAME))?,
            Err(status) if status.code() == Code::NotFound => return Ok(Fit::Unknown),
            Err(status) => return Err(Problem::from_upstream(NAME, &status)),
        };
        let contracts = facility.contract_history.iter().chain(&facility.contract);
        Ok(if facility.level() != FacilityLevel::Fktp {
            Fit::NotFirstLevel
        } else if contracts.into_iter().any(|contract| holds(contract, day)) {
            Fit::Chooseable
        } else {
            Fit::NotContracted
        })
    }

    /// Asks about each facility that is not known yet.
    pub(crate) async fn learn(
        &self,
        call: &Call,
        known: &mut BTreeMap<FacilityCode, Fit>,
        codes: impl IntoIterator<Item = FacilityCode>,
        day: Date,
    ) -> Result<(), Problem> {
        let mut unknown: BTreeSet<_> = codes.into_iter().filter(|code| !known.contains_key(code)).collect();
        let mut asked = JoinSet::new();
        loop {
            while asked.len() < AT_ONCE {
                let Some(code) = unknown.pop_first() else { break };
                let (this, call) = (self.clone(), call.clone());
                asked.spawn(async move { this.fit(&call, &code, day).await.map(|fit| (code, fit)) });
            }
            let Some(answer) = asked.join_next().await else { return Ok(()) };
            let (code, fit) = answer.map_err(|_| Problem::internal())??;
            known.insert(code, fit);
        }
    }
}

fn holds(contract: &Contract, day: Date) -> bool {
    let from = vocabulary::date(&contract.from);
    let to = if contract.to.is_empty() { Ok(Date::MAX) } else { vocabulary::date(&contract.to) };
    matches!((from, to), (Ok(from), Ok(to)) if from <= day && day <= to)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_contract_holds_on_its_first_and_last_day() {
        let contract = Contract { from: "2025-01-01".into(), to: "2025-12-31".into() };
        assert!(holds(&contract, date(2025, 1, 1)) && holds(&contract, date(2025, 12, 31)));
        assert!(!holds(&contract, date(2024, 12, 31)) && !holds(&contract, date(2026, 1, 1)));
        assert!(holds(&Contract { to: String::new(), ..contract }, date(2040, 1, 1)));
        assert!(!holds(&Contract::default(), date(2025, 1, 1)));
    }
}
