//! The contract: parse, ask the domain, map. No rule, no SQL.

mod accreditation;
mod answer;
mod facility;
mod read;
mod steps;

use chassis::{Db, policy::Dated};

use crate::{certificate::Certificates, grading::Grades, survey::Surveys};

/// Serves `jkn.accreditation.v1.FacilityService`.
#[derive(Debug, Clone)]
pub struct Facilities {
    /// The database.
    pub db: Db,
}

/// Serves `jkn.accreditation.v1.AccreditationService`.
#[derive(Debug, Clone)]
pub struct Accreditations {
    /// The database.
    pub db: Db,
    /// What regulations fix.
    pub policies: Policies,
}

/// The dated rules of accreditation.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Grading tables.
    pub grades: Dated<Grades>,
    /// Validity of certificates, and who needs one.
    pub certificates: Dated<Certificates>,
    /// Preconditions and size of surveys.
    pub surveys: Dated<Surveys>,
}
