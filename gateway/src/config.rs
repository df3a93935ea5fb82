//! The gateway's own settings: whose word it takes, and how much it carries at once.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use chassis::upstream::STREAMS;
use serde::Deserialize;

/// The defaults, in the form of a settings file; its comments are the manual.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// What can be set; `config.default.toml` says what each means.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Whether clients are served without TLS although the process has certificates.
    pub plaintext: bool,
    /// File of the public key of development tokens; empty when tokens are not accepted.
    pub caller_key: PathBuf,
    /// File of the private key that signs assertions.
    pub assertion_signing_key: PathBuf,
    /// Calls under way at once to one service.
    pub most_calls_per_service: NonZeroUsize,
    /// Health and reflection calls under way at once.
    pub most_local_calls: NonZeroUsize,
    /// Client connections held at once.
    pub most_connections: NonZeroUsize,
    /// Bytes of all headers of one call.
    pub most_header_bytes: u32,
    /// Connections kept to each address of a service.
    pub connections_per_address: NonZeroUsize,
    /// The farthest deadline of a call that is not a stream from the server.
    pub longest_deadline_seconds: u64,
    /// Time until a new connection has said what it speaks.
    pub first_words_seconds: u64,
}

impl Settings {
    /// Refuses settings that contradict each other.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let carried = self.connections_per_address.get().saturating_mul(STREAMS.into());
        anyhow::ensure!(
            self.most_calls_per_service.get() <= carried,
            "most-calls-per-service must be at most {carried}: \
             {STREAMS} for each of connections-per-address"
        );
        anyhow::ensure!(
            !self.assertion_signing_key.as_os_str().is_empty(),
            "assertion-signing-key must be set: the services believe only what it signed"
        );
        anyhow::ensure!(self.longest_deadline_seconds >= 1, "longest-deadline-seconds must be at least 1");
        anyhow::ensure!(self.most_header_bytes >= 4096, "most-header-bytes must be at least 4096");
        anyhow::ensure!(self.first_words_seconds >= 1, "first-words-seconds must be at least 1");
        Ok(())
    }

    pub(crate) fn longest_deadline(&self) -> Duration {
        Duration::from_secs(self.longest_deadline_seconds)
    }

    pub(crate) fn first_words(&self) -> Duration {
        Duration::from_secs(self.first_words_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_lack_only_the_key() {
        let with = |line: &str| {
            let replaced =
                DEFAULTS.replace("assertion-signing-key = \"\"", "assertion-signing-key = \"key.pem\"");
            let (name, _) = line.split_once('=').unwrap_or((line, ""));
            let kept = replaced.lines().filter(|l| name.is_empty() || !l.starts_with(name));
            toml::from_str::<Settings>(&format!("{}\n{line}", kept.collect::<Vec<_>>().join("\n")))
        };
        let default: Settings = toml::from_str(DEFAULTS).expect("the defaults");
        assert!(default.check().is_err());
        with("").expect("settings").check().expect("with a key the defaults hold");
        for wrong in
            ["most-calls-per-service = 1025", "longest-deadline-seconds = 0", "most-header-bytes = 10"]
        {
            assert!(with(wrong).expect(wrong).check().is_err(), "{wrong}");
        }
        assert!(with("no-such-setting = 1").is_err());
        assert!(with("most-connections = 0").is_err());
    }
}
