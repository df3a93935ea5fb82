//! The service's own settings.

use serde::Deserialize;

/// The manual of the settings, and their defaults.
pub(crate) const DEFAULTS: &str = include_str!("../config.default.toml");

/// What an operator may set for this service; the meaning of each is in `config.default.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Most facilities of the registry that one search for candidates looks at.
    pub most_candidates: usize,
}
