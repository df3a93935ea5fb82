//! Frames and samples: asked for, read, exported. How they are made stands in [`super::frame_work`].

use std::pin::Pin;

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write, page::Page, time};
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use proto::claims::v1 as pb;
use tonic::Status;
use uuid::Uuid;

use super::{Audits, claim_read::claim_id as id, optional, sep::next};
use crate::{
    error::{Error, audit::Refused},
    frame::{Header, Kind, Reading, line},
    frame_work::{Place, Stage, Stopped},
    quarter::Quarter,
    store::{
        self,
        audit_frame::{Period, Row},
        frame_work::Work,
    },
};

type Parts = Pin<Box<dyn Stream<Item = Result<pb::ExportFrameResponse, Status>> + Send>>;

/// Rows read at once: few enough that other calls need not wait long for the one thread of the service.
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
        let (number, quarter) = (kind as i16, quarter.to_string());
        let mut work = Work {
            frame_id: Uuid::now_v7(),
            kind: number,
            quarter,
            salt: [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat(),
            asked_by: call.caller.to_string(),
            asked_at: call.received_at,
            seed_source: message.seed_source.clone(),
            seed_at,
            seed: None,
            stage: Stage::Gathering as i16,
            rows_done: 0,
            place: written(&Place::default())?,
            stopped: None,
        };
        // First the work, then the frame: what is being published now is seen in the one or the other.
        let asked = store::frame_work::build(write.connection(), &work).await?;
        let known = store::audit_frame::of_quarter(write.connection(), number, &work.quarter).await?;
        let Some(frame_id) = asked.filter(|_| known.is_none()) else {
            let under_way = store::frame_work::of_quarter(write.connection(), number, &work.quarter).await?;
            return Err(Refused::FrameExists(known.or(under_way)).into());
        };
        if frame_id == work.frame_id {
            let first = store::audit_frame::settled(write.connection(), period(&work)?, None, 1).await?;
            if first.is_empty() {
                return Err(Refused::FrameEmpty.into());
            }
        } else {
            work = store::frame_work::get(write.connection(), frame_id).await?.ok_or(Refused::NoFrame)?;
        }
        let frame = Some(self.unpublished(&work)?);
        let answer = write.commit(pb::PublishFrameResponse { frame }).await?;
        self.wake.notify_one();
        Ok(answer)
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
        let row = store::audit_frame::lock(write.connection(), frame_id).await?;
        let Some(row) = row else {
            let under_way = store::frame_work::get(write.connection(), frame_id).await?;
            return Err(under_way.map_or(Refused::NoFrame, |_| Refused::FrameUnderWay).into());
        };
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

        let place = Place { reading: Some(begun(&header)?.mark()), ..Place::default() };
        let work = Work {
            frame_id,
            kind: row.kind,
            quarter: row.quarter.clone(),
            salt: row.salt.clone(),
            asked_by: call.caller.to_string(),
            asked_at: call.received_at,
            seed_source: row.seed_source.clone(),
            seed_at: row.seed_at,
            seed: Some((message.seed, published_at)),
            stage: Stage::Drawing as i16,
            rows_done: 0,
            place: written(&place)?,
            stopped: None,
        };
        if !store::frame_work::draw(write.connection(), &work).await? {
            return Err(Refused::FrameUnderWay.into());
        }
        let strata = store::audit_frame::strata(write.connection(), frame_id).await?;
        let frame = Some(shown(&row, strata, Some(&work)));
        let answer = write.commit(pb::DrawSampleResponse { frame }).await?;
        self.wake.notify_one();
        Ok(answer)
    }

    pub(super) async fn frame(
        &self,
        _call: &Call,
        message: pb::GetFrameRequest,
    ) -> Result<pb::GetFrameResponse, Error> {
        let mut fields = Fields::new();
        let Some(frame_id) = id(&mut fields, "frame_id", &message.frame_id) else {
            return Err(fields.into());
        };
        let pool = &self.db.pool;
        // First the work: when it ends between the two, the frame shows what it came to.
        let work = store::frame_work::get(pool, frame_id).await?;
        let frame = match (store::audit_frame::get(pool, frame_id).await?, work) {
            (Some(row), work) => {
                let work = work.filter(|_| row.draw.is_none());
                let strata = store::audit_frame::strata(pool, frame_id).await?;
                shown(&row, strata, work.filter(|work| work.seed.is_some()).as_ref())
            }
            (None, Some(work)) => self.unpublished(&work)?,
            (None, None) => return Err(Refused::NoFrame.into()),
        };
        Ok(pb::GetFrameResponse { frame: Some(frame) })
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
        let frames = rows.iter().map(|row| shown(row, Vec::new(), None)).collect();
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
        let Some(draw) = row.draw else {
            let work = store::frame_work::get(&self.db.pool, row.frame_id).await?;
            return Err(match work {
                Some(work) if work.stopped == Some(Stopped::Altered as i16) => Refused::FrameAltered,
                Some(work) if work.stopped.is_none() => Refused::FrameUnderWay,
                _ => Refused::SampleMissing,
            }
            .into());
        };
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
        if let Some(row) = store::audit_frame::get(&self.db.pool, frame_id).await? {
            return Ok(row);
        }
        let under_way = store::frame_work::get(&self.db.pool, frame_id).await?;
        Err(under_way.map_or(Refused::NoFrame, |_| Refused::FrameUnderWay).into())
    }

    /// A frame that is being built, for the wire.
    fn unpublished(&self, work: &Work) -> Result<pb::AuditFrame, Error> {
        let kind = Kind::of(work.kind).ok_or(Error::Unreadable("audit frame"))?;
        let rules = self.policies.audit.on(quarter(work)?.last())?;
        let (size, minimum) = rules.sample(kind);
        Ok(pb::AuditFrame {
            frame_id: work.frame_id.to_string(),
            kind: work.kind.into(),
            quarter: work.quarter.clone(),
            policy_version: rules.effective_from.to_string(),
            sample_size: signed(size),
            stratum_minimum: signed(minimum),
            published_by: work.asked_by.clone(),
            seed_source: work.seed_source.clone(),
            seed_at: Some(time::to_proto(work.seed_at)),
            work: Some(shown_work(work)),
            ..pb::AuditFrame::default()
        })
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
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn quarter(work: &Work) -> Result<Quarter, Error> {
    Quarter::parse(&work.quarter).map_err(|_| Error::Unreadable("audit frame"))
}

pub(super) fn period(work: &Work) -> Result<Period, Error> {
    let quarter = quarter(work)?;
    let start = |day| time::start_of(day).ok_or(Error::Unreadable("quarter"));
    Ok(Period { from: start(quarter.first())?, before: start(quarter.end())? })
}

/// A place as it is stored.
pub(super) fn written(place: &Place) -> Result<serde_json::Value, Error> {
    serde_json::to_value(place).map_err(|_| Error::Unreadable("work on an audit frame"))
}

/// The file of a frame, read until above its rows.
pub(super) fn begun(header: &Header) -> Result<Reading, Error> {
    let mut reading = Reading::begin();
    for line in header.text().split_inclusive('\n') {
        reading.take(line).map_err(|_| Error::Unreadable("audit frame"))?;
    }
    Ok(reading)
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

/// The frame as it was just written, for the wire: read again, so that the answer is what others read later.
pub(super) async fn stored(write: &mut Write, frame_id: Uuid) -> Result<pb::AuditFrame, Error> {
    let row = store::audit_frame::get(write.connection(), frame_id).await?.ok_or(Refused::NoFrame)?;
    Ok(shown(&row, store::audit_frame::strata(write.connection(), frame_id).await?, None))
}

fn shown_work(work: &Work) -> pb::AuditFrameWork {
    pb::AuditFrameWork {
        stage: work.stage.into(),
        rows_done: work.rows_done,
        stopped: work.stopped.unwrap_or_default().into(),
    }
}

/// A frame for the wire.
fn shown(row: &Row, strata: Vec<(String, i64, i64)>, work: Option<&Work>) -> pb::AuditFrame {
    pb::AuditFrame {
        work: work.map(shown_work),
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
