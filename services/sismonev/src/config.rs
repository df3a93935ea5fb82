//! Own settings of the service: none yet. What changes is in `policy/sismonev`.

use serde::Deserialize;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Own settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {}
