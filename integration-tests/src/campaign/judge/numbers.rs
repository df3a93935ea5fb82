//! Numbers of documents: none is given twice, and none is skipped, for a write that is lost gives its number back.

use std::collections::HashMap;

use proto::{claims::v1 as claims, primary_care::v1 as primary_care};

use super::Check;
use crate::{Mesh, campaign::journal::Entry};

/// A kind of document, its service, and the statement that finds counters which are not at the number of documents.
const COUNTERS: [(&str, &str, &str); 3] = [
    (
        "visit",
        "primary-care",
        "select c.facility_code from document_counter c
          where c.last_serial <> (select count(*) from visit v
           where v.facility_code = c.facility_code and date_trunc('month', v.visit_date) = c.month)",
    ),
    (
        "referral",
        "referral",
        "select c.facility_code from referral_serial c
          where c.last <> (select count(*) from referral r
           where r.origin_facility_code = c.facility_code and date_trunc('month', r.referral_date) = c.month)",
    ),
    (
        "SEP",
        "claims",
        "select c.facility_code from sep_counter c
          where c.last <> (select count(*) from sep s
           where s.facility_code = c.facility_code and date_trunc('month', s.service_date) = c.month)",
    ),
];

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let mut given: HashMap<String, &Entry> = HashMap::new();
    let mut twice = Vec::new();
    for entry in entries {
        let Some(number) = number(entry) else { continue };
        if let Some(before) = given.insert(number.clone(), entry) {
            twice.push(format!("{number}: {} and {}", before.name(), entry.name()));
        }
    }
    let mut skipped = Vec::new();
    for (what, service, statement) in COUNTERS {
        let facilities: Vec<String> = sqlx::query_scalar(statement).fetch_all(mesh.database(service)).await?;
        skipped.extend(facilities.into_iter().map(|facility| format!("{what}s of {facility}")));
    }
    Ok(vec![Check::of("numbers given twice", twice), Check::of("numbers skipped", skipped)])
}

/// The number that a write was given.
fn number(entry: &Entry) -> Option<String> {
    let visit =
        || entry.answer::<primary_care::RegisterVisitRequest>()?.visit.map(|visit| visit.visit_number);
    let referral = || {
        let visit = entry.answer::<primary_care::ReferVisitRequest>()?.visit?;
        visit.referral.map(|referral| referral.referral_number)
    };
    let sep = || entry.answer::<claims::IssueSepRequest>()?.sep.map(|sep| sep.sep_number);
    visit().or_else(referral).or_else(sep)
}
