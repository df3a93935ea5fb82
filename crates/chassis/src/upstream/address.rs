//! Where a service listens: one or several addresses, `https://HOST:PORT`, separated by commas. A host may stand for
//! several addresses.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Context;
use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

/// The addresses of a service, as they are configured.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    scheme: Scheme,
    /// What calls carry as their authority, whichever address they go to.
    authority: Authority,
    hosts: Vec<(String, u16)>,
}

impl Addresses {
    /// Reads a list of addresses.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut read = text.split(',').map(|one| parse_one(one.trim()));
        let (scheme, authority, host) = read.next().context("it must be written https://HOST:PORT")??;
        let mut hosts = vec![host];
        for one in read {
            let (other, _, host) = one?;
            anyhow::ensure!(other == scheme, "all addresses must begin with {scheme}://");
            hosts.push(host);
        }
        Ok(Self { scheme, authority, hosts })
    }

    /// Whether calls go in plaintext.
    pub(super) fn is_plain(&self) -> bool {
        self.scheme == Scheme::HTTP
    }

    /// The URI of a path at this service.
    pub(super) fn uri(&self, path: PathAndQuery) -> Result<Uri, http::uri::InvalidUriParts> {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts)
    }

    /// What the hosts stand for now.
    pub(super) async fn resolve(&self) -> std::io::Result<BTreeSet<SocketAddr>> {
        let mut found = BTreeSet::new();
        let mut failure = None;
        for (host, port) in &self.hosts {
            match tokio::net::lookup_host((host.as_str(), *port)).await {
                Ok(addresses) => found.extend(addresses),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }
}

fn parse_one(text: &str) -> anyhow::Result<(Scheme, Authority, (String, u16))> {
    let uri: Uri = text.parse()?;
    let authority = uri.authority().context("it must be written http://HOST:PORT or https://HOST:PORT")?;
    anyhow::ensure!(!authority.as_str().contains('@'), "it must not carry credentials");
    anyhow::ensure!(uri.path().len() <= 1 && uri.query().is_none(), "it must end after the port");
    let (scheme, usual_port) = match uri.scheme_str() {
        Some("http") => (Scheme::HTTP, 80),
        Some("https") => (Scheme::HTTPS, 443),
        _ => anyhow::bail!("it must begin with http:// or https://"),
    };
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(usual_port);
    Ok((scheme, authority.clone(), (host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_urls_without_a_path() {
        let plain = Addresses::parse("http://127.0.0.1:9001").unwrap();
        assert_eq!(plain.hosts, [("127.0.0.1".to_owned(), 9001)]);
        assert!(plain.is_plain());
        let several = Addresses::parse("https://[::1]:9001/, https://claims").unwrap();
        assert_eq!(several.hosts, [("::1".to_owned(), 9001), ("claims".to_owned(), 443)]);
        let path = PathAndQuery::from_static("/a/B");
        assert_eq!(several.uri(path).unwrap().to_string(), "https://[::1]:9001/a/B");
        let wrong = [
            "",
            "claims",
            "claims:9001",
            "ftp://claims:1",
            "http://c:1/x",
            "http://u@c:1",
            "http://c:1,https://c:2",
            "http://c:1,",
        ];
        for text in wrong {
            assert!(Addresses::parse(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn every_host_is_looked_up() {
        let found = Addresses::parse("http://127.0.0.1:9001,http://127.0.0.2:9002").unwrap();
        assert_eq!(found.resolve().await.unwrap().len(), 2);
        assert!(Addresses::parse("http://no.such.host.invalid:1").unwrap().resolve().await.is_err());
    }
}
