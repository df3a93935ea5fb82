//! What each caller noted: every write it asked for, how it ended, and what it must have told.

use std::time::Duration;

use prost::Name;

/// An event that a write must have told: of which service, of which kind, about what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Told {
    pub(crate) service: &'static str,
    pub(crate) kind: String,
    pub(crate) subject: String,
}

impl Told {
    pub(crate) fn of<E: Name>(service: &'static str, subject: &str) -> Self {
        Self { service, kind: E::full_name(), subject: subject.to_owned() }
    }
}

/// How a write ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// It was answered: from here on it must never be lost.
    Acknowledged { answer: Vec<u8>, tells: Vec<Told> },
    /// It was refused, and so must have left nothing. A row of a stream has no code of its own: that of the stream, OK.
    Refused { code: tonic::Code, reason: String },
    /// Nobody knows, even after all was healed.
    Unknown,
}

/// An attempt that had no known outcome. Times are counted from the start of the campaign.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tried {
    pub(crate) at: Duration,
    pub(crate) until: Duration,
    /// As it was answered; none when it was not, well after its deadline.
    pub(crate) code: Option<tonic::Code>,
}

/// A write that was asked for. Times are counted from the start of the campaign.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The institution, e.g. `bpjs:pusat`.
    pub(crate) institution: String,
    pub(crate) request_id: String,
    /// Path of the method.
    pub(crate) path: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) begun: Duration,
    pub(crate) ended: Duration,
    pub(crate) attempts: u32,
    /// Those whose outcome the caller never learnt.
    pub(crate) tried: Vec<Tried>,
    /// Whether its outcome was unknown when the breaking ended.
    pub(crate) open_at_the_end: bool,
    /// Whether two attempts were answered differently, or a row of a stream not in its turn.
    pub(crate) differs: bool,
    pub(crate) end: End,
}

impl Entry {
    /// The service whose database holds its record.
    pub(crate) fn service(&self) -> String {
        // "/jkn.primary_care.v1.PrimaryCareService/RegisterVisit"
        self.path.split('.').nth(1).unwrap_or_default().replace('_', "-")
    }

    /// The name of the method.
    pub(crate) fn method(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// What was asked for, when it is of this method.
    pub(crate) fn asked<Q: super::desk::Asked>(&self) -> Option<Q> {
        if self.path == Q::PATH { prost::Message::decode(self.request.as_slice()).ok() } else { None }
    }

    /// The answer, when it was acknowledged and is of this method.
    pub(crate) fn answer<Q: super::desk::Asked>(&self) -> Option<Q::Answer> {
        match &self.end {
            End::Acknowledged { answer, .. } if self.path == Q::PATH => {
                prost::Message::decode(answer.as_slice()).ok()
            }
            _ => None,
        }
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        matches!(self.end, End::Acknowledged { .. })
    }

    /// A name for it in a finding.
    pub(crate) fn name(&self) -> String {
        format!("{} {} of {}", self.method(), self.request_id, self.institution)
    }
}
