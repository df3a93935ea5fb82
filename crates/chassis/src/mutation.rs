//! A write that happens once. State change, idempotency record and event are one transaction: the same key with
//! the same request gets the stored answer, with another request it is refused, and a call that dies before its
//! commit leaves nothing.

use std::{borrow::Cow, fmt, str::FromStr};

use prost::{Message, Name};
use proto::mesh::v1::Reason;
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, Postgres, Transaction};
use tonic::Code;
use uuid::Uuid;

use crate::{Call, Db, Problem};

/// The key under which a caller may repeat a mutation: 8 to 64 visible ASCII characters, a UUID as a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

/// Why a text is not a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("8 to 64 letters, digits or any of . _ : / - ; a new UUID for each new request")]
pub struct NotARequestId;

impl RequestId {
    /// Reads a request id.
    ///
    /// # Errors
    /// When it is too short, too long or has other characters.
    pub fn parse(text: &str) -> Result<Self, NotARequestId> {
        let fits = (8..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'/' | b'-'));
        if fits { Ok(Self(text.to_owned())) } else { Err(NotARequestId) }
    }
}

impl FromStr for RequestId {
    type Err = NotARequestId;

    fn from_str(text: &str) -> Result<Self, NotARequestId> {
        Self::parse(text)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mutation that is asked for.
#[derive(Debug, Clone)]
pub struct Mutation {
    pub(crate) caller: String,
    pub(crate) request_id: String,
    pub(crate) method: Cow<'static, str>,
    pub(crate) request_hash: Vec<u8>,
    pub(crate) traceparent: String,
}

/// Whether the mutation is new.
pub enum Begun<R> {
    /// It was done before: this was the answer.
    Replayed(R),
    /// It is new: write, then commit.
    Fresh(Write),
}

impl Mutation {
    /// A mutation under the request's own key.
    pub fn new(call: &Call, request: &impl Message, request_id: RequestId) -> Self {
        Self {
            caller: call.caller.to_string(),
            request_id: request_id.0,
            method: call.method.clone(),
            request_hash: Sha256::digest(request.encode_to_vec()).to_vec(),
            traceparent: call.traceparent.clone(),
        }
    }

    /// The stored answer, if the mutation was done before. Ask before calls to other services: they may answer
    /// otherwise today than they did then.
    ///
    /// # Errors
    /// ALREADY_EXISTS when the key was used for another request.
    pub async fn replayed<R: Message + Default>(&self, db: &Db) -> Result<Option<R>, Problem> {
        let mut connection = db.pool.acquire().await?;
        self.stored(&mut connection).await
    }

    /// The stored answer, or what `write` comes to, which may ask other services before it writes. Where that refuses, the
    /// same call may have come another way and been done since the answer was looked for.
    ///
    /// # Errors
    /// ALREADY_EXISTS when the key was used for another request; what the write refuses.
    pub async fn once<R: Message + Default, E: From<Problem>>(
        &self,
        db: &Db,
        write: impl Future<Output = Result<R, E>>,
    ) -> Result<R, E> {
        if let Some(answer) = self.replayed(db).await? {
            return Ok(answer);
        }
        match write.await {
            Err(refused) => self.replayed(db).await?.ok_or(refused),
            done => done,
        }
    }

    /// Opens the transaction. A second call with the same key waits here until the first has committed or given up.
    ///
    /// # Errors
    /// ALREADY_EXISTS when the key was used for another request.
    pub async fn begin<R: Message + Default>(&self, db: &Db) -> Result<Begun<R>, Problem> {
        let mut transaction = db.begin().await?;
        let admitted = sqlx::query!(
            "insert into idempotency (caller, request_id, method, request_hash)
             values ($1, $2, $3, $4) on conflict (caller, request_id) do nothing",
            self.caller,
            self.request_id,
            &*self.method,
            self.request_hash,
        )
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        if admitted == 1 {
            let write = Write { transaction, db: db.clone(), mutation: self.clone() };
            return Ok(Begun::Fresh(write));
        }
        match self.stored(&mut transaction).await? {
            Some(answer) => Ok(Begun::Replayed(answer)),
            // The record was removed between the two statements, by age: the caller may simply repeat.
            None => Err(Problem::unavailable("idempotency record")),
        }
    }

    pub(crate) async fn stored<R: Message + Default>(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<R>, Problem> {
        let Some(row) = sqlx::query!(
            "select method, request_hash, response from idempotency where caller = $1 and request_id = $2",
            self.caller,
            self.request_id,
        )
        .fetch_optional(connection)
        .await?
        else {
            return Ok(None);
        };
        let answer = self.answered(&row.method, &row.request_hash, row.response)?;
        R::decode(answer.as_slice()).map(Some).map_err(|_| Problem::internal())
    }

    /// The answer of a record under this key, encoded.
    fn answered(&self, method: &str, hash: &[u8], response: Option<Vec<u8>>) -> Result<Vec<u8>, Problem> {
        if method != self.method || hash != self.request_hash {
            return Err(Problem::new(
                Code::AlreadyExists,
                Reason::RequestIdReused.as_str_name(),
                "request_id was used before with another request; use a new one for a new request",
            )
            .field("request_id", "was used before with another request")
            .with("field", "request_id"));
        }
        response.ok_or_else(Problem::internal)
    }
}

/// The stored answers of mutations, encoded, each in its place; `None` where there is none.
pub(crate) async fn stored_of(
    connection: &mut PgConnection,
    mutations: &[&Mutation],
) -> sqlx::Result<Vec<Option<Result<Vec<u8>, Problem>>>> {
    let of =
        |part: fn(&Mutation) -> &str| mutations.iter().map(|mutation| part(mutation)).collect::<Vec<_>>();
    let rows = sqlx::query!(
        // The limit keeps the direction: from what is asked to what is stored. A plan that was made while nothing was stored
        // would read all that is, for each key.
        r#"select i.method as "method?", i.request_hash as "request_hash?", i.response
           from unnest($1::text[], $2::text[]) with ordinality as asked (caller, request_id, place)
           left join lateral (select * from idempotency i
                              where i.caller = asked.caller and i.request_id = asked.request_id limit 1) i on true
           order by asked.place"#,
        &of(|mutation| &mutation.caller) as &[&str],
        &of(|mutation| &mutation.request_id) as &[&str],
    )
    .fetch_all(connection)
    .await?;
    let stored = mutations
        .iter()
        .zip(rows)
        .map(|(mutation, row)| Some(mutation.answered(&row.method?, &row.request_hash?, row.response)));
    Ok(stored.collect())
}

/// The open transaction of a mutation. Dropped without a commit, it leaves nothing.
pub struct Write {
    transaction: Transaction<'static, Postgres>,
    db: Db,
    mutation: Mutation,
}

impl Write {
    /// The connection on which the state is changed.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Writes an event in the same transaction. `subject` is what it is about: an internal id or a document number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn emit<E: Message + Name>(&mut self, subject: &str, event: &E) -> Result<(), Problem> {
        sqlx::query!(
            "insert into outbox (event_id, kind, subject, traceparent, body) values ($1, $2, $3, $4, $5)",
            Uuid::now_v7(),
            E::full_name(),
            subject,
            self.mutation.traceparent,
            event.encode_to_vec(),
        )
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }

    /// Stores the answer with the idempotency record and commits. Only then may the caller be answered.
    ///
    /// # Errors
    /// When the commit did not happen, or its outcome is unknown: the caller repeats with the same key.
    pub async fn commit<R: Message>(mut self, response: R) -> Result<R, Problem> {
        sqlx::query!(
            "update idempotency set response = $3 where caller = $1 and request_id = $2",
            self.mutation.caller,
            self.mutation.request_id,
            response.encode_to_vec(),
        )
        .execute(&mut *self.transaction)
        .await?;
        self.transaction.commit().await?;
        self.db.outbox.written.notify_one();
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_bounded() {
        assert!(RequestId::parse("018f3c6e-7d1e-7000-8000-000000000000").is_ok());
        for wrong in ["", "short", &"x".repeat(65), "with space 1", "ünïcodé-1"] {
            assert!(RequestId::parse(wrong).is_err(), "{wrong}");
        }
    }
}
