//! Who calls. An institution is written `KIND:ID` (`hospital:0301R011`); in a certificate it is the SAN URI
//! `jkn://hospital/0301R011`. Outside, a caller proves itself by certificate or token; inside, the gateway hands
//! the caller on in a signed assertion that lives for a minute.

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proto::{mesh::v1::Reason, options::v1::InstitutionKind};
use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::{Problem, reload::Reloaded};

/// The scheme of an identity in a certificate.
const SCHEME: &str = "jkn://";

/// An institution or service that calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// What kind of institution it is.
    pub kind: InstitutionKind,
    /// Its id among its kind: a facility code, an office, the name of a service.
    pub id: String,
}

/// Why a text is not an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an identity is KIND:ID, e.g. hospital:0301R011; kinds: fktp, hospital, bpjs, ministry, djsn, bank, surveyor, service; the id is 1 to 64 letters, digits, '.', '_' or '-'"
)]
pub struct NotAnIdentity;

impl Caller {
    /// A service of the mesh.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self { kind: InstitutionKind::Service, id: name.to_owned() }
    }

    /// The facility code, when the caller is a facility.
    #[must_use]
    pub fn facility(&self) -> Option<&str> {
        matches!(self.kind, InstitutionKind::Fktp | InstitutionKind::Hospital).then_some(self.id.as_str())
    }

    /// The identity as it stands in a certificate.
    #[must_use]
    pub fn to_uri(&self) -> String {
        format!("{SCHEME}{}/{}", self.kind_name(), self.id)
    }

    /// Reads the identity of a certificate.
    ///
    /// # Errors
    /// When the URI is not one of ours.
    pub fn from_uri(uri: &str) -> Result<Self, NotAnIdentity> {
        let (kind, id) =
            uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(NotAnIdentity)?;
        Self::from_parts(kind, id)
    }

    fn from_parts(kind: &str, id: &str) -> Result<Self, NotAnIdentity> {
        let kind = InstitutionKind::from_str_name(&format!("INSTITUTION_KIND_{}", kind.to_ascii_uppercase()))
            .filter(|kind| *kind != InstitutionKind::Unspecified)
            .ok_or(NotAnIdentity)?;
        let id_is_fit = (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if id_is_fit { Ok(Self { kind, id: id.to_owned() }) } else { Err(NotAnIdentity) }
    }

    fn kind_name(&self) -> String {
        kind_name(self.kind)
    }
}

/// The name of a kind in an identity, e.g. `hospital`.
#[must_use]
pub fn kind_name(kind: InstitutionKind) -> String {
    kind.as_str_name().trim_start_matches("INSTITUTION_KIND_").to_ascii_lowercase()
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind_name(), self.id)
    }
}

impl FromStr for Caller {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let (kind, id) = text.split_once(':').ok_or(NotAnIdentity)?;
        Self::from_parts(kind, id)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
}

/// What a signed identity is good for. A token for the gateway is worth nothing to a service, and the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A development token, shown to the gateway.
    Token,
    /// The gateway's word to a service about who calls.
    Assertion,
}

impl Purpose {
    fn issuer(self) -> &'static str {
        match self {
            Self::Token => "jkn-development",
            Self::Assertion => "jkn-gateway",
        }
    }

    fn audience(self) -> &'static str {
        match self {
            Self::Token => "jkn-gateway",
            Self::Assertion => "jkn-services",
        }
    }
}

/// Signs identities with an Ed25519 key.
pub struct Signer {
    key: EncodingKey,
    purpose: Purpose,
}

impl Signer {
    /// From a PKCS#8 private key in PEM.
    ///
    /// # Errors
    /// When the text is not such a key.
    pub fn from_pem(pem: &str, purpose: Purpose) -> anyhow::Result<Self> {
        let key = EncodingKey::from_ed_pem(pem.as_bytes())
            .map_err(|e| anyhow::anyhow!("not an Ed25519 private key in PEM: {e}"))?;
        Ok(Self { key, purpose })
    }

    /// A signed identity that is valid from now for `lifetime`.
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, caller: &Caller, now: Timestamp, lifetime: Duration) -> anyhow::Result<String> {
        let issued = now.as_second();
        let claims = Claims {
            sub: caller.to_string(),
            iss: self.purpose.issuer().into(),
            aud: self.purpose.audience().into(),
            iat: issued,
            exp: issued + i64::try_from(lifetime.as_secs())?,
        };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.key)?)
    }
}

/// An identity whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who it names.
    pub caller: Caller,
    /// Until when it may be believed.
    pub expires_at: Timestamp,
}

/// Checks signed identities, and remembers those it has checked: a signature costs more than the call itself.
pub struct Verifier {
    keys: Vec<DecodingKey>,
    purpose: Purpose,
    seen: Mutex<HashMap<String, Verified>>,
}

impl Verifier {
    /// Most identities that are remembered.
    const MOST_REMEMBERED: usize = 10_000;

    /// From Ed25519 public keys in PEM, any of which may have signed: while a key is replaced, both are there.
    ///
    /// # Errors
    /// When the text is not such keys.
    pub fn from_pem(pem: &str, purpose: Purpose) -> anyhow::Result<Self> {
        const END: &str = "-----END PUBLIC KEY-----";
        let keys: Result<Vec<_>, _> = pem
            .split_inclusive(END)
            .filter(|part| part.ends_with(END) || pem.matches(END).count() == 0)
            .map(|part| DecodingKey::from_ed_pem(part.trim().as_bytes()))
            .collect();
        let keys = keys.map_err(|e| anyhow::anyhow!("not Ed25519 public keys in PEM: {e}"))?;
        Ok(Self { keys, purpose, seen: Mutex::default() })
    }

    /// Reads the keys from a file, and again when it changes. Within a runtime.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn watch(file: &Path, purpose: Purpose) -> anyhow::Result<Reloaded<Self>> {
        let path = file.to_owned();
        Reloaded::watch(purpose.audience(), vec![path.clone()], move || {
            let pem =
                std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            Self::from_pem(&pem, purpose).with_context(|| format!("keys in {}", path.display()))
        })
    }

    /// Checks signature, purpose and expiry.
    ///
    /// # Errors
    /// UNAUTHENTICATED, IDENTITY_MISSING; for an assertion that has expired UNAVAILABLE: the clocks differ.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Problem> {
        let refused = |why: &str| {
            Problem::new(
                Code::Unauthenticated,
                Reason::IdentityMissing.as_str_name(),
                format!("the token {why}; get a new one"),
            )
        };
        let expired = || match self.purpose {
            Purpose::Token => refused("has expired"),
            // It was signed a moment ago, and the caller can do nothing about it.
            Purpose::Assertion => Problem::clocks_differ(),
        };
        if let Some(known) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(token) {
            return if known.expires_at > now { Ok(known.clone()) } else { Err(expired()) };
        }
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&[self.purpose.audience()]);
        rules.set_issuer(&[self.purpose.issuer()]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // Expiry is checked below, against the time that was passed in.
        rules.validate_exp = false;
        let claims = self
            .keys
            .iter()
            .find_map(|key| jsonwebtoken::decode::<Claims>(token, key, &rules).ok())
            .ok_or_else(|| refused("is not signed by a key that is trusted here"))?
            .claims;
        let expires_at = Timestamp::from_second(claims.exp).map_err(|_| refused("has no usable expiry"))?;
        if expires_at <= now {
            return Err(expired());
        }
        let caller = claims.sub.parse().map_err(|_| refused("names nobody"))?;
        let verified = Verified { caller, expires_at };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= Self::MOST_REMEMBERED {
            seen.retain(|_, known| known.expires_at > now);
            if seen.len() >= Self::MOST_REMEMBERED {
                seen.clear();
            }
        }
        seen.insert(token.to_owned(), verified.clone());
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> rcgen::KeyPair {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap()
    }

    #[test]
    fn an_identity_reads_back_from_text_and_uri() {
        let caller: Caller = "hospital:0301R011".parse().unwrap();
        assert_eq!(caller.kind, InstitutionKind::Hospital);
        assert_eq!(caller.to_string(), "hospital:0301R011");
        assert_eq!(caller.to_uri(), "jkn://hospital/0301R011");
        assert_eq!(Caller::from_uri(&caller.to_uri()), Ok(caller));
        for wrong in ["hospital", "hospital:", "nobody:1", "unspecified:1", "hospital:a b", "hospital:ä"] {
            assert_eq!(wrong.parse::<Caller>(), Err(NotAnIdentity), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires_and_only_for_its_purpose_and_key() {
        let keys = keys();
        let now = Timestamp::now();
        let caller: Caller = "bank:bni".parse().unwrap();
        let token = Signer::from_pem(&keys.serialize_pem(), Purpose::Token)
            .unwrap()
            .sign(&caller, now, Duration::from_secs(60))
            .unwrap();
        let verifier = Verifier::from_pem(&keys.public_key_pem(), Purpose::Token).unwrap();
        for _ in 0..2 {
            assert_eq!(verifier.verify(&token, now).unwrap().caller, caller);
        }
        assert_eq!(
            verifier.verify(&token, now + Duration::from_secs(61)).unwrap_err().code(),
            Code::Unauthenticated
        );
        let of_services = Verifier::from_pem(&keys.public_key_pem(), Purpose::Assertion).unwrap();
        assert!(of_services.verify(&token, now).is_err());
        let both = format!("{}\n{}", super::tests::keys().public_key_pem(), keys.public_key_pem());
        let while_replaced = Verifier::from_pem(&both, Purpose::Token).unwrap();
        assert_eq!(while_replaced.verify(&token, now).unwrap().caller, caller);
        assert!(Verifier::from_pem("no key", Purpose::Token).is_err());
        let stranger = Verifier::from_pem(&super::tests::keys().public_key_pem(), Purpose::Token).unwrap();
        assert!(stranger.verify(&token, now).is_err());
    }
}
