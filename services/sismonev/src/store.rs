//! All SQL: folding writes counters, facts and proofs; queries read them as of an instant.
//!
//! Dates and instants go in as arrays of text and are cast: one statement takes a whole batch of events.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use crate::{
    count::{Counter, FacilityVersion, Fact, Kind, Memory, Subject},
    indicator::Cell,
    pending::{Spell, Waiting, Window},
    roadmap::{Edge, Proof, Sighting, joined},
};

/// The channel on which a committed fold tells that figures moved.
pub const MOVED: &str = "sismonev_moved";

/// Exchanges of an edge that are kept as evidence.
const KEPT_EVIDENCE: i64 = 100;

/// What is remembered of the subjects; those without a row stay out.
pub async fn recall(connection: &mut PgConnection, keys: &[(Kind, String)]) -> sqlx::Result<Memory> {
    let kinds: Vec<String> = keys.iter().map(|(kind, _)| kind.name().to_owned()).collect();
    let ids: Vec<String> = keys.iter().map(|(_, id)| id.clone()).collect();
    let rows = sqlx::query!(
        r#"select k.ordinal as "ordinal!", s.day, s.ended, s.facility_code, s.segment, s.care_type, s.rupiah
        from unnest($1::text[], $2::text[]) with ordinality as k (kind, id, ordinal)
        join subject s on s.kind = k.kind and s.id = k.id"#,
        &kinds,
        &ids
    )
    .fetch_all(connection)
    .await?;
    let mut memory = Memory::new();
    for row in rows {
        let subject = Subject {
            day: row.day.to_jiff(),
            ended: row.ended.map(|day| day.to_jiff()),
            facility: row.facility_code,
            segment: row.segment,
            care_type: row.care_type,
            rupiah: row.rupiah,
        };
        if let Some(key) = usize::try_from(row.ordinal - 1).ok().and_then(|index| keys.get(index)) {
            memory.insert(key.clone(), Some(subject));
        }
    }
    Ok(memory)
}

/// Writes back what is remembered.
pub async fn remember(connection: &mut PgConnection, memory: &Memory) -> sqlx::Result<()> {
    let mut columns: [Vec<String>; 7] = Default::default();
    let (mut rupiah, mut gone) = (Vec::new(), (Vec::new(), Vec::new()));
    for ((kind, id), subject) in memory {
        let Some(subject) = subject else {
            gone.0.push(kind.name().to_owned());
            gone.1.push(id.clone());
            continue;
        };
        let values = [
            kind.name().to_owned(),
            id.clone(),
            subject.day.to_string(),
            subject.ended.map_or_else(String::new, |day| day.to_string()),
            subject.facility.clone(),
            subject.segment.clone(),
            subject.care_type.clone(),
        ];
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
        rupiah.push(subject.rupiah);
    }
    let [kinds, ids, days, ends, facilities, segments, care_types] = &columns;
    sqlx::query!(
        "insert into subject (kind, id, day, ended, facility_code, segment, care_type, rupiah)
        select kind, id, day::date, nullif(ended, '')::date, facility_code, segment, care_type, rupiah
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
            as s (kind, id, day, ended, facility_code, segment, care_type, rupiah)
        on conflict (kind, id) do update set day = excluded.day, ended = excluded.ended,
            facility_code = excluded.facility_code, segment = excluded.segment, care_type = excluded.care_type,
            rupiah = excluded.rupiah",
        kinds,
        ids,
        days,
        ends,
        facilities,
        segments,
        care_types,
        &rupiah
    )
    .execute(&mut *connection)
    .await?;
    if !gone.0.is_empty() {
        sqlx::query!(
            "delete from subject using unnest($1::text[], $2::text[]) as gone (kind, id)
            where subject.kind = gone.kind and subject.id = gone.id",
            &gone.0,
            &gone.1
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Writes facts and adds them to the day counters.
pub async fn add_facts(connection: &mut PgConnection, source: &str, facts: &[Fact]) -> sqlx::Result<()> {
    let mut columns: [Vec<String>; 8] = Default::default();
    let (mut positions, mut ordinals, mut cases, mut rupiah) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, fact) in facts.iter().enumerate() {
        let subject = &fact.delta.subject;
        let values = [
            fact.delta.counter.name().to_owned(),
            subject.day.to_string(),
            subject.ended.map_or_else(String::new, |day| day.to_string()),
            subject.facility.clone(),
            subject.segment.clone(),
            subject.care_type.clone(),
            fact.occurred_at.to_string(),
            chassis::time::today_at(fact.occurred_at).to_string(),
        ];
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
        positions.push(fact.position);
        ordinals.push(i32::try_from(index).unwrap_or(i32::MAX));
        cases.push(fact.delta.cases);
        rupiah.push(fact.delta.cases * subject.rupiah);
    }
    let [measures, days, ends, facilities, segments, care_types, instants, known_days] = &columns;
    sqlx::query!(
        "insert into fact (source, position, ordinal, measure, day, ended, facility_code, segment, care_type,
            occurred_at, known_day, cases, rupiah)
        select $1, position, ordinal, measure, day::date, nullif(ended, '')::date, facility_code, segment,
            care_type, occurred_at::timestamptz, known_day::date, cases, rupiah
        from unnest($2::bigint[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[])
            as f (position, ordinal, measure, day, ended, facility_code, segment, care_type, occurred_at, known_day,
                cases, rupiah)",
        source,
        &positions,
        &ordinals,
        measures,
        days,
        ends,
        facilities,
        segments,
        care_types,
        instants,
        known_days,
        &cases,
        &rupiah
    )
    .execute(&mut *connection)
    .await?;
    // Summed and in order: each counter is written once, and two folds lock them in the same sequence.
    sqlx::query!(
        "insert into day_counter (measure, day, ended, facility_code, segment, care_type, known_day, cases, rupiah)
        select measure, day::date, nullif(ended, '')::date, facility_code, segment, care_type, known_day::date,
            sum(cases), sum(rupiah)
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::bigint[])
            as f (measure, day, ended, facility_code, segment, care_type, known_day, cases, rupiah)
        group by measure, day, ended, facility_code, segment, care_type, known_day
        order by measure, day, ended, facility_code, segment, care_type, known_day
        on conflict on constraint day_counter_cell do update
            set cases = day_counter.cases + excluded.cases, rupiah = day_counter.rupiah + excluded.rupiah",
        measures,
        days,
        ends,
        facilities,
        segments,
        care_types,
        known_days,
        &cases,
        &rupiah
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(r#"select pg_notify($1, '') as "void!: ()""#, MOVED).execute(connection).await?;
    Ok(())
}

/// Writes what the registry of facilities told.
pub async fn add_facilities(connection: &mut PgConnection, seen: &[FacilityVersion]) -> sqlx::Result<()> {
    let column = |field: fn(&FacilityVersion) -> String| seen.iter().map(field).collect::<Vec<String>>();
    sqlx::query!(
        "insert into facility_version (facility_code, known_at, province, facility_class)
        select distinct on (code, known_at) code, known_at::timestamptz, province, class
        from unnest($1::text[], $2::text[], $3::text[], $4::text[]) with ordinality
            as f (code, known_at, province, class, ordinal)
        order by code, known_at, ordinal desc
        on conflict (facility_code, known_at) do update
            set province = excluded.province, facility_class = excluded.facility_class",
        &column(|f| f.code.clone()),
        &column(|f| f.known_at.to_string()),
        &column(|f| f.province.clone()),
        &column(|f| f.class.clone())
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(r#"select pg_notify($1, '') as "void!: ()""#, MOVED).execute(connection).await?;
    Ok(())
}

struct Evidence {
    edge: String,
    id: String,
    event: String,
    seen_at: Timestamp,
}

/// Writes what proves the edges of the roadmap, and joins halves to whole proofs.
pub async fn add_sightings(connection: &mut PgConnection, sightings: &[Sighting]) -> sqlx::Result<()> {
    // Two feeds may bring the two halves of a proof at the same time: one fold waits for the other, so that the
    // second sees the first one's half.
    sqlx::query!(r#"select pg_advisory_xact_lock(hashtext('edge_side')) as "void!: ()""#)
        .execute(&mut *connection)
        .await?;
    let mut evidence = Vec::new();
    let mut columns: [Vec<String>; 6] = Default::default();
    for Sighting { proof, event, seen_at } in sightings {
        match proof {
            Proof::Whole { edge, evidence: id } => evidence.push(Evidence {
                edge: edge.name().to_owned(),
                id: id.clone(),
                event: event.clone(),
                seen_at: *seen_at,
            }),
            Proof::Half { edge, side, reference, evidence } => {
                let values = [
                    edge.name().to_owned(),
                    side.name().to_owned(),
                    reference.clone(),
                    evidence.clone(),
                    seen_at.to_string(),
                    event.clone(),
                ];
                for (column, value) in columns.iter_mut().zip(values) {
                    column.push(value);
                }
            }
        }
    }
    let [edges, sides, references, halves, instants, events] = &columns;
    let fresh = sqlx::query!(
        "insert into edge_side (edge, side, reference, evidence, seen_at, event)
        select edge, side, reference, evidence, seen_at::timestamptz, event
        from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
            as s (edge, side, reference, evidence, seen_at, event)
        on conflict (edge, reference, side) do nothing
        returning edge, reference",
        edges,
        sides,
        references,
        halves,
        instants,
        events
    )
    .fetch_all(&mut *connection)
    .await?;
    let (edges, references): (Vec<_>, Vec<_>) =
        fresh.into_iter().map(|row| (row.edge, row.reference)).unzip();
    let whole = sqlx::query!(
        r#"select distinct g.edge, g.evidence as given, t.evidence as taken,
            greatest(g.seen_at, t.seen_at) as "seen_at!",
            case when g.seen_at > t.seen_at then g.event else t.event end as "event!"
        from unnest($1::text[], $2::text[]) as fresh (edge, reference)
        join edge_side g on g.edge = fresh.edge and g.reference = fresh.reference and g.side = 'given'
        join edge_side t on t.edge = fresh.edge and t.reference = fresh.reference and t.side = 'taken'"#,
        &edges,
        &references
    )
    .fetch_all(&mut *connection)
    .await?;
    evidence.extend(whole.into_iter().map(|row| Evidence {
        id: joined(&row.given, &row.taken),
        edge: row.edge,
        event: row.event,
        seen_at: row.seen_at.to_jiff(),
    }));
    add_evidence(connection, &evidence).await
}

async fn add_evidence(connection: &mut PgConnection, evidence: &[Evidence]) -> sqlx::Result<()> {
    let column = |field: fn(&Evidence) -> String| evidence.iter().map(field).collect::<Vec<String>>();
    sqlx::query!(
        "with added as (
            insert into edge_evidence (edge, evidence_id, event, seen_at)
            select edge, evidence_id, event, seen_at::timestamptz
            from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as e (edge, evidence_id, event, seen_at)
            on conflict (edge, evidence_id) do nothing
            returning edge, seen_at
        )
        insert into edge (edge, exchanges, last_seen)
        select edge, count(*), max(seen_at) from added group by edge order by edge
        on conflict (edge) do update set exchanges = edge.exchanges + excluded.exchanges,
            last_seen = greatest(edge.last_seen, excluded.last_seen)",
        &column(|e| e.edge.clone()),
        &column(|e| e.id.clone()),
        &column(|e| e.event.clone()),
        &column(|e| e.seen_at.to_string())
    )
    .execute(&mut *connection)
    .await?;
    for edge in Edge::ALL {
        sqlx::query!(
            "delete from edge_evidence where edge = $1 and seen_at < (
                select seen_at from edge_evidence where edge = $1 order by seen_at desc offset $2 limit 1)",
            edge.name(),
            KEPT_EVIDENCE
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The cases of a counter with a day in the window, as known at `as_of`. `first` none: with any day up to its end.
pub async fn cases(
    connection: &mut PgConnection,
    counter: Counter,
    first: Option<Date>,
    last: Date,
    as_of: Timestamp,
) -> sqlx::Result<Vec<(Cell, i64)>> {
    let rows = sqlx::query!(
        r#"select coalesce(v.province, '') as "province!", coalesce(v.facility_class, '') as "facility_class!",
            c.segment as "segment!", c.care_type as "care_type!", sum(c.cases)::bigint as "cases!"
        from (
            select facility_code, segment, care_type, sum(cases) as cases
            from (
                select facility_code, segment, care_type, cases from day_counter
                where measure = $1 and day between $2 and $3 and known_day < $4
                union all
                select facility_code, segment, care_type, cases from fact
                where measure = $1 and day between $2 and $3 and known_day = $4 and occurred_at <= $5
            ) as known
            group by facility_code, segment, care_type
        ) as c
        left join lateral (
            select province, facility_class from facility_version
            where facility_version.facility_code = c.facility_code and known_at <= $5
            order by known_at desc limit 1
        ) as v on true
        group by 1, 2, 3, 4"#,
        counter.name(),
        first.unwrap_or(Date::constant(1, 1, 1)).to_sqlx(),
        last.to_sqlx(),
        chassis::time::today_at(as_of).to_sqlx(),
        as_of.to_sqlx()
    )
    .fetch_all(connection)
    .await?;
    let cells = rows.into_iter().map(|row| {
        let cell = Cell {
            province: row.province,
            segment: row.segment,
            facility_class: row.facility_class,
            care_type: row.care_type,
        };
        (cell, row.cases)
    });
    Ok(cells.collect())
}

/// The claims that were open in the window, as known at `as_of`.
pub async fn claims(
    connection: &mut PgConnection,
    window: Window,
    as_of: Timestamp,
) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        r#"select coalesce(v.province, '') as "province!", coalesce(v.facility_class, '') as "facility_class!",
            c.segment as "segment!", c.care_type as "care_type!", c.day as "day!", c.ended as "ended?",
            sum(c.cases)::bigint as "cases!", sum(c.rupiah)::bigint as "rupiah!"
        from (
            select facility_code, segment, care_type, day, ended, sum(cases) as cases, sum(rupiah) as rupiah
            from (
                select facility_code, segment, care_type, day, ended, cases, rupiah from day_counter
                where measure = $1 and day <= $2 and (ended is null or ended >= $3) and known_day < $4
                union all
                select facility_code, segment, care_type, day, ended, cases, rupiah from fact
                where measure = $1 and day <= $2 and (ended is null or ended >= $3) and known_day = $4
                    and occurred_at <= $5
            ) as known
            group by facility_code, segment, care_type, day, ended
        ) as c
        left join lateral (
            select province, facility_class from facility_version
            where facility_version.facility_code = c.facility_code and known_at <= $5
            order by known_at desc limit 1
        ) as v on true
        where c.cases <> 0
        group by 1, 2, 3, 4, 5, 6"#,
        Counter::Claims.name(),
        window.last.to_sqlx(),
        window.first.to_sqlx(),
        chassis::time::today_at(as_of).to_sqlx(),
        as_of.to_sqlx()
    )
    .fetch_all(connection)
    .await?;
    let waiting = rows.into_iter().map(|row| Waiting {
        cell: Cell {
            province: row.province,
            segment: row.segment,
            facility_class: row.facility_class,
            care_type: row.care_type,
        },
        spell: Spell { start: row.day.to_jiff(), end: row.ended.map(|day| day.to_jiff()) },
        cases: row.cases,
        rupiah: row.rupiah,
    });
    Ok(waiting.collect())
}

/// How far each feed was folded, by name.
pub async fn folded(connection: &mut PgConnection) -> sqlx::Result<BTreeMap<String, i64>> {
    let rows = sqlx::query!("select source, position from consumer_position").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.source, row.position)).collect())
}

/// An edge as its traffic shows it.
#[derive(Clone, Debug)]
pub struct SeenEdge {
    /// Exchanges so far.
    pub exchanges: i64,
    /// When the last one happened.
    pub last_seen: Timestamp,
}

/// What was seen of an edge; none when nothing was.
pub async fn edge(connection: &mut PgConnection, edge: Edge) -> sqlx::Result<Option<SeenEdge>> {
    let row = sqlx::query!("select exchanges, last_seen from edge where edge = $1", edge.name())
        .fetch_optional(connection)
        .await?;
    Ok(row.map(|row| SeenEdge { exchanges: row.exchanges, last_seen: row.last_seen.to_jiff() }))
}

/// One exchange that proves an edge.
#[derive(Clone, Debug)]
pub struct KeptEvidence {
    /// What was exchanged.
    pub evidence_id: String,
    /// The event that completed the proof.
    pub event: String,
    /// When it happened.
    pub seen_at: Timestamp,
}

/// The newest exchanges of an edge.
pub async fn evidence(
    connection: &mut PgConnection,
    edge: Edge,
    most: i64,
) -> sqlx::Result<Vec<KeptEvidence>> {
    let rows = sqlx::query!(
        "select evidence_id, event, seen_at from edge_evidence where edge = $1
        order by seen_at desc, evidence_id limit $2",
        edge.name(),
        most
    )
    .fetch_all(connection)
    .await?;
    let kept = rows.into_iter().map(|row| KeptEvidence {
        evidence_id: row.evidence_id,
        event: row.event,
        seen_at: row.seen_at.to_jiff(),
    });
    Ok(kept.collect())
}
