//! The service's own settings. What else it needs beside the common settings stands in `policy/claims`.

use std::num::NonZeroU32;

use secrecy::SecretString;
use serde::Deserialize;

/// Own settings in TOML: the manual of the settings, and their defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Own settings; the meaning of each is in `config.default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// What groups claims.
    pub grouper: GrouperKind,
    /// How an e-Klaim web service is reached.
    pub eklaim: Eklaim,
    /// Rows of an audit frame that are worked on in one transaction.
    pub audit_piece_rows: NonZeroU32,
}

/// What groups claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrouperKind {
    /// The table of `policy/claims`.
    Table,
    /// An e-Klaim web service.
    Eklaim,
}

/// How an e-Klaim web service is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Eklaim {
    /// Its address.
    pub url: String,
    /// The shared key.
    pub secret: SecretString,
    /// How long an answer is waited for.
    pub timeout_milliseconds: u64,
}
