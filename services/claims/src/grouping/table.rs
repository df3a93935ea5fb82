//! The grouper of `policy/claims`: package by `cbg.toml`, amount by `tariff.toml`, special CMGs by `special.toml`, each
//! in the version of the service date.

use std::sync::Arc;

use proto::claims::v1 as pb;
use vocabulary::CareClass;

use super::{Asked, Grouper, ungroupable};
use crate::{
    error::Error,
    grpc::Policies,
    special::{self, Item, Kind},
    tariff::Hospital,
};

/// The table grouper.
pub(crate) struct TableGrouper {
    pub(crate) policies: Arc<Policies>,
}

impl Kind {
    /// Its number in the contract.
    #[must_use]
    pub const fn number(self) -> pb::SpecialKind {
        match self {
            Self::Procedure => pb::SpecialKind::Procedure,
            Self::Drug => pb::SpecialKind::Drug,
            Self::Investigation => pb::SpecialKind::Investigation,
            Self::Prosthesis => pb::SpecialKind::Prosthesis,
        }
    }
}

fn shown(items: &[&Item]) -> Vec<pb::SpecialCmg> {
    let one = |item: &&Item| pb::SpecialCmg {
        code: item.code.as_str().to_owned(),
        title: item.title.clone(),
        kind: item.code.kind().number().into(),
        amount_rupiah: item.amount,
    };
    items.iter().map(one).collect()
}

#[tonic::async_trait]
impl Grouper for TableGrouper {
    async fn group(&self, asked: &Asked<'_>) -> Result<pb::Grouping, Error> {
        let day = asked.row.service_date;
        let table = self.policies.groups.on(day)?;
        let tariffs = self.policies.tariff.on(day)?;
        let specials = self.policies.special.on(day)?;
        let refused = |reason| pb::Grouping {
            cbg_code: table.ungroupable().as_str().to_owned(),
            table_version: table.effective_from.to_string(),
            grouper: "table".to_owned(),
            ..ungroupable(reason, asked)
        };
        let package = match table.group(asked.episode) {
            Ok(package) => package,
            Err(reason) => return Ok(refused(reason.reason())),
        };
        let letter = asked.letter;
        let class = CareClass::try_from(letter.entitled_class).map_err(|_| Error::Unreadable("SEP"))?;
        let hospital = Hospital {
            province: letter.province_code.clone(),
            class: letter.hospital_class.clone(),
            government_owned: letter.government_owned,
        };
        let Ok(tariff) = tariffs.of(&package, &hospital, class) else {
            return Ok(refused(pb::UngroupableReason::NoTariff));
        };
        let special_options = shown(&specials.open(asked.episode));
        let Ok(claimed) = specials.claimed(asked.episode) else {
            return Ok(pb::Grouping { special_options, ..refused(pb::UngroupableReason::SpecialNotOpen) });
        };
        let package_rupiah = tariff.amount.get();
        let top_up: i64 = claimed.iter().map(|item| item.amount).sum();
        Ok(pb::Grouping {
            cbg_code: package.cbg.as_str().to_owned(),
            title: package.title,
            case_type: package.case_type.into(),
            severity: package.severity.into(),
            tariff_rupiah: package_rupiah + top_up,
            care_class: letter.entitled_class,
            tariff_class: tariff.tariff_class,
            regional: tariff.regional.into(),
            tariff_source: tariff.source.to_owned(),
            package_rupiah,
            special_options,
            top_ups: shown(&claimed),
            unpriced: special::unpriced(asked.episode).into_iter().map(str::to_owned).collect(),
            ..refused(pb::UngroupableReason::Unspecified)
        })
    }

    // The table keeps nothing of a claim.
    async fn finalise(&self, _: &str, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn reedit(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}
