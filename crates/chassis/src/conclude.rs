//! The last statement of every transaction that makes writes together, and of the relay's: the function `conclude` of the
//! database (migration 0003). It keeps keys and answers, and gives events their positions in the feed or leaves them in the
//! outbox.

use std::sync::atomic::Ordering;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::Db;

/// What became of the feed and of events at the end of a transaction.
#[derive(Debug, Clone, Copy)]
pub struct Concluded {
    /// Newest position of the feed, when the transaction could give positions.
    pub head: Option<i64>,
    /// How many events it moved into the feed, then.
    pub moved: Option<i64>,
    /// Whether events wait in the outbox.
    pub waits: bool,
}

impl Concluded {
    /// The transaction has committed: what is in the feed is known.
    pub(crate) fn told(&self, db: &Db) {
        let (Some(head), Some(moved)) = (self.head, self.moved) else { return };
        db.outbox.moved.fetch_add(usize::try_from(moved).unwrap_or_default(), Ordering::Relaxed);
        db.head.send_if_modified(|known| {
            let newer = head > *known;
            if newer {
                *known = head;
            }
            newer
        });
    }

    /// The transaction has committed, and what waits is left to the relay.
    pub(crate) fn committed(&self, db: &Db) {
        self.told(db);
        if self.waits {
            db.outbox.written.notify_one();
        }
    }
}

/// What a transaction keeps of its writes, and tells of them: arguments of the function `conclude` of the database, which
/// keeps keys and answers, and gives the events their positions in the feed or leaves them in the outbox. Through the outbox
/// each would be written, deleted and written again.
#[derive(Debug, Default)]
pub struct Kept<'a> {
    /// Whether the lock of whoever gives positions is waited for.
    pub patient: bool,
    /// Who asked.
    pub callers: Vec<&'a str>,
    /// Under which key.
    pub request_ids: Vec<&'a str>,
    /// For what.
    pub methods: Vec<&'a str>,
    /// With which request.
    pub request_hashes: Vec<&'a [u8]>,
    /// The answers, encoded.
    pub responses: Vec<Vec<u8>>,
    /// Ids of the events.
    pub event_ids: Vec<Uuid>,
    /// Their types.
    pub kinds: Vec<&'a str>,
    /// What they are about.
    pub subjects: Vec<&'a str>,
    /// The traces that they belong to.
    pub traceparents: Vec<&'a str>,
    /// The events, encoded.
    pub bodies: Vec<&'a [u8]>,
}

impl Kept<'_> {
    /// Key of the advisory lock, within a service's own database, of whoever gives events their positions. Whoever else holds
    /// it keeps them waiting in the outbox.
    pub const LOCK: i64 = 0x6a6b_6e72_656c;
    /// Most events that are moved at once.
    pub const MOST: i64 = 1000;

    /// The last statement of a transaction, or one of its own.
    pub(crate) async fn conclude(&self, connection: &mut PgConnection) -> sqlx::Result<Concluded> {
        sqlx::query_as!(
            Concluded,
            r#"select head, moved, waits as "waits!"
               from conclude($1, $2, $3, true, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"#,
            Self::LOCK,
            self.patient,
            Self::MOST,
            &self.callers as &[&str],
            &self.request_ids as &[&str],
            &self.methods as &[&str],
            &self.request_hashes as &[&[u8]],
            &self.responses,
            &self.event_ids,
            &self.kinds as &[&str],
            &self.subjects as &[&str],
            &self.traceparents as &[&str],
            &self.bodies as &[&[u8]],
        )
        .fetch_one(connection)
        .await
    }
}
