//! What is checked before a port is bound, and how the gateway and the services prove themselves to each other.

use std::{collections::BTreeMap, time::Duration};

use chassis::{Caller, tls::DevelopmentAuthority};
use gateway::{Environment, Gateway, config};
use jiff::Timestamp;
use tonic::Code;

use crate::{
    behind::Behind,
    place::{Place, Plan, everywhere, key, nobody, reason},
};

async fn refused(settings: &str, upstream: BTreeMap<String, String>) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key.pem"), key().serialize_pem()).unwrap();
    let mut settings: config::Settings = toml::from_str(settings).unwrap();
    settings.assertion_signing_key = folder.path().join("key.pem");
    let environment = Environment {
        upstream,
        server_tls: None,
        client_tls: None,
        deadline: Duration::from_secs(10),
        most_calls: 10,
        stop_grace: Duration::from_secs(1),
    };
    Gateway::build(settings, environment).err().map(|error| format!("{error:#}")).unwrap_or_default()
}

#[tokio::test]
async fn a_wrong_setting_stops_the_start_and_is_named() {
    let good = everywhere(nobody().await);
    assert_eq!(refused(config::DEFAULTS, good.clone()).await, "");

    let mut missing = good.clone();
    missing.remove("claims");
    assert!(refused(config::DEFAULTS, missing).await.contains("no address of the service claims"));

    let mut unknown = good.clone();
    unknown.insert("cliams".into(), "http://127.0.0.1:1".into());
    assert!(refused(config::DEFAULTS, unknown).await.contains("cliams"));

    let mut secure = good.clone();
    secure.insert("claims".into(), "https://127.0.0.1:1".into());
    assert!(refused(config::DEFAULTS, secure).await.contains("needs the certificates"));

    let settings = config::DEFAULTS.replace("connections-per-address = 4", "connections-per-address = 1");
    assert!(refused(&settings, good).await.contains("most-calls-per-service must be at most 256"));
}

#[tokio::test]
async fn gateway_and_service_prove_themselves_by_certificate() {
    chassis::tls::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let authority = DevelopmentAuthority::open(folder.path()).unwrap();
    let issue = |name: &str| authority.issue(name, &Caller::service(name), Timestamp::now()).unwrap();
    let client_tls = Some(chassis::tls::client(&issue("gateway")).unwrap());
    let claims = Behind::start_secure("claims", &issue("claims")).await;
    // Found where referral should be, with a certificate that names another service.
    let impostor = Behind::start_secure("referral", &issue("membership")).await;
    let mut upstream = everywhere(nobody().await);
    upstream.insert("claims".into(), format!("https://{}", claims.address));
    upstream.insert("referral".into(), format!("https://{}", impostor.address));
    let place = Place::start(upstream, Plan { client_tls, ..Plan::default() }).await;
    place.ready().await;

    let answer = place.read(0).await.unwrap().into_inner();
    assert_eq!(crate::place::seen(&answer, "jkn-peer"), None, "the certificate says who sends");
    let refused = place.read_of("referral", 0).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE".to_owned()));
}
