//! The settings of this service alone; those that every service has are the chassis's.

use serde::Deserialize;

/// The documented defaults.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// There is nothing to set: what could be is policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {}
