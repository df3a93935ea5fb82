//! How frames are made and drawn from, beside the calls: piece by piece, each a transaction that holds the row of the work. Any
//! replica takes the next piece, two never the same; after a kill the piece that was not finished is made again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chassis::{Begun, Call, Db, Mutation, RequestId, Write};
use jiff::Timestamp;
use prost::Message as _;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vocabulary::Icd10;

use super::{
    Policies,
    audit_frame::{begun, period, quarter, signed, stored, written},
};
use crate::{
    audit::Rules,
    draw::{Counts, Draw, allocate, list},
    error::{Error, audit::Refused},
    frame::{Frame, Header, Kind, Mistake, Reading, line, pseudonym, sha256},
    frame_work::{Kept, Place, Stage, Stopped},
    store::{
        self,
        audit_frame::{NewRows, Row, Settled},
        coding_review::Wanted,
        frame_work::Work,
    },
};

/// How long there was no work before it is looked for again, where nobody in this process asked for it.
const REST: Duration = Duration::from_secs(1);
/// How long the transaction may take that publishes a frame or a sample.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes frames and draws from them.
pub(crate) struct FrameWork {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
    /// Rows of a piece.
    pub(crate) piece: i64,
    /// Rung when there is work.
    pub(crate) wake: Arc<Notify>,
}

impl FrameWork {
    /// Works until the stop.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let Some(done) = stop.run_until_cancelled(self.next()).await else { return Ok(()) };
            match done {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "work on an audit frame is tried again"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.wake.notified() => {}
                () = tokio::time::sleep(REST) => {}
            }
        }
    }

    /// Does the next piece of work; false when there is none.
    async fn next(&self) -> Result<bool, Error> {
        let mut transaction = self.db.begin().await?;
        let Some(mut work) = store::frame_work::next(&mut transaction).await? else { return Ok(false) };
        let frame_id = work.frame_id;
        let done = async {
            let place: Place = serde_json::from_value(work.place.clone())
                .map_err(|_| Error::Unreadable("work on an audit frame"))?;
            if place.complete {
                drop(transaction);
                return self.finish(frame_id, &work).await;
            }
            let place = self.piece(&mut transaction, &mut work, place).await?;
            work.place = written(&place)?;
            store::frame_work::keep(&mut transaction, &work).await?;
            Ok(transaction.commit().await?)
        };
        match Box::pin(done).await {
            Err(Error::Unreadable(what)) => {
                tracing::error!(%frame_id, what, "work on an audit frame stopped: a row cannot be read");
                store::frame_work::stop(&self.db.pool, frame_id, Stopped::Unreadable as i16).await?;
            }
            done => done?,
        }
        Ok(true)
    }

    async fn piece(
        &self,
        connection: &mut PgConnection,
        work: &mut Work,
        place: Place,
    ) -> Result<Place, Error> {
        let stage = Stage::of(work.stage).ok_or(Error::Unreadable("work on an audit frame"))?;
        match stage {
            Stage::Gathering => self.gather(connection, work, place).await,
            Stage::Hashing => {
                let passed = self.pass(connection, work, place.reading, |_, _| ()).await?;
                let (reading, complete) = passed.map_err(|_| Error::Unreadable("audit frame"))?;
                Ok(Place { reading: Some(reading.mark()), complete, ..Place::default() })
            }
            Stage::Drawing => self.draw(connection, work, place).await,
            Stage::Reviewing => self.review(connection, work, place).await,
        }
    }

    /// Writes a row for each claim that became paid in the quarter, or for each hospital with one.
    async fn gather(
        &self,
        connection: &mut PgConnection,
        work: &mut Work,
        place: Place,
    ) -> Result<Place, Error> {
        let kind = Kind::of(work.kind).ok_or(Error::Unreadable("audit frame"))?;
        let quarter = quarter(work)?;
        let rules = self.policies.audit.on(quarter.last())?;
        let settled = store::audit_frame::settled(connection, period(work)?, place.after, self.piece).await?;
        let Some(last) = settled.last() else {
            let rows = match kind {
                Kind::Claims => work.rows_done,
                Kind::Hospitals => store::audit_frame::count(connection, work.frame_id).await?,
            };
            let rows = rows.unsigned_abs();
            let (size, minimum) = rules.sample(kind);
            let header = Header { kind, quarter, policy: rules.effective_from, size, minimum, rows };
            (work.stage, work.rows_done) = (Stage::Hashing as i16, 0);
            return Ok(Place { reading: Some(begun(&header)?.mark()), ..Place::default() });
        };
        let after = Some((last.paid_at, last.claim_id));
        match kind {
            Kind::Claims => {
                let mut rows = NewRows::default();
                for claim in &settled {
                    rows.keys.push(pseudonym(&work.salt, claim.claim_id));
                    rows.strata.push(claim_stratum(rules, claim)?);
                    rows.claims.push(claim.claim_id);
                }
                store::audit_frame::add_rows(connection, work.frame_id, &rows).await?;
            }
            Kind::Hospitals => {
                // They come in the order of their payment: the letter of the last one says what the hospital is.
                let mut rows = BTreeMap::new();
                for claim in &settled {
                    let letter = letter(&claim.letter)?;
                    let stratum = rules.hospital_stratum(&letter.hospital_class, &letter.province_code);
                    rows.insert(claim.facility_code.clone(), stratum.ok_or(Error::Unreadable("SEP"))?);
                }
                store::audit_frame::put_rows(connection, work.frame_id, &rows).await?;
            }
        }
        work.rows_done += signed(settled.len() as u64);
        Ok(Place { after, ..Place::default() })
    }

    /// Reads on in the file of a frame as it would be exported, shows each row, stratum first, and tells whether that was
    /// all.
    async fn pass(
        &self,
        connection: &mut PgConnection,
        work: &mut Work,
        mark: Option<crate::frame::Mark>,
        mut each: impl FnMut(&str, &str),
    ) -> Result<Result<(Reading, bool), Mistake>, Error> {
        let reading = mark.and_then(Reading::resume);
        let mut reading = reading.ok_or(Error::Unreadable("work on an audit frame"))?;
        let rows = store::audit_frame::rows(connection, work.frame_id, reading.last(), self.piece).await?;
        for (key, stratum) in &rows {
            if let Err(mistake) = reading.take(&line(key, stratum)) {
                return Ok(Err(mistake));
            }
            each(stratum, key);
        }
        work.rows_done += signed(rows.len() as u64);
        Ok(Ok((reading, rows.is_empty())))
    }

    /// Draws from a stored frame, if its rows are still those that were published.
    async fn draw(
        &self,
        connection: &mut PgConnection,
        work: &mut Work,
        place: Place,
    ) -> Result<Place, Error> {
        let row = store::audit_frame::get(&mut *connection, work.frame_id).await?.ok_or(Refused::NoFrame)?;
        let sizes = sizes(connection, work.frame_id).await?;
        let mut draw = resumed(work, sizes.clone(), &places(&row, &sizes), &place.kept)?;
        let offer = |stratum: &str, key: &str| draw.offer(stratum, key);
        let passed = self.pass(connection, work, place.reading, offer).await?;
        let kept = draw.kept();
        let altered = match passed {
            Ok((reading, false)) => {
                return Ok(Place { reading: Some(reading.mark()), kept, ..Place::default() });
            }
            Ok((reading, true)) => {
                reading.finish().map_or(true, |whole| whole.hash != row.frame_hash || whole.sizes != sizes)
            }
            Err(_mistake) => true,
        };
        if altered {
            tracing::error!(frame_id = %work.frame_id, "the rows of a published audit frame were altered");
            work.stopped = Some(Stopped::Altered as i16);
            return Ok(Place::default());
        }
        if row.kind == Kind::Claims as i16 {
            return Ok(Place { kept, complete: true, ..Place::default() });
        }
        (work.stage, work.rows_done) = (Stage::Reviewing as i16, 0);
        Ok(Place { sample: kept, ..Place::default() })
    }

    /// Draws the claims of the drawn hospitals whose coding is reviewed, by the same seed and the same rank: the key is the
    /// id of the claim, which those who may see it can list.
    async fn review(
        &self,
        connection: &mut PgConnection,
        work: &mut Work,
        place: Place,
    ) -> Result<Place, Error> {
        let rules = self.policies.audit.on(quarter(work)?.last())?;
        let places = places_each(rules, &place.sample);
        let mut draw = resumed(work, Counts::new(), &places, &place.kept)?;
        let (at, after) = place.after_claim;
        let Some((_, facility)) = place.sample.get(at) else { return Ok(Place { complete: true, ..place }) };
        let claims =
            store::audit_frame::claims_of(connection, period(work)?, facility, after, self.piece).await?;
        let after_claim = claims.last().map_or((at + 1, Uuid::nil()), |last| (at, *last));
        for claim_id in &claims {
            draw.offer(facility, &claim_id.to_string());
        }
        work.rows_done += signed(claims.len() as u64);
        Ok(Place { kept: draw.kept(), after_claim, ..place })
    }

    /// Publishes what is complete, in one transaction with its event.
    async fn finish(&self, frame_id: Uuid, work: &Work) -> Result<(), Error> {
        if work.seed.is_some() { self.publish_sample(work).await } else { self.publish(frame_id, work).await }
    }

    async fn publish(&self, frame_id: Uuid, asked: &Work) -> Result<(), Error> {
        let call = local(asked, "/jkn.claims.v1.AuditService/PublishFrame")?;
        let request = pb::PublishFrameRequest {
            request_id: format!("publish-{frame_id}"),
            kind: asked.kind.into(),
            quarter: asked.quarter.clone(),
            seed_source: String::new(),
            seed_at: None,
        };
        let mut write = match mutation(&call, &request, &request.request_id)?.begin(&self.db).await? {
            Begun::Replayed(pb::PublishFrameResponse { .. }) => return Ok(()),
            Begun::Fresh(write) => write,
        };
        let Some((work, place)) = taken(&mut write, frame_id).await? else { return Ok(()) };
        if work.seed_at <= call.received_at {
            drop(write);
            return Ok(store::frame_work::stop(&self.db.pool, frame_id, Stopped::SeedPassed as i16).await?);
        }
        let whole = place.reading.and_then(Reading::resume).and_then(|reading| reading.finish().ok());
        let Frame { header, hash, sizes } = whole.ok_or(Error::Unreadable("audit frame"))?;
        let row = Row {
            frame_id,
            kind: work.kind,
            quarter: work.quarter,
            policy_from: header.policy,
            sample_size: signed(header.size),
            stratum_minimum: signed(header.minimum),
            row_count: signed(header.rows),
            frame_hash: hash,
            salt: work.salt,
            published_at: call.received_at,
            published_by: work.asked_by,
            seed_source: work.seed_source,
            seed_at: work.seed_at,
            draw: None,
        };
        store::audit_frame::create(write.connection(), &row, &sizes).await?;
        let event = pb::AuditFramePublished {
            frame_id: frame_id.to_string(),
            kind: row.kind.into(),
            quarter: row.quarter.clone(),
            frame_hash: row.frame_hash.clone(),
            rows: row.row_count,
            seed_source: row.seed_source.clone(),
            seed_at: row.seed_at.to_string(),
        };
        write.emit(&event.frame_id, &event).await?;
        let frame = Some(stored(&mut write, frame_id).await?);
        write.commit(pb::PublishFrameResponse { frame }).await?;
        Ok(())
    }

    async fn publish_sample(&self, asked: &Work) -> Result<(), Error> {
        let frame_id = asked.frame_id;
        let call = local(asked, "/jkn.claims.v1.AuditService/DrawSample")?;
        let request = pb::DrawSampleRequest {
            request_id: format!("draw-{frame_id}"),
            frame_id: frame_id.to_string(),
            ..pb::DrawSampleRequest::default()
        };
        let mut write = match mutation(&call, &request, &request.request_id)?.begin(&self.db).await? {
            Begun::Replayed(pb::DrawSampleResponse { .. }) => return Ok(()),
            Begun::Fresh(write) => write,
        };
        // The frame before the work, as whoever asks for a draw takes them.
        let row = store::audit_frame::lock(write.connection(), frame_id).await?.ok_or(Refused::NoFrame)?;
        let Some((work, place)) = taken(&mut write, frame_id).await? else { return Ok(()) };
        let (seed, seed_published_at) = seed(&work)?;
        let sizes = sizes(write.connection(), frame_id).await?;
        let hospitals = row.kind == Kind::Hospitals as i16;
        let kept = if hospitals { &place.sample } else { &place.kept };
        let sample = resumed(&work, sizes.clone(), &places(&row, &sizes), kept)?.finish();
        let draw = store::audit_frame::Draw {
            seed: seed.clone(),
            seed_published_at,
            drawn_at: call.received_at,
            drawn_by: work.asked_by.clone(),
            drawn: signed(sample.len() as u64),
            sample_hash: sha256(&list(&row.frame_hash, &seed, &sample)),
        };
        store::audit_frame::keep_sample(write.connection(), frame_id, &draw, &sample).await?;
        if hospitals {
            let rules = self.policies.audit.on(quarter(&work)?.last())?;
            let places = places_each(rules, &place.sample);
            let wanted = wanted(resumed(&work, Counts::new(), &places, &place.kept)?)?;
            store::coding_review::register(write.connection(), frame_id, &wanted).await?;
        } else {
            let ids: Vec<Uuid> = sample.iter().map(|_| Uuid::now_v7()).collect();
            let registered =
                store::audit::register(write.connection(), frame_id, &ids, call.received_at).await?;
            if registered != ids.len() as u64 {
                return Err(Error::Unreadable("audit sample"));
            }
        }
        let event = pb::AuditSampleDrawn {
            frame_id: frame_id.to_string(),
            kind: row.kind.into(),
            quarter: row.quarter,
            frame_hash: row.frame_hash,
            seed,
            drawn: draw.drawn,
            sample_hash: draw.sample_hash,
        };
        write.emit(&event.frame_id, &event).await?;
        let frame = Some(stored(&mut write, frame_id).await?);
        write.commit(pb::DrawSampleResponse { frame }).await?;
        Ok(())
    }
}

/// The call in whose name work is published: of whoever asked for it.
fn local(work: &Work, method: &'static str) -> Result<Call, Error> {
    let caller = work.asked_by.parse().map_err(|_| Error::Unreadable("work on an audit frame"))?;
    Ok(Call::local(caller, method, Timestamp::now(), PATIENCE))
}

fn mutation(call: &Call, request: &impl prost::Message, key: &str) -> Result<Mutation, Error> {
    let key = RequestId::parse(key).map_err(|_| Error::Unreadable("work on an audit frame"))?;
    Ok(Mutation::new(call, request, key))
}

/// Takes away work that is complete; `None` when another replica did.
async fn taken(write: &mut Write, frame_id: Uuid) -> Result<Option<(Work, Place)>, Error> {
    let Some(work) = store::frame_work::take(write.connection(), frame_id).await? else { return Ok(None) };
    let place: Place = serde_json::from_value(work.place.clone())
        .map_err(|_| Error::Unreadable("work on an audit frame"))?;
    Ok(if place.complete { Some((work, place)) } else { None })
}

fn seed(work: &Work) -> Result<(String, Timestamp), Error> {
    work.seed.clone().ok_or(Error::Unreadable("work on an audit frame"))
}

async fn sizes(connection: &mut PgConnection, frame_id: Uuid) -> Result<Counts, Error> {
    let strata = store::audit_frame::strata(connection, frame_id).await?;
    Ok(strata.into_iter().map(|(name, size, _)| (name, size.unsigned_abs())).collect())
}

fn places(row: &Row, sizes: &Counts) -> Counts {
    allocate(sizes, row.sample_size.unsigned_abs(), row.stratum_minimum.unsigned_abs())
}

/// How many claims of each drawn hospital are reviewed.
fn places_each(rules: &Rules, sample: &[Kept]) -> Counts {
    sample.iter().map(|(_, code)| (code.clone(), rules.claims_each())).collect()
}

/// A draw that goes on where another stood.
fn resumed(work: &Work, sizes: Counts, places: &Counts, kept: &[Kept]) -> Result<Draw, Error> {
    let mut draw = Draw::begin(&seed(work)?.0, sizes, places);
    for (stratum, key) in kept {
        draw.offer(stratum, key);
    }
    Ok(draw)
}

/// The claims that a draw by hospital came to.
fn wanted(draw: Draw) -> Result<Vec<Wanted>, Error> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for drawn in draw.finish() {
        let place = match wanted.last() {
            Some(before) if before.facility_code == drawn.stratum => before.place + 1,
            _ => 1,
        };
        let claim_id = Uuid::try_parse(&drawn.key).map_err(|_| Error::Unreadable("claim"))?;
        wanted.push(Wanted { facility_code: drawn.stratum, place, claim_id });
    }
    Ok(wanted)
}

fn claim_stratum(rules: &Rules, claim: &Settled) -> Result<String, Error> {
    let unreadable = || Error::Unreadable("claim");
    let letter = letter(&claim.letter)?;
    let data =
        claim.data.as_deref().map(pb::ClaimData::decode).and_then(Result::ok).ok_or_else(unreadable)?;
    let grouping =
        claim.grouping.as_deref().map(pb::Grouping::decode).and_then(Result::ok).ok_or_else(unreadable)?;
    let primary = Icd10::parse(&data.primary_diagnosis).map_err(|_| unreadable())?;
    rules
        .claim_stratum(&letter.hospital_class, &letter.province_code, grouping.severity, &primary)
        .ok_or_else(unreadable)
}

fn letter(encoded: &[u8]) -> Result<pb::Sep, Error> {
    pb::Sep::decode(encoded).map_err(|_| Error::Unreadable("SEP"))
}
