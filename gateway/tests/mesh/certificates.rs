//! A certificate authority for a test.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{RootCertStore, pki_types::PrivateKeyDer, server::WebPkiClientVerifier};
use tonic::{
    Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The authority whose servers its clients trust.
    trusted: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        // A second installation finds the first: both are the same provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let trusted = issuer.pem();
        Self { issuer, trusted }
    }

    /// Clients of this authority that trust the servers of another.
    pub(crate) fn trusting(mut self, other: &Self) -> Self {
        self.trusted = other.issuer.pem();
        self
    }

    fn signed(&self, names: Vec<SanType>) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server for 127.0.0.1 that wants a certificate of this authority.
    pub(crate) fn server(&self) -> Arc<rustls::ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let (certificate, key) = self.signed(vec![SanType::IpAddress("127.0.0.1".parse().unwrap())]);
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = rustls::ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// A client with a certificate for an identity.
    pub(crate) async fn channel(&self, address: SocketAddr, uri: &str) -> Result<Channel, Status> {
        let (certificate, key) = self.signed(vec![SanType::URI(uri.try_into().unwrap())]);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.trusted))
            .identity(Identity::from_pem(certificate.pem(), key.serialize_pem()));
        let endpoint = Endpoint::try_from(format!("https://{address}")).unwrap().tls_config(tls).unwrap();
        endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}
