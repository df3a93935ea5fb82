//! Taking many members over one stream, batch by batch.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use chassis::{Call, Fields, Problem, RequestId, time::to_proto};
use jiff::{Timestamp, civil::Date};
use proto::membership::v1::{self as pb, Reason};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tonic_types::StatusExt;
use uuid::Uuid;
use vocabulary::{CareClass, FacilityCode, Rupiah, Segment};

use super::{Membership, map, parse, register};
use crate::{
    error::Error,
    facility::Fit,
    family::{self, Relation},
    store::{self, NewFamily, NewMember},
};

const MOST_ROWS: usize = 10_000;
const MOST_ROWS_OF_BATCH: usize = 1_000;
/// How often a batch is tried that meets another one on the same rows.
const TRIES: usize = 3;
/// How long writing a batch may take; the stream itself may have no deadline.
const LIMIT: Duration = Duration::from_secs(30);

/// A row that can be read and chosen; whether it is new, the tables say.
struct Row {
    place: usize,
    row_key: String,
    family_key: String,
    person: parse::Person,
    segment: Segment,
    class: CareClass,
    wage: Rupiah,
    covered_from: Date,
    /// First and last month paid before the import.
    paid: Option<(Date, Date)>,
}

impl Membership {
    pub(super) async fn import(
        &self,
        call: Call,
        mut stream: Streaming<pb::ImportMembersRequest>,
    ) -> Result<pb::ImportMembersResponse, Status> {
        let mut answer = pb::ImportMembersResponse::default();
        let mut facilities = BTreeMap::new();
        let mut request_id: Option<String> = None;
        while let Some(batch) = stream.message().await? {
            let mut fields = Fields::new();
            let _ = fields.parse("request_id", RequestId::parse(&batch.request_id));
            let first = request_id.get_or_insert_with(|| batch.request_id.clone());
            fields.require("request_id", *first == batch.request_id, "must be the same in every batch");
            let fits = (1..=MOST_ROWS_OF_BATCH).contains(&batch.rows.len());
            fields.require("rows", fits, format!("1 to {MOST_ROWS_OF_BATCH} rows a batch"));
            fields.finish()?;
            if answer.results.len() + batch.rows.len() > MOST_ROWS {
                return Err(Error::ImportTooLarge { most: MOST_ROWS }.into());
            }
            answer.results.extend(self.take(&call, &mut facilities, &batch.rows).await?);
        }
        let counted = |outcome: pb::ImportOutcome| {
            map::count(answer.results.iter().filter(|result| result.outcome() == outcome).count())
        };
        let (created, unchanged, refused) = (
            counted(pb::ImportOutcome::Created),
            counted(pb::ImportOutcome::Unchanged),
            counted(pb::ImportOutcome::Refused),
        );
        tracing::info!(created, unchanged, refused, "members imported");
        Ok(pb::ImportMembersResponse {
            created,
            unchanged,
            refused,
            finished_at: Some(to_proto(Timestamp::now())),
            ..answer
        })
    }

    /// One batch: what can be judged without the tables first, then the tables in one transaction.
    async fn take(
        &self,
        call: &Call,
        facilities: &mut BTreeMap<FacilityCode, Fit>,
        given: &[pb::ImportRow],
    ) -> Result<Vec<pb::ImportRowResult>, Error> {
        let mut results: Vec<_> = given
            .iter()
            .map(|row| pb::ImportRowResult { row_key: shown(&row.row_key), ..Default::default() })
            .collect();
        let mut rows = Vec::new();
        for (place, row) in given.iter().enumerate() {
            match self.read(call, place, row)? {
                Ok(row) => rows.push(row),
                Err(refused) => refuse(&mut results[place], &refused),
            }
        }
        let codes = rows.iter().map(|row| row.person.fktp.clone());
        self.facilities.learn(call, facilities, codes, call.today).await?;
        let mut chosen = Vec::with_capacity(rows.len());
        for row in rows {
            let fit = facilities.get(&row.person.fktp).copied().unwrap_or(Fit::Unknown);
            match fit.check("member.fktp_code") {
                Ok(()) => chosen.push(row),
                Err(error) => refuse(&mut results[row.place], &Refused::of(error)?),
            }
        }
        for tried in 1.. {
            let written = timeout(LIMIT, self.write(call, &chosen, &mut results)).await;
            match written.unwrap_or_else(|_| Err(Problem::unavailable("database").into())) {
                // Another import writes the same rows or families: look again at what there is.
                Err(Error::Database(sqlx::Error::Database(error)))
                    if tried < TRIES && (error.is_unique_violation() || is_deadlock(&*error)) => {}
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        Ok(results)
    }

    fn read(&self, call: &Call, place: usize, given: &pb::ImportRow) -> Result<Result<Row, Refused>, Error> {
        let mut fields = Fields::new();
        let row_key = fields.parse("row_key", parse::key(&given.row_key));
        let family_key = fields.parse("family_key", parse::key(&given.family_key));
        let person = match &given.member {
            Some(member) => parse::person(&mut fields, "member", member, call.today),
            None => {
                fields.wrong("member", "must be given");
                None
            }
        };
        let terms = parse::terms(&mut fields, "terms", given.terms.as_ref());
        let covered_from = fields.parse("covered_from", vocabulary::date(&given.covered_from));
        fields.require(
            "covered_from",
            covered_from.is_none_or(|day| day <= call.today),
            "must not lie in the future",
        );
        let paid_through = match given.paid_through.as_str() {
            "" => Some(None),
            text => fields.parse("paid_through", vocabulary::month(text)).map(Some),
        };
        let in_order = match (covered_from, paid_through.flatten()) {
            (Some(from), Some(last)) => from.first_of_month() <= last && last <= call.today,
            _ => true,
        };
        fields.require("paid_through", in_order, "must lie between covered_from and this month");
        let (
            Some(row_key),
            Some(family_key),
            Some(person),
            Some(terms),
            Some(covered_from),
            Some(paid_through),
        ) = (row_key, family_key, person, terms, covered_from, paid_through)
        else {
            return Ok(Err(Refused::of_fields(&fields.into())));
        };
        if let Err(status) = fields.finish() {
            return Ok(Err(Refused::of_fields(&status)));
        }
        let class =
            match family::class_of(self.rules.family.on(call.today)?, terms.segment, terms.class, terms.wage)
            {
                Ok(class) => class,
                Err(error) => return Refused::of(error.into()).map(Err),
            };
        let government_pays = self.rules.contribution.on(call.today)?.government_pays(terms.segment);
        let is_head = person.relation == Relation::Head;
        let paid = paid_through
            .filter(|_| is_head && !government_pays)
            .map(|last| (covered_from.first_of_month(), last));
        Ok(Ok(Row {
            place,
            row_key,
            family_key,
            person,
            segment: terms.segment,
            class,
            wage: terms.wage,
            covered_from,
            paid,
        }))
    }

    async fn write(
        &self,
        call: &Call,
        rows: &[Row],
        results: &mut [pb::ImportRowResult],
    ) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let sender = call.caller.to_string();
        let mut transaction = self.db.begin().await?;
        let mut sorted = Sorted::new(&mut transaction, &sender, rows).await?;
        let mut told = Vec::new();
        for row in rows {
            let result = &mut results[row.place];
            *result = pb::ImportRowResult { row_key: row.row_key.clone(), ..Default::default() };
            match sorted.sort(row, &sender) {
                Ok(Sort::Known(member_id)) => {
                    result.outcome = pb::ImportOutcome::Unchanged.into();
                    result.member_id = member_id.to_string();
                }
                Ok(Sort::New(member_id, family_id)) => {
                    result.outcome = pb::ImportOutcome::Created.into();
                    result.member_id = member_id.to_string();
                    told.push(register::event(member_id, &registered(row, member_id, family_id)));
                }
                Err(reason) => refuse(result, &Refused { reason: reason.as_str_name(), faults: Vec::new() }),
            }
        }
        if !sorted.members.is_empty() {
            store::insert_families(&mut transaction, &sorted.families).await?;
            store::insert_members(&mut transaction, &sorted.members).await?;
            store::insert_events(&mut transaction, &told, &call.traceparent).await?;
        }
        let outcome = transaction.commit().await;
        let members = &sorted.members;
        self.lookup
            .changed(members.iter().map(|one| &one.family_id), members.iter().map(|one| one.nik.expose()));
        Ok(outcome?)
    }
}

/// Two batches that wait for each other's rows, met in another order.
fn is_deadlock(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().as_deref() == Some("40P01")
}

/// What becomes of a row.
enum Sort {
    Known(Uuid),
    New(Uuid, Uuid),
}

/// What the rows of a batch meet, and what is to be written.
struct Sorted {
    /// Member and NIK by the key of the row.
    by_row: HashMap<String, (Uuid, String)>,
    niks: HashSet<String>,
    known: HashMap<String, (Uuid, Segment, CareClass, i64)>,
    families: Vec<NewFamily>,
    members: Vec<NewMember>,
}

impl Sorted {
    async fn new(connection: &mut sqlx::PgConnection, sender: &str, rows: &[Row]) -> Result<Self, Error> {
        let keys: Vec<_> = rows.iter().map(|row| row.row_key.clone()).collect();
        let niks: Vec<_> = rows.iter().map(|row| row.person.nik.expose().to_owned()).collect();
        let met = store::members_met(&mut *connection, sender, &keys, &niks).await?;
        let families: Vec<_> = rows.iter().map(|row| row.family_key.clone()).collect();
        let known = store::families_met(connection, sender, &families).await?;
        Ok(Self {
            niks: met.iter().map(|one| one.nik.clone()).collect(),
            by_row: met.into_iter().filter_map(|one| Some((one.row?, (one.member_id, one.nik)))).collect(),
            known: known
                .into_iter()
                .map(|one| (one.key, (one.family_id, one.segment, one.class, one.wage)))
                .collect(),
            families: Vec::new(),
            members: Vec::new(),
        })
    }

    fn sort(&mut self, row: &Row, sender: &str) -> Result<Sort, Reason> {
        let nik = row.person.nik.expose();
        if let Some((member_id, known)) = self.by_row.get(&row.row_key) {
            return if known == nik { Ok(Sort::Known(*member_id)) } else { Err(Reason::RowKeyReused) };
        }
        if self.niks.contains(nik) {
            return Err(Reason::NikAlreadyRegistered);
        }
        let terms = (row.segment, row.class, row.wage.get());
        let is_head = row.person.relation == Relation::Head;
        let family_id = match self.known.get(&row.family_key) {
            Some((id, segment, class, wage)) if !is_head && (*segment, *class, *wage) == terms => *id,
            None if is_head => self.found(row, sender),
            _ => return Err(Reason::FamilyDiffers),
        };
        let import = Some((sender.to_owned(), row.row_key.clone()));
        let member = register::new_member(row.person.clone(), family_id, import, row.covered_from);
        let member_id = member.member_id;
        self.by_row.insert(row.row_key.clone(), (member_id, nik.to_owned()));
        self.niks.insert(nik.to_owned());
        self.members.push(member);
        Ok(Sort::New(member_id, family_id))
    }

    /// A new family, with the terms of its head.
    fn found(&mut self, row: &Row, sender: &str) -> Uuid {
        let family_id = Uuid::now_v7();
        self.known.insert(row.family_key.clone(), (family_id, row.segment, row.class, row.wage.get()));
        self.families.push(NewFamily {
            family_id,
            import: Some((sender.to_owned(), row.family_key.clone())),
            from: row.covered_from,
            segment: row.segment,
            class: row.class,
            wage: row.wage,
            paid: row.paid,
        });
        family_id
    }
}

/// Why a row is not taken.
struct Refused {
    reason: &'static str,
    faults: Vec<String>,
}

impl Refused {
    /// The refusal of one row; an error that is not about the row fails the whole call.
    fn of(error: Error) -> Result<Self, Error> {
        match error.reason_of_row() {
            Some(reason) => Ok(Self { reason: reason.as_str_name(), ..Self::of_fields(&error.into()) }),
            None => Err(error),
        }
    }

    fn of_fields(status: &Status) -> Self {
        let wrong = status.get_error_details().bad_request().map(|wrong| wrong.field_violations.clone());
        let faults =
            wrong.unwrap_or_default().into_iter().map(|one| format!("{}: {}", one.field, one.description));
        Self { reason: proto::mesh::v1::Reason::FieldsInvalid.as_str_name(), faults: faults.collect() }
    }
}

fn refuse(result: &mut pb::ImportRowResult, refused: &Refused) {
    result.outcome = pb::ImportOutcome::Refused.into();
    result.reason = refused.reason.trim_start_matches("REASON_").to_owned();
    result.faults.clone_from(&refused.faults);
}

fn registered(row: &Row, member_id: Uuid, family_id: Uuid) -> pb::MemberRegistered {
    let standing = pb::Standing {
        segment: map::segment(row.segment).into(),
        care_class: map::class(row.class).into(),
        region_code: row.person.region.as_str().to_owned(),
        fktp_code: row.person.fktp.to_string(),
        status: pb::MembershipStatus::Registered.into(),
        sex: map::sex(map::sex_word(row.person.sex)).into(),
        birth_year: i32::from(row.person.birth_date.year()),
    };
    pb::MemberRegistered {
        member_id: member_id.to_string(),
        family_id: family_id.to_string(),
        standing: Some(standing),
        covered_from: row.covered_from.to_string(),
        head: row.person.relation == Relation::Head,
    }
}

/// A row's key as it may be repeated to its sender.
fn shown(key: &str) -> String {
    key.chars().take(64).collect()
}
