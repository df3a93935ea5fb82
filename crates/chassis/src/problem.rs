//! How a call is refused: a status code, a documented reason, every wrong field, and what to do next.
//!
//! On the wire it is a `google.rpc.Status` with `ErrorInfo` (domain `jkn`), `BadRequest` and `RetryInfo`.

use std::{collections::HashMap, fmt::Display, time::Duration};

use proto::mesh::v1::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every reason, in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "jkn";

/// A refusal, ready to become a status.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Problem {
    code: Code,
    reason: String,
    message: String,
    metadata: HashMap<String, String>,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A refusal with the name of a `Reason` value (`as_str_name()`), and a message that says what to do next.
    /// The message must not hold a NIK, a card number, a name or a diagnosis.
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.trim_start_matches("REASON_").to_owned(),
            message: message.into(),
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry_after: None,
        }
    }

    /// Adds a fact a program can read, e.g. `earliest` → `2026-03-01`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Display) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Names one wrong field.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push((path.into(), description.into()));
        self
    }

    /// Tells the caller when to come again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// There is no such record, or it is not the caller's to see: the two are not told apart.
    pub fn not_found(what: &str, message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, Reason::NotFound.as_str_name(), message).with("what", what)
    }

    /// Something this process needs does not answer at the moment.
    #[must_use]
    pub fn unavailable(what: &str) -> Self {
        Self::new(
            Code::Unavailable,
            Reason::TemporarilyUnavailable.as_str_name(),
            format!(
                "{what} does not answer at the moment; repeat the call, a write with the same request_id"
            ),
        )
        .with("what", what)
        .retry_after(Duration::from_secs(1))
    }

    /// A call to another service was sent, and its answer did not come or not whole.
    #[must_use]
    pub fn cut_off(what: &str) -> Self {
        Self::new(
            Code::Unavailable,
            Reason::TemporarilyUnavailable.as_str_name(),
            "the connection to the service was lost during the call; what a write did is not known: \
             repeat it with the same request_id",
        )
        .with("what", what)
        .retry_after(Duration::from_secs(1))
    }

    /// The gateway's word had expired when it came: the clocks of two machines differ by more than its lifetime.
    #[must_use]
    pub fn clocks_differ() -> Self {
        tracing::error!(
            "the gateway's word has expired before it came: the clock of this machine or its own is wrong"
        );
        Self::new(
            Code::Unavailable,
            Reason::TemporarilyUnavailable.as_str_name(),
            "the clocks of two machines of the mesh differ too much; nothing was done; repeat the call, a write with \
             the same request_id, and tell the operator if it fails again",
        )
        .with("what", "clock")
        .retry_after(Duration::from_secs(1))
    }

    /// A stream ends because the process that serves it stops.
    #[must_use]
    pub fn stopping(process: &str) -> Self {
        Self::new(
            Code::Unavailable,
            Reason::TemporarilyUnavailable.as_str_name(),
            format!("{process} is stopping; open the stream again"),
        )
        .with("what", process)
        .retry_after(Duration::from_secs(1))
    }

    /// The deadline of the call passed.
    #[must_use]
    pub fn deadline_passed() -> Self {
        Self::new(
            Code::DeadlineExceeded,
            Reason::DeadlinePassed.as_str_name(),
            "the deadline passed before the answer was ready; repeat the call, a write with the same request_id",
        )
    }

    /// More calls are under way than this process takes.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(
            Code::ResourceExhausted,
            Reason::Overloaded.as_str_name(),
            "more calls are under way than this process takes; wait and repeat the call",
        )
        .retry_after(Duration::from_millis(500))
    }

    /// A fault of ours. The cause goes to the log, not to the caller.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            Code::Internal,
            Reason::Internal.as_str_name(),
            "a fault on our side; a write may be repeated with the same request_id; if it fails again, report the trace id of this call",
        )
    }

    /// What a caller is told when another service refused a call made on its behalf: a business refusal as it
    /// is, anything else as that service being unavailable.
    #[must_use]
    pub fn from_upstream(name: &str, status: &Status) -> Self {
        match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => Self::deadline_passed().with("what", name),
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange => {
                let details = status.get_error_details();
                let mut problem = match details.error_info() {
                    Some(info) => Self {
                        metadata: info.metadata.clone(),
                        ..Self::new(status.code(), &info.reason, status.message())
                    },
                    None => Self::new(status.code(), Reason::FieldsInvalid.as_str_name(), status.message()),
                };
                if let Some(wrong) = details.bad_request() {
                    problem.violations = wrong
                        .field_violations
                        .iter()
                        .map(|v| (v.field.clone(), v.description.clone()))
                        .collect();
                }
                problem.with("service", name)
            }
            Code::ResourceExhausted => Self::overloaded().with("what", name),
            code => {
                tracing::warn!(upstream = name, %code, message = status.message(), "an upstream call failed");
                Self::unavailable(name)
            }
        }
    }

    /// The reason, as `ErrorInfo` carries it.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(problem.reason, DOMAIN, problem.metadata);
        for (field, description) in problem.violations {
            details.add_bad_request_violation(field, description);
        }
        if let Some(delay) = problem.retry_after {
            details.set_retry_info(Some(delay));
        }
        Status::with_error_details(problem.code, problem.message, details)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // The two ends no longer understand each other. What was sent may have been done.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::BeginFailed => {
                tracing::warn!(kind = kind_of(&error), "the database does not answer");
                Self::unavailable("database")
            }
            sqlx::Error::Database(database) => {
                // The message of a database error may hold values of the row; its code and constraint do not.
                let code = database.code().unwrap_or_default().into_owned();
                let constraint = database.constraint().unwrap_or_default();
                tracing::error!(sqlstate = %code, constraint, "a statement failed");
                // Class 53: out of disk, memory or connections; 58: the disk itself; 57: shutting down; 08: connection;
                // 25: a transaction that was ended from outside, or a server that only reads; 40: deadlock.
                if ["53", "58", "57", "08", "25", "40"].iter().any(|class| code.starts_with(class)) {
                    Self::unavailable("database")
                } else {
                    Self::internal()
                }
            }
            _ => {
                tracing::error!(kind = kind_of(&error), "reading from the database failed");
                Self::internal()
            }
        }
    }
}

fn kind_of(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::PoolTimedOut => "pool timed out",
        sqlx::Error::PoolClosed => "pool closed",
        sqlx::Error::WorkerCrashed => "worker crashed",
        sqlx::Error::Io(_) => "connection lost",
        sqlx::Error::Tls(_) => "tls",
        sqlx::Error::Protocol(_) => "protocol",
        sqlx::Error::BeginFailed => "begin failed",
        sqlx::Error::RowNotFound => "row not found",
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => "decode",
        sqlx::Error::Encode(_) => "encode",
        _ => "other",
    }
}

/// Collects every wrong field of a request, so that a caller learns of all of them at once.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<(String, String)>,
    /// Of all that was wrong, reported or not.
    bytes: usize,
}

impl Fields {
    /// No wrong field yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps what parsed; notes the field when it did not.
    pub fn parse<T, E: Display>(&mut self, path: impl Into<String>, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(path, error.to_string());
                None
            }
        }
    }

    /// Notes the field unless the condition holds.
    pub fn require(&mut self, path: impl Into<String>, holds: bool, description: impl Into<String>) {
        if !holds {
            self.wrong(path, description);
        }
    }

    /// Notes a wrong field.
    pub fn wrong(&mut self, path: impl Into<String>, description: impl Into<String>) {
        // A list of ten thousand wrong entries must not make an answer that no client accepts: the status travels in
        // trailers, of which many clients take 8 KiB.
        const MOST_BYTES: usize = 4096;
        let (path, description) = (path.into(), description.into());
        self.bytes += path.len() + description.len() + 8;
        if self.violations.is_empty() || self.bytes <= MOST_BYTES {
            self.violations.push((path, description));
        }
    }

    /// Refuses the request if any field was wrong.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with every wrong field.
    pub fn finish(self) -> Result<(), Status> {
        Ok(self.checked()?)
    }

    /// The same, for a caller that has an error of its own to make of it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with every wrong field.
    pub fn checked(self) -> Result<(), Problem> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.into()) }
    }
}

impl From<Fields> for Problem {
    fn from(fields: Fields) -> Self {
        let names: Vec<_> = fields.violations.iter().map(|(path, _)| path.as_str()).take(10).collect();
        let message = format!("correct these fields and send again: {}", names.join(", "));
        Self {
            violations: fields.violations,
            ..Self::new(Code::InvalidArgument, Reason::FieldsInvalid.as_str_name(), message)
        }
    }
}

impl From<Fields> for Status {
    fn from(fields: Fields) -> Self {
        Problem::from(fields).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_with_the_reason() {
        let mut fields = Fields::new();
        fields.wrong("nik", "16 digits");
        fields.require("birth_date", false, "YYYY-MM-DD");
        let status = fields.finish().unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let named: Vec<_> =
            details.bad_request().unwrap().field_violations.iter().map(|v| v.field.clone()).collect();
        assert_eq!(named, ["nik", "birth_date"]);
        assert_eq!(details.error_info().unwrap().reason, "FIELDS_INVALID");
        assert_eq!(details.error_info().unwrap().domain, "jkn");
    }

    #[test]
    fn ten_thousand_wrong_fields_make_an_answer_that_fits_into_trailers() {
        let mut fields = Fields::new();
        for n in 0..10_000 {
            fields.wrong(format!("members[{n}].birth_date"), "a date, YYYY-MM-DD, not after today");
        }
        let headers = Status::from(fields).into_http::<()>().headers().clone();
        let bytes: usize = headers.values().map(http::HeaderValue::len).sum();
        assert!((4096..8000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_business_refusal_of_an_upstream_keeps_its_reason() {
        let status = Status::from(
            Problem::new(Code::FailedPrecondition, "REASON_REFERRAL_EXPIRED", "ask for a new one")
                .with("day", 91),
        );
        let problem = Problem::from_upstream("referral", &status);
        assert_eq!(problem.reason(), "REFERRAL_EXPIRED");
        assert_eq!(problem.metadata["day"], "91");
        assert_eq!(
            Problem::from_upstream("referral", &Status::unavailable("gone")).reason(),
            "TEMPORARILY_UNAVAILABLE"
        );
    }
}
