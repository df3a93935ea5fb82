//! Who calls, and whether the policy lets them: a token or a client certificate becomes a caller, and the
//! caller a signed assertion for the services behind.
//!
//! Denied unless allowed: without an identity nothing is forwarded, and a method is open to the kinds that
//! its policy names and to nobody else. Agreements narrow this further; `authorise` is where they ask.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use chassis::{
    Caller, Problem,
    contract::{self, Method},
    identity::{self, Purpose, Signer, Verifier},
    reload::Reloaded,
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use proto::{mesh::v1::Reason, options::v1::InstitutionKind};
use tonic::Code;

use crate::config::Settings;

/// How long an assertion is valid, and for how much of that it is handed out again.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
const ASSERTION_REUSE: Duration = Duration::from_secs(30);
/// Most callers whose assertion is remembered.
const MOST_REMEMBERED: usize = 10_000;

/// Checks identities and vouches for them.
pub(crate) struct Door {
    tokens: Option<Reloaded<Verifier>>,
    vouchers: Reloaded<Voucher>,
}

/// Signs with one key, and remembers what it signed.
struct Voucher {
    signer: Signer,
    assertions: Mutex<HashMap<Caller, Assertion>>,
}

struct Assertion {
    signed: HeaderValue,
    /// By the clock that is never set: one that is set back would make an old assertion look new.
    reuse_until: Instant,
}

impl Door {
    /// Reads the keys, and again when they change. Within a runtime.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let signing = settings.assertion_signing_key.clone();
        let vouchers = Reloaded::watch("assertion-signing-key", vec![signing.clone()], move || {
            let named = || format!("assertion-signing-key: {}", signing.display());
            let pem = std::fs::read_to_string(&signing).with_context(named)?;
            let signer = Signer::from_pem(&pem, Purpose::Assertion).with_context(named)?;
            Ok(Voucher { signer, assertions: Mutex::default() })
        })?;
        let caller_key = Some(&settings.caller_key).filter(|key| !key.as_os_str().is_empty());
        let tokens =
            caller_key.map(|key| Verifier::watch(key, Purpose::Token).context("caller-key")).transpose()?;
        Ok(Self { tokens, vouchers })
    }

    /// The caller that a call's token names, or else the certificate of its connection. A token that is shown
    /// must be good: there is no falling back from a bad one.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
        certified: Option<&Caller>,
        now: Timestamp,
    ) -> Result<Caller, Problem> {
        let caller = self.name(headers, certified, now)?;
        if caller.kind == InstitutionKind::Service {
            let message =
                "services of the mesh call each other, not through the gateway; call as an institution";
            return Err(Problem::new(
                Code::PermissionDenied,
                Reason::CallerNotAllowed.as_str_name(),
                message,
            )
            .with("kind", identity::kind_name(caller.kind)));
        }
        Ok(caller)
    }

    fn name(
        &self,
        headers: &HeaderMap,
        certified: Option<&Caller>,
        now: Timestamp,
    ) -> Result<Caller, Problem> {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let Some(authorization) = shown.next() else {
            return certified.cloned().ok_or_else(|| {
                missing("the call carries no identity; send a token or a client certificate")
            });
        };
        if shown.next().is_some() {
            return Err(missing("the call carries several tokens; send one"));
        }
        let token = bearer(authorization)
            .ok_or_else(|| missing("the metadata authorization must be written \"Bearer TOKEN\""))?;
        let tokens = self
            .tokens
            .as_ref()
            .ok_or_else(|| missing("tokens are not accepted here; use a client certificate"))?;
        Ok(tokens.current().verify(token, now)?.caller)
    }

    /// The signed word to the services about who calls.
    pub(crate) fn vouch(&self, caller: &Caller, now: Timestamp) -> Result<HeaderValue, Problem> {
        let voucher = self.vouchers.current();
        let mut assertions = voucher.assertions.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = Instant::now();
        if let Some(known) = assertions.get(caller).filter(|known| moment < known.reuse_until) {
            return Ok(known.signed.clone());
        }
        let signed = voucher.signer.sign(caller, now, ASSERTION_LIFETIME).and_then(|text| {
            let mut value = HeaderValue::try_from(text)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let signed = signed.map_err(|error| {
            tracing::error!(%error, "cannot sign an assertion");
            Problem::internal()
        })?;
        if assertions.len() >= MOST_REMEMBERED {
            assertions.retain(|_, known| moment < known.reuse_until);
            if assertions.len() >= MOST_REMEMBERED {
                assertions.clear();
            }
        }
        let reuse_until = moment + ASSERTION_REUSE;
        assertions.insert(caller.clone(), Assertion { signed: signed.clone(), reuse_until });
        Ok(signed)
    }
}

/// Refuses a caller whose kind the method's policy does not name.
pub(crate) fn authorise(method: &Method, caller: &Caller) -> Result<(), Problem> {
    if contract::allows(method, caller) {
        return Ok(());
    }
    let mut open_to: Vec<_> = method.callers.iter().map(|kind| identity::kind_name(*kind)).collect();
    open_to.sort();
    let kind = identity::kind_name(caller.kind);
    Err(Problem::new(
        Code::PermissionDenied,
        Reason::CallerNotAllowed.as_str_name(),
        format!(
            "{} is not open to {kind}, only to: {}",
            method.path.trim_start_matches('/'),
            open_to.join(", ")
        ),
    )
    .with("kind", kind))
}

fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, token) = authorization.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn missing(message: &str) -> Problem {
    Problem::new(Code::Unauthenticated, Reason::IdentityMissing.as_str_name(), message)
}
