//! The service's own settings: there are none yet.

use serde::Deserialize;

/// The manual of the settings, and their defaults.
pub(crate) const DEFAULTS: &str = include_str!("../config.default.toml");

/// What an operator may set for this service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {}
