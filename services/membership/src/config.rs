//! The service's own settings.

use secrecy::SecretString;
use serde::Deserialize;

/// The manual of the settings, and their defaults.
pub(crate) const DEFAULTS: &str = include_str!("../config.default.toml");

/// What an operator may set for this service; the meaning of each is in `config.default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// How many looked-up keys are remembered with their records.
    pub cache_records: usize,
    /// How the civil registry is reached.
    pub civil_registry: CivilRegistry,
}

/// How the civil registry is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CivilRegistry {
    /// Its address.
    pub url: String,
    /// Shown to it as a bearer token; empty for none.
    pub token: SecretString,
    /// How long an answer is waited for.
    pub timeout_milliseconds: u64,
}
