//! All SQL of this service.

pub mod certificates;
pub mod registry;
pub mod surveys;

use crate::error::Error;

/// Reads a word that is kept as text.
fn stored<T>(word: Option<T>, what: &'static str) -> Result<T, Error> {
    word.ok_or(Error::Stored(what))
}

/// Reads a word that is kept as text and may be absent.
fn stored_if<T>(
    text: Option<&str>,
    read: fn(&str) -> Option<T>,
    what: &'static str,
) -> Result<Option<T>, Error> {
    text.map(|text| stored(read(text), what)).transpose()
}
