//! Own settings: there are none. What the service needs beside the common settings stands in `policy/claims`.

/// Own settings in TOML.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Own settings.
pub type Settings = chassis::config::NoSettings;
