//! Settings of a process, in layers: documented defaults that are compiled in, what the mesh itself works out
//! (`jkn up`), a file, the environment. An unknown key anywhere is refused, and all is checked before a port is bound.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use config::{Case, Config, ConfigError, Environment, File, FileFormat, Map, Source, Value};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use toml_edit::{Document, Item, Table};

/// The settings every process has, with their meaning: the compiled-in file is the manual.
pub const DEFAULTS: &str = include_str!("../config.default.toml");

/// Settings of a process; `S` are the service's own, under the key `service`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings<S> {
    /// Address of the gRPC port.
    pub listen: SocketAddr,
    /// Address of the port for probes and metrics.
    pub admin_listen: SocketAddr,
    /// Whether the process may run without certificates.
    pub insecure_loopback: bool,
    /// Folder with the policy files.
    pub policy_folder: PathBuf,
    /// How long a stop may take.
    pub stop_grace_seconds: u64,
    /// How long a unary call may take.
    pub deadline_milliseconds: u64,
    /// Most calls under way at once.
    pub most_calls: usize,
    /// How long idempotency records are kept.
    pub idempotency_days: u64,
    /// Certificates and keys.
    pub tls: Tls,
    /// The service's database.
    pub database: Database,
    /// Redis.
    pub redis: Redis,
    /// Addresses of other services.
    #[serde(default)]
    pub upstream: BTreeMap<String, String>,
    /// The service's own settings.
    pub service: S,
}

/// Files that prove identities.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// Certificate chain of this process.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Trusted authorities.
    pub authority: PathBuf,
    /// Public key of the gateway's assertions.
    pub assertion_key: PathBuf,
}

impl Tls {
    /// Whether certificates are configured at all.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// The key that the gateway's word is checked with, if there is one.
    #[must_use]
    pub fn assertion_key(&self) -> Option<&Path> {
        (!self.assertion_key.as_os_str().is_empty()).then_some(self.assertion_key.as_path())
    }
}

/// Where the service's data is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Database {
    /// PostgreSQL URL.
    pub url: SecretString,
    /// Most connections.
    pub connections: u32,
    /// How long a call waits for a connection.
    pub patience_milliseconds: u64,
}

impl Database {
    /// How long a call waits for a connection.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_milliseconds)
    }
}

/// Where Redis is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Redis {
    /// Redis URL; empty without Redis.
    pub url: SecretString,
}

/// Own settings of a service that has none.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

pub(crate) fn expose(secret: &SecretString) -> &str {
    secret.expose_secret()
}

impl<S> Settings<S> {
    /// The policy folder, if one is configured.
    #[must_use]
    pub fn policy_folder(&self) -> Option<&Path> {
        (!self.policy_folder.as_os_str().is_empty()).then_some(self.policy_folder.as_path())
    }

    /// How long a unary call may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_milliseconds)
    }

    /// How long a stop may take.
    #[must_use]
    pub fn stop_grace(&self) -> Duration {
        Duration::from_secs(self.stop_grace_seconds)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.deadline_milliseconds > 0, "deadline-milliseconds must be at least 1");
        ensure!(self.most_calls > 0, "most-calls must be at least 1");
        ensure!(self.database.connections >= 2, "database.connections must be at least 2");
        ensure!(self.database.patience_milliseconds > 0, "database.patience-milliseconds must be at least 1");
        ensure!(self.idempotency_days > 0, "idempotency-days must be at least 1");
        if self.tls.is_configured() {
            let files = [
                ("tls.key", &self.tls.key),
                ("tls.authority", &self.tls.authority),
                ("tls.assertion-key", &self.tls.assertion_key),
            ];
            for (key, path) in files {
                ensure!(!path.as_os_str().is_empty(), "{key} must be set beside tls.certificate");
            }
        } else {
            ensure!(
                self.insecure_loopback,
                "no certificates: set tls.certificate, tls.key, tls.authority and tls.assertion-key, or, on one machine only, start with --insecure-loopback"
            );
            for (key, address) in [("listen", self.listen), ("admin-listen", self.admin_listen)] {
                ensure!(
                    address.ip().is_loopback(),
                    "without certificates {key} must be a loopback address, not {address}"
                );
            }
        }
        Ok(())
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// Settings that the mesh works out itself, as dotted keys.
    pub computed: BTreeMap<String, String>,
    /// A file with a section for each process.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: HashMap<String, String>,
    /// Names of all processes: sections and variables of another name are a mistake.
    pub processes: Vec<&'static str>,
}

/// A setting in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Dotted key.
    pub key: String,
    /// Value, masked when it is a secret.
    pub value: String,
    /// Which layer it comes from.
    pub origin: String,
    /// What it means.
    pub meaning: String,
}

impl Layers {
    /// Reads and checks the settings of a process.
    ///
    /// # Errors
    /// Names the key that is unknown, missing or wrong.
    pub fn load<S: DeserializeOwned>(&self, name: &str, own_defaults: &str) -> anyhow::Result<Settings<S>> {
        self.refuse_strangers()?;
        let mut builder = Config::builder();
        for (_, source) in self.sources(name, own_defaults)? {
            builder = builder.add_source(source);
        }
        let settings: Settings<S> = builder
            .build()?
            .try_deserialize()
            .map_err(|error| anyhow::anyhow!(without_value(&error)))
            .with_context(|| format!("settings of {name}; `jkn config {name}` lists them"))?;
        settings.check().with_context(|| format!("settings of {name}"))?;
        Ok(settings)
    }

    /// Every effective setting of a process, with its origin and meaning.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn describe(&self, name: &str, own_defaults: &str) -> anyhow::Result<Vec<Effective>> {
        self.refuse_strangers()?;
        let mut meanings = meanings(DEFAULTS)?;
        meanings.extend(meanings_under("service.", own_defaults)?);
        let mut settings: BTreeMap<String, Effective> = BTreeMap::new();
        for (origin, source) in self.sources(name, own_defaults)? {
            let layer = Config::builder().add_source(source).build()?;
            let mut leaves = Vec::new();
            flatten(String::new(), &layer.cache, &mut leaves);
            for (key, value) in leaves {
                let meaning = meanings.get(&key).cloned().unwrap_or_default();
                settings.insert(
                    key.clone(),
                    Effective { value: masked(&key, &value), key, origin: origin.clone(), meaning },
                );
            }
        }
        Ok(settings.into_values().collect())
    }

    fn sources(&self, name: &str, own_defaults: &str) -> anyhow::Result<Vec<(String, Section)>> {
        let mut sources = vec![("default".to_owned(), Section::of_toml(DEFAULTS, None)?)];
        // An empty table when the service has no settings: the key itself is not optional.
        sources.push((
            "default".to_owned(),
            Section::of_toml(&format!("[service]\n{}", nested(own_defaults)), None)?,
        ));
        let computed = self.computed.iter().map(|(key, value)| (key.clone(), Value::from(value.clone())));
        sources.push(("jkn up".to_owned(), Section(computed.collect())));
        if let Some(path) = &self.file {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("settings file {}", path.display()))?;
            let section = Section::of_toml(&text, Some(name))
                .with_context(|| format!("settings file {}", path.display()))?;
            sources.push((format!("file {}", path.display()), section));
        }
        let environment = Environment::with_prefix(&prefix(name))
            .prefix_separator("__")
            .separator("__")
            .convert_case(Case::Kebab)
            .source(Some(self.environment.clone().into_iter().collect()));
        sources.push(("environment".to_owned(), Section(environment.collect()?)));
        Ok(sources)
    }

    /// A section or variable with the name of no process would be silently without effect.
    fn refuse_strangers(&self) -> anyhow::Result<()> {
        for variable in self.environment.keys().filter(|key| key.starts_with("JKN_")) {
            let begins = |end: &str| {
                self.processes.iter().any(|name| variable.starts_with(&format!("{}{end}", prefix(name))))
            };
            ensure!(
                variable.contains("__") || !begins("_"),
                "the variable {variable} names no setting: two underscores stand between its parts, e.g. JKN_CLAIMS__DATABASE__URL"
            );
            ensure!(
                !variable.contains("__") || begins("__"),
                "the variable {variable} belongs to no process; they are: {}",
                self.processes.join(", ")
            );
        }
        let Some(path) = &self.file else { return Ok(()) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("settings file {}", path.display()))?;
        let document =
            Document::parse(text).map_err(|e| anyhow::anyhow!("settings file {}: {e}", path.display()))?;
        for (section, _) in document.iter() {
            if !self.processes.contains(&section) {
                bail!(
                    "settings file {}: [{section}] is no process; they are: {}",
                    path.display(),
                    self.processes.join(", ")
                );
            }
        }
        Ok(())
    }
}

/// What is wrong with a setting, without its value, which may be a secret.
fn without_value(error: &ConfigError) -> String {
    let of_key = |key: &Option<String>, text: String| match key {
        Some(key) => format!("{key}: {text}"),
        None => text,
    };
    match error {
        ConfigError::Type { expected, key, .. } => of_key(key, format!("must be {expected}")),
        ConfigError::At { error, key, .. } => of_key(key, without_value(error)),
        other => {
            let text = other.to_string();
            let parts = text
                .split_once("string \"")
                .and_then(|(before, rest)| Some((before, rest.rsplit_once("\", expected")?.1)));
            match parts {
                Some((before, after)) => format!("{before}a text, expected{after}"),
                None => text,
            }
        }
    }
}

/// The prefix of a process's variables, e.g. `JKN_PRIMARY_CARE`.
fn prefix(name: &str) -> String {
    format!("JKN_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Tables of a service's own defaults, moved below `service`.
fn nested(own_defaults: &str) -> String {
    own_defaults.replace("\n[", "\n[service.")
}

#[derive(Debug, Clone)]
struct Section(Map<String, Value>);

impl Section {
    fn of_toml(text: &str, section: Option<&str>) -> anyhow::Result<Self> {
        let all = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build()?;
        Ok(Self(match section {
            None => all.collect()?,
            Some(name) => all.collect()?.remove(name).map_or_else(|| Ok(Map::new()), Value::into_table)?,
        }))
    }
}

impl Source for Section {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn flatten(key: String, value: &Value, leaves: &mut Vec<(String, String)>) {
    match value.clone().into_table() {
        Ok(table) => {
            for (name, value) in &table {
                flatten(if key.is_empty() { name.clone() } else { format!("{key}.{name}") }, value, leaves);
            }
        }
        Err(_) => leaves.push((key, value.to_string())),
    }
}

fn meanings(defaults: &str) -> anyhow::Result<BTreeMap<String, String>> {
    meanings_under("", defaults)
}

fn meanings_under(prefix: &str, defaults: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let document = Document::parse(defaults).map_err(|e| anyhow::anyhow!("compiled-in defaults: {e}"))?;
    let mut found = BTreeMap::new();
    collect_meanings(prefix, document.as_table(), defaults, &mut found);
    Ok(found)
}

fn collect_meanings(prefix: &str, table: &Table, text: &str, found: &mut BTreeMap<String, String>) {
    for (name, item) in table {
        if let Item::Table(inner) = item {
            collect_meanings(&format!("{prefix}{name}."), inner, text, found);
        } else if let Some(raw) = table.key(name).and_then(|key| key.leaf_decor().prefix()) {
            let comment =
                raw.as_str().or_else(|| raw.span().and_then(|span| text.get(span))).unwrap_or_default();
            let lines: Vec<_> = comment
                .lines()
                .map(|line| line.trim().trim_start_matches('#').trim())
                .filter(|l| !l.is_empty())
                .collect();
            found.insert(format!("{prefix}{name}"), lines.join(" "));
        }
    }
}

fn masked(key: &str, value: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    let is_secret = ["secret", "token", "password"].iter().any(|word| name.contains(word));
    if is_secret && !value.is_empty() {
        return "********".to_owned();
    }
    let shown = match (value.split_once("://"), value.rfind('@')) {
        (Some((scheme, rest)), Some(_)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://********@{host}")
        }
        _ => value.to_owned(),
    };
    // A password may also stand among the parameters of a URL.
    let Some((place, parameters)) = shown.split_once('?').filter(|(place, _)| place.contains("://")) else {
        return shown;
    };
    let parameters = parameters.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if name.contains("pass") => format!("{name}=********"),
        _ => parameter.to_owned(),
    });
    format!("{place}?{}", parameters.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Own {
        registry_url: String,
        registry: Registry,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Registry {
        token: String,
    }

    const OWN: &str = "# Where the registry is.\nregistry-url = \"\"\n\n[registry]\n# Shown to the registry. Secret.\ntoken = \"\"\n";

    fn layers(environment: &[(&str, &str)]) -> Layers {
        Layers {
            environment: environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            processes: vec!["claims", "primary-care"],
            ..Layers::default()
        }
    }

    #[test]
    fn the_environment_wins_over_what_the_mesh_worked_out() {
        let mut layers = layers(&[
            ("JKN_PRIMARY_CARE__INSECURE_LOOPBACK", "true"),
            ("JKN_PRIMARY_CARE__DATABASE__URL", "postgres://u:pw@h/db"),
            ("JKN_PRIMARY_CARE__UPSTREAM__PRIMARY_CARE", "http://127.0.0.1:1"),
            ("JKN_PRIMARY_CARE__SERVICE__REGISTRY__TOKEN", "hush"),
            ("JKN_CLAIMS__LISTEN", "ours not"),
        ]);
        layers.computed =
            [("database.url".into(), "postgres:///x".into()), ("most-calls".into(), "7".into())].into();
        let settings: Settings<Own> = layers.load("primary-care", OWN).unwrap();
        assert_eq!(expose(&settings.database.url), "postgres://u:pw@h/db");
        assert_eq!(settings.most_calls, 7);
        assert_eq!(settings.upstream["primary-care"], "http://127.0.0.1:1");
        assert_eq!(
            (settings.service.registry.token.as_str(), settings.service.registry_url.as_str()),
            ("hush", "")
        );

        let described = layers.describe("primary-care", OWN).unwrap();
        let of = |key: &str| described.iter().find(|e| e.key == key).unwrap().clone();
        assert_eq!(of("database.url").value, "postgres://********@h/db");
        assert_eq!(of("database.url").origin, "environment");
        assert_eq!(of("most-calls").origin, "jkn up");
        assert_eq!(of("service.registry.token").value, "********");
        assert_eq!(of("service.registry-url").meaning, "Where the registry is.");
        assert!(
            described.iter().all(|e| !e.meaning.is_empty() || e.key.starts_with("upstream.")),
            "{described:?}"
        );
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_stand() {
        let insecure = ("JKN_CLAIMS__INSECURE_LOOPBACK", "true");
        let error =
            layers(&[insecure, ("JKN_CLAIMS__LISTNE", "x")]).load::<NoSettings>("claims", "").unwrap_err();
        assert!(format!("{error:#}").contains("listne"), "{error:#}");
        let error =
            layers(&[insecure, ("JKN_CLIAMS__LISTEN", "x")]).load::<NoSettings>("claims", "").unwrap_err();
        assert!(error.to_string().contains("JKN_CLIAMS__LISTEN"), "{error}");
    }

    #[test]
    fn one_underscore_too_few_is_refused() {
        let error = layers(&[("JKN_CLAIMS_LISTEN", "x")]).load::<NoSettings>("claims", "").unwrap_err();
        assert!(error.to_string().contains("JKN_CLAIMS_LISTEN"), "{error}");
        let elsewhere = [("JKN_DATA", "x"), ("JKN_CLAIMS__INSECURE_LOOPBACK", "true")];
        layers(&elsewhere).load::<NoSettings>("claims", "").unwrap();
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        let insecure = ("JKN_CLAIMS__INSECURE_LOOPBACK", "true");
        for key in ["JKN_CLAIMS__DATABASE", "JKN_CLAIMS__DATABASE__CONNECTIONS", "JKN_CLAIMS__LISTEN"] {
            let wrong = layers(&[insecure, (key, "postgres://u:hush@h/d")]);
            let error = format!("{:#}", wrong.load::<NoSettings>("claims", "").unwrap_err());
            assert!(!error.contains("hush"), "{error}");
            let name = key.rsplit("__").next().unwrap().to_lowercase();
            assert!(error.contains(&name), "{error}");
        }
        assert_eq!(
            masked("database.url", "postgres:///d?host=/x&password=hush"),
            "postgres:///d?host=/x&password=********"
        );
        assert_eq!(masked("redis.url", "redis://:hu?sh@h"), "redis://********@h");
    }

    #[test]
    fn a_file_has_a_section_for_each_process() {
        let folder = std::env::temp_dir().join(format!("jkn-config-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("jkn.toml");
        std::fs::write(&file, "[claims]\ninsecure-loopback = true\n[claims.database]\nconnections = 3\n[primary-care]\nmost-calls = 1\n").unwrap();
        let mut layers = layers(&[]);
        layers.file = Some(file.clone());
        assert_eq!(layers.load::<NoSettings>("claims", "").unwrap().database.connections, 3);
        std::fs::write(&file, "[cliams]\n").unwrap();
        assert!(layers.load::<NoSettings>("claims", "").unwrap_err().to_string().contains("cliams"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_process_without_certificates_must_be_told_so_and_stay_on_the_loopback() {
        let refused = |environment: &[(&str, &str)]| {
            format!("{:#}", layers(environment).load::<NoSettings>("claims", "").unwrap_err())
        };
        assert!(refused(&[]).contains("--insecure-loopback"));
        assert!(
            refused(&[("JKN_CLAIMS__INSECURE_LOOPBACK", "true"), ("JKN_CLAIMS__LISTEN", "0.0.0.0:1")])
                .contains("loopback")
        );
        assert!(
            refused(&[("JKN_CLAIMS__INSECURE_LOOPBACK", "true"), ("JKN_CLAIMS__ADMIN_LISTEN", "0.0.0.0:1")])
                .contains("admin-listen")
        );
        assert!(refused(&[("JKN_CLAIMS__TLS__CERTIFICATE", "a.pem")]).contains("tls.key"));
    }
}
