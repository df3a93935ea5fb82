//! Frames and samples: published, drawn from, read, exported.

use std::pin::Pin;

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use prost::Message as _;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;
use vocabulary::Icd10;

use super::{Audits, claim_read::claim_id as id, optional, sep::next};
use crate::{
    audit::Rules,
    draw::{Counts, Draw, Drawn, allocate, list},
    error::{Error, audit::Refused},
    frame::{Frame, Header, Kind, Mistake, Reading, line, pseudonym, sha256},
    quarter::Quarter,
    store::{
        self,
        audit_frame::{NewRows, Period, Row, Settled},
        coding_review::Wanted,
    },
};

type Parts = Pin<Box<dyn Stream<Item = Result<pb::ExportFrameResponse, Status>> + Send>>;

/// Rows read or written at once: few enough that other calls need not wait long for the one thread of the service.
const PAGE: i64 = 1000;

impl Audits {
    pub(super) async fn publish(
        &self,
        call: &Call,
        message: pb::PublishFrameRequest,
    ) -> Result<pb::PublishFrameResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let kind = kind_of(message.kind());
        fields.require("kind", kind.is_some(), "AUDIT_FRAME_KIND_CLAIMS or AUDIT_FRAME_KIND_HOSPITALS");
        let quarter = fields.parse("quarter", Quarter::parse(&message.quarter));
        let seed_at = whole_seconds(&mut fields, message.seed_at.as_ref());
        if let Some(Ok(rules)) = quarter.map(|quarter| self.policies.audit.on(quarter.last())) {
            let known = rules.seed_source(&message.seed_source).is_some();
            fields.require("seed_source", known, format!("one of: {}", rules.seed_source_names()));
        }
        let (Some(request_id), Some(kind), Some(quarter), Some(seed_at)) =
            (request_id, kind, quarter, seed_at)
        else {
            return Err(fields.into());
        };
        fields.checked()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let rules = self.policies.audit.on(quarter.last())?;
        let earliest = rules.publishable_from(quarter);
        if call.today < earliest {
            return Err(Refused::QuarterNotOver(earliest).into());
        }
        let (from, to) = rules.seed_window(call.received_at);
        let mut fields = Fields::new();
        fields.require("seed_at", (from..=to).contains(&seed_at), format!("must lie from {from} to {to}"));
        fields.checked()?;
        let known = store::audit_frame::of_quarter(write.connection(), kind as i16, &message.quarter).await?;
        if known.is_some() {
            return Err(Refused::FrameExists(known).into());
        }

        let frame_id = Uuid::now_v7();
        let salt = [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let period = period(quarter)?;
        let rows = match kind {
            Kind::Claims => add_claims(write.connection(), frame_id, &salt, period, rules).await?,
            Kind::Hospitals => add_hospitals(write.connection(), frame_id, period, rules).await?,
        };
        if rows == 0 {
            return Err(Refused::FrameEmpty.into());
        }
        let (size, minimum) = rules.sample(kind);
        let header = Header { kind, quarter, policy: rules.effective_from, size, minimum, rows };
        let whole = scan(write.connection(), frame_id, &header, |_, _| ()).await?;
        let whole = whole.map_err(|_| Error::Unreadable("audit frame"))?;
        let row = Row {
            frame_id,
            kind: kind as i16,
            quarter: quarter.to_string(),
            policy_from: rules.effective_from,
            sample_size: signed(size),
            stratum_minimum: signed(minimum),
            row_count: signed(rows),
            frame_hash: whole.hash,
            salt,
            published_at: call.received_at,
            published_by: call.caller.to_string(),
            seed_source: message.seed_source.clone(),
            seed_at,
            draw: None,
        };
        store::audit_frame::create(write.connection(), &row, &whole.sizes).await?;
        let event = pb::AuditFramePublished {
            frame_id: frame_id.to_string(),
            kind: message.kind,
            quarter: row.quarter.clone(),
            frame_hash: row.frame_hash.clone(),
            rows: row.row_count,
            seed_source: row.seed_source.clone(),
            seed_at: seed_at.to_string(),
        };
        write.emit(&event.frame_id, &event).await?;
        let frame = Some(stored(&mut write, frame_id).await?);
        Ok(write.commit(pb::PublishFrameResponse { frame }).await?)
    }

    pub(super) async fn draw(
        &self,
        call: &Call,
        message: pb::DrawSampleRequest,
    ) -> Result<pb::DrawSampleResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let frame_id = id(&mut fields, "frame_id", &message.frame_id);
        fields.require("seed", !message.seed.is_empty(), "must be the value of the announced source");
        let published_at = message.seed_published_at.as_ref().and_then(time::from_proto);
        fields.require("seed_published_at", published_at.is_some(), "must be set");
        let (Some(request_id), Some(frame_id), Some(published_at)) = (request_id, frame_id, published_at)
        else {
            return Err(fields.into());
        };
        fields.checked()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let row = store::audit_frame::lock(write.connection(), frame_id).await?.ok_or(Refused::NoFrame)?;
        if row.draw.is_some() {
            return Err(Refused::SampleExists.into());
        }
        if call.received_at < row.seed_at {
            return Err(Refused::SeedNotYet(row.seed_at).into());
        }
        let header = header(&row)?;
        let rules = self.policies.audit.on(header.quarter.last())?;
        let source = rules.seed_source(&row.seed_source).ok_or(Error::Unreadable("audit frame"))?;
        let mut fields = Fields::new();
        let digits = source.digits();
        fields.require(
            "seed",
            source.is_value(&message.seed),
            format!("must be {digits} lower-case hexadecimal digits"),
        );
        fields.require(
            "seed_published_at",
            source.is_first(row.seed_at, published_at) && published_at <= call.received_at,
            "must be the time of the first value at the announced instant or later",
        );
        fields.checked()?;

        let sample = sample(write.connection(), &row, &header, &message.seed).await?;
        let draw = store::audit_frame::Draw {
            seed: message.seed.clone(),
            seed_published_at: published_at,
            drawn_at: call.received_at,
            drawn_by: call.caller.to_string(),
            drawn: signed(sample.len() as u64),
            sample_hash: sha256(&list(&row.frame_hash, &message.seed, &sample)),
        };
        store::audit_frame::keep_sample(write.connection(), frame_id, &draw, &sample).await?;
        match header.kind {
            Kind::Claims => {
                let ids: Vec<Uuid> = sample.iter().map(|_| Uuid::now_v7()).collect();
                let registered =
                    store::audit::register(write.connection(), frame_id, &ids, call.received_at).await?;
                if registered != ids.len() as u64 {
                    return Err(Error::Unreadable("audit sample"));
                }
            }
            Kind::Hospitals => {
                want_reviews(&mut write, frame_id, &header, rules, &draw.seed, &sample).await?
            }
        }
        let event = pb::AuditSampleDrawn {
            frame_id: frame_id.to_string(),
            kind: row.kind.into(),
            quarter: row.quarter.clone(),
            frame_hash: row.frame_hash.clone(),
            seed: draw.seed.clone(),
            drawn: draw.drawn,
            sample_hash: draw.sample_hash.clone(),
        };
        write.emit(&event.frame_id, &event).await?;
        let frame = Some(stored(&mut write, frame_id).await?);
        Ok(write.commit(pb::DrawSampleResponse { frame }).await?)
    }

    pub(super) async fn frame(
        &self,
        _call: &Call,
        message: pb::GetFrameRequest,
    ) -> Result<pb::GetFrameResponse, Error> {
        let row = self.frame_named(&message.frame_id).await?;
        let strata = store::audit_frame::strata(&self.db.pool, row.frame_id).await?;
        Ok(pb::GetFrameResponse { frame: Some(shown(&row, strata)) })
    }

    pub(super) async fn frames(
        &self,
        _call: &Call,
        message: pb::ListFramesRequest,
    ) -> Result<pb::ListFramesResponse, Error> {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, message.page_size, &message.page_token);
        let after = page.after.as_deref().and_then(|key| id(&mut fields, "page_token", key));
        let known = pb::AuditFrameKind::try_from(message.kind);
        fields.require("kind", known.is_ok(), "a value of AuditFrameKind, or unspecified for both");
        let kind = known.ok().and_then(kind_of).map(|kind| kind as i16);
        let quarter = optional(&mut fields, "quarter", &message.quarter, Quarter::parse);
        fields.checked()?;
        let quarter = quarter.map(|quarter| quarter.to_string());
        let pool = &self.db.pool;
        let mut rows = store::audit_frame::list(pool, kind, quarter.as_deref(), after, page.size + 1).await?;
        let next_page_token = next(&mut rows, page.size, |row| row.frame_id.to_string());
        let frames = rows.iter().map(|row| shown(row, Vec::new())).collect();
        Ok(pb::ListFramesResponse { frames, next_page_token })
    }

    pub(super) async fn export(&self, _call: &Call, message: pb::ExportFrameRequest) -> Result<Parts, Error> {
        let row = self.frame_named(&message.frame_id).await?;
        let (pool, frame_id) = (self.db.pool.clone(), row.frame_id);
        let above = pb::ExportFrameResponse { text: header(&row)?.text() };
        let rows = stream::try_unfold(String::new(), move |after| {
            let pool = pool.clone();
            async move {
                let rows = store::audit_frame::rows(&pool, frame_id, &after, PAGE).await;
                let rows = rows.map_err(|error| Status::from(Error::from(error)))?;
                let Some((last, _)) = rows.last() else { return Ok(None) };
                let last = last.clone();
                let text = rows.iter().map(|(key, stratum)| line(key, stratum)).collect();
                Ok(Some((pb::ExportFrameResponse { text }, last)))
            }
        });
        Ok(Box::pin(stream::iter([Ok(above)]).chain(rows)))
    }

    pub(super) async fn sample(
        &self,
        _call: &Call,
        message: pb::GetSampleRequest,
    ) -> Result<pb::GetSampleResponse, Error> {
        let row = self.frame_named(&message.frame_id).await?;
        let draw = row.draw.ok_or(Refused::SampleMissing)?;
        let sample = store::audit_frame::sample(&self.db.pool, row.frame_id).await?;
        let rows = sample.into_iter().zip(1..).map(|(drawn, place)| pb::AuditSampleRow {
            place,
            weight: drawn.weight(),
            stratum_size: signed(drawn.stratum_size),
            stratum_drawn: signed(drawn.stratum_drawn),
            key: drawn.key,
            stratum: drawn.stratum,
        });
        Ok(pb::GetSampleResponse { rows: rows.collect(), sample_hash: draw.sample_hash })
    }

    pub(super) async fn frame_named(&self, given: &str) -> Result<Row, Error> {
        let mut fields = Fields::new();
        let Some(frame_id) = id(&mut fields, "frame_id", given) else { return Err(fields.into()) };
        Ok(store::audit_frame::get(&self.db.pool, frame_id).await?.ok_or(Refused::NoFrame)?)
    }
}

fn kind_of(kind: pb::AuditFrameKind) -> Option<Kind> {
    match kind {
        pb::AuditFrameKind::Unspecified => None,
        pb::AuditFrameKind::Claims => Some(Kind::Claims),
        pb::AuditFrameKind::Hospitals => Some(Kind::Hospitals),
    }
}

fn whole_seconds(fields: &mut Fields, given: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let instant = given.and_then(time::from_proto).filter(|instant| instant.subsec_nanosecond() == 0);
    fields.require("seed_at", instant.is_some(), "must be set, in whole seconds");
    instant
}

/// Counts are far below what a column holds.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn period(quarter: Quarter) -> Result<Period, Error> {
    let start = |day| time::start_of(day).ok_or(Error::Unreadable("quarter"));
    Ok(Period { from: start(quarter.first())?, before: start(quarter.end())? })
}

/// What stands above the rows of a stored frame.
fn header(row: &Row) -> Result<Header, Error> {
    let unreadable = || Error::Unreadable("audit frame");
    Ok(Header {
        kind: Kind::of(row.kind).ok_or_else(unreadable)?,
        quarter: Quarter::parse(&row.quarter).map_err(|_| unreadable())?,
        policy: row.policy_from,
        size: row.sample_size.unsigned_abs(),
        minimum: row.stratum_minimum.unsigned_abs(),
        rows: row.row_count.unsigned_abs(),
    })
}

/// Reads the file of a frame as it would be exported, and shows each row, stratum first.
async fn scan(
    connection: &mut PgConnection,
    frame_id: Uuid,
    header: &Header,
    mut each: impl FnMut(&str, &str),
) -> Result<Result<Frame, Mistake>, Error> {
    let mut reading = Reading::begin();
    for line in header.text().split_inclusive('\n') {
        if let Err(mistake) = reading.take(line) {
            return Ok(Err(mistake));
        }
    }
    let mut after = String::new();
    loop {
        let rows = store::audit_frame::rows(&mut *connection, frame_id, &after, PAGE).await?;
        let Some((last, _)) = rows.last() else { return Ok(reading.finish()) };
        after.clone_from(last);
        for (key, stratum) in &rows {
            if let Err(mistake) = reading.take(&line(key, stratum)) {
                return Ok(Err(mistake));
            }
            each(stratum, key);
        }
    }
}

/// Writes a row for each claim that became paid in a period, and gives how many they are.
async fn add_claims(
    connection: &mut PgConnection,
    frame_id: Uuid,
    salt: &[u8],
    period: Period,
    rules: &Rules,
) -> Result<u64, Error> {
    let mut count = 0;
    let mut after = None;
    loop {
        let settled = store::audit_frame::settled(connection, period, after, PAGE).await?;
        let Some(last) = settled.last() else { return Ok(count) };
        after = Some((last.paid_at, last.claim_id));
        let mut rows = NewRows::default();
        for claim in &settled {
            rows.keys.push(pseudonym(salt, claim.claim_id));
            rows.strata.push(claim_stratum(rules, claim)?);
            rows.claims.push(Some(claim.claim_id));
        }
        store::audit_frame::add_rows(connection, frame_id, &rows).await?;
        count += rows.keys.len() as u64;
    }
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

/// Writes a row for each hospital with a claim that became paid in a period, and gives how many they are.
async fn add_hospitals(
    connection: &mut PgConnection,
    frame_id: Uuid,
    period: Period,
    rules: &Rules,
) -> Result<u64, Error> {
    let mut rows = NewRows::default();
    for (facility_code, encoded) in store::audit_frame::hospitals(connection, period).await? {
        let letter = letter(&encoded)?;
        let stratum = rules.hospital_stratum(&letter.hospital_class, &letter.province_code);
        rows.keys.push(facility_code);
        rows.strata.push(stratum.ok_or(Error::Unreadable("SEP"))?);
        rows.claims.push(None);
    }
    store::audit_frame::add_rows(connection, frame_id, &rows).await?;
    Ok(rows.keys.len() as u64)
}

/// Draws from a stored frame, if its rows are still those that were published.
async fn sample(
    connection: &mut PgConnection,
    row: &Row,
    header: &Header,
    seed: &str,
) -> Result<Vec<Drawn>, Error> {
    let strata = store::audit_frame::strata(&mut *connection, row.frame_id).await?;
    let sizes: Counts = strata.into_iter().map(|(name, size, _)| (name, size.unsigned_abs())).collect();
    let places = allocate(&sizes, header.size, header.minimum);
    let mut draw = Draw::begin(seed, sizes.clone(), &places);
    let whole = scan(connection, row.frame_id, header, |stratum, key| draw.offer(stratum, key)).await?;
    match whole {
        Ok(whole) if whole.hash == row.frame_hash && whole.sizes == sizes => Ok(draw.finish()),
        _ => Err(Refused::FrameAltered.into()),
    }
}

/// Draws the claims of the drawn hospitals whose coding is reviewed, by the same seed and the same rank: the key is the id
/// of the claim, which those who may see it can list.
async fn want_reviews(
    write: &mut Write,
    frame_id: Uuid,
    header: &Header,
    rules: &Rules,
    seed: &str,
    sample: &[Drawn],
) -> Result<(), Error> {
    let period = period(header.quarter)?;
    let facilities: Vec<String> = sample.iter().map(|hospital| hospital.key.clone()).collect();
    let places: Counts = facilities.iter().map(|code| (code.clone(), rules.claims_each())).collect();
    let mut draw = Draw::begin(seed, Counts::new(), &places);
    let mut after = Uuid::nil();
    loop {
        let claims =
            store::audit_frame::claims_of(write.connection(), period, &facilities, after, PAGE).await?;
        let Some((last, _)) = claims.last() else { break };
        after = *last;
        for (claim_id, facility_code) in claims {
            draw.offer(&facility_code, &claim_id.to_string());
        }
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for drawn in draw.finish() {
        let place = match wanted.last() {
            Some(before) if before.facility_code == drawn.stratum => before.place + 1,
            _ => 1,
        };
        let claim_id = Uuid::try_parse(&drawn.key).map_err(|_| Error::Unreadable("claim"))?;
        wanted.push(Wanted { facility_code: drawn.stratum, place, claim_id });
    }
    Ok(store::coding_review::register(write.connection(), frame_id, &wanted).await?)
}

/// The frame as it was just written, for the wire: read again, so that the answer is what others read later.
async fn stored(write: &mut Write, frame_id: Uuid) -> Result<pb::AuditFrame, Error> {
    let row = store::audit_frame::get(write.connection(), frame_id).await?.ok_or(Refused::NoFrame)?;
    Ok(shown(&row, store::audit_frame::strata(write.connection(), frame_id).await?))
}

/// A frame for the wire.
fn shown(row: &Row, strata: Vec<(String, i64, i64)>) -> pb::AuditFrame {
    pb::AuditFrame {
        frame_id: row.frame_id.to_string(),
        kind: row.kind.into(),
        quarter: row.quarter.clone(),
        policy_version: row.policy_from.to_string(),
        sample_size: row.sample_size,
        stratum_minimum: row.stratum_minimum,
        rows: row.row_count,
        frame_hash: row.frame_hash.clone(),
        published_at: Some(time::to_proto(row.published_at)),
        published_by: row.published_by.clone(),
        seed_source: row.seed_source.clone(),
        seed_at: Some(time::to_proto(row.seed_at)),
        draw: row.draw.as_ref().map(|draw| pb::AuditDraw {
            seed: draw.seed.clone(),
            seed_published_at: Some(time::to_proto(draw.seed_published_at)),
            drawn_at: Some(time::to_proto(draw.drawn_at)),
            drawn_by: draw.drawn_by.clone(),
            drawn: draw.drawn,
            sample_hash: draw.sample_hash.clone(),
        }),
        strata: strata
            .into_iter()
            .map(|(name, size, drawn)| pb::AuditStratum { name, size, drawn })
            .collect(),
    }
}
