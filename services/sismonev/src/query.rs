//! Answers with figures: counts as of an instant, put through the definition in force.

use jiff::{Timestamp, civil::Date};
use sqlx::PgConnection;

use crate::{
    count::Counter,
    error::Error,
    indicator::{self, Cell, Count, Definition, Dimension, Figure, Indicators, Measure},
    pending::{Waiting, Window},
    store,
};

/// The definitions that can be asked for, by date.
pub type Definitions = chassis::policy::Dated<Indicators>;
/// A version of them.
pub type Version = chassis::policy::Version<Indicators>;

/// The definition of an indicator for a month: the one in force on its last day.
///
/// # Errors
/// When no indicator of that id is defined for the month.
pub fn definition<'a>(
    definitions: &'a Definitions,
    id: &str,
    month: Date,
) -> Result<(&'a Version, &'a Definition), Error> {
    let version = definitions.on(month.last_of_month()).map_err(|_| Error::IndicatorUnknown)?;
    Ok((version, version.find(id).ok_or(Error::IndicatorUnknown)?))
}

/// The figures of an indicator in a window, as known at an instant.
///
/// # Errors
/// When the definition does not offer a dimension, or the database does not answer.
pub async fn figures(
    connection: &mut PgConnection,
    version: &Version,
    definition: &Definition,
    dimensions: &[Dimension],
    window: Window,
    as_of: Timestamp,
) -> Result<Vec<Figure>, Error> {
    if let Some(other) = dimensions.iter().find(|d| !definition.disaggregations.contains(d)) {
        return Err(Error::DimensionNotOffered(*other));
    }
    let numerator = counted(connection, definition, definition.numerator, window, as_of).await?;
    let denominator = counted(connection, definition, definition.denominator, window, as_of).await?;
    Ok(indicator::figures(definition, version.suppress_below, dimensions, &numerator, &denominator))
}

async fn counted(
    connection: &mut PgConnection,
    definition: &Definition,
    measure: Measure,
    window: Window,
    as_of: Timestamp,
) -> Result<Vec<(Cell, Count)>, Error> {
    Ok(match kept_as(measure) {
        Kept::Cases { counter, before_too } => {
            let first = (!before_too).then_some(window.first);
            let cases = store::cases(connection, counter, first, window.last, as_of).await?;
            cases.into_iter().map(|(cell, cases)| (cell, cases.into())).collect()
        }
        Kept::Claims => {
            let waiting = store::claims(connection, window, as_of).await?;
            waiting
                .iter()
                .map(|claims| (claims.cell.clone(), judged(definition, measure, window, claims)))
                .collect()
        }
    })
}

/// How a measure is kept.
pub enum Kept {
    /// As cases of a counter: those of the month, or all before its end too.
    Cases {
        /// The counter.
        counter: Counter,
        /// Whether cases before the month count as well.
        before_too: bool,
    },
    /// As claims with their clocks.
    Claims,
}

/// How a measure is kept.
#[must_use]
pub fn kept_as(measure: Measure) -> Kept {
    let of_month = |counter| Kept::Cases { counter, before_too: false };
    match measure {
        Measure::FktpVisits => of_month(Counter::Visits),
        Measure::FktpSickVisits => of_month(Counter::SickVisits),
        Measure::FktpReferrals => of_month(Counter::Referrals),
        Measure::HospitalCases => of_month(Counter::HospitalCases),
        Measure::Members => Kept::Cases { counter: Counter::Members, before_too: true },
        Measure::ClaimsOpen | Measure::ClaimsLate | Measure::ClaimsOpenRupiah | Measure::ClaimsLateRupiah => {
            Kept::Claims
        }
    }
}

/// What claims of one spell add to a measure.
#[must_use]
pub fn judged(definition: &Definition, measure: Measure, window: Window, claims: &Waiting) -> Count {
    let open = claims.spell.open(window);
    let late = definition.late_after_days.is_some_and(|days| claims.spell.late(window, days));
    let rupiah = Count { value: claims.rupiah, cases: claims.cases };
    match measure {
        Measure::ClaimsOpen if open => claims.cases.into(),
        Measure::ClaimsLate if late => claims.cases.into(),
        Measure::ClaimsOpenRupiah if open => rupiah,
        Measure::ClaimsLateRupiah if late => rupiah,
        _ => Count::default(),
    }
}
