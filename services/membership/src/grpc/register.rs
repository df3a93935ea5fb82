//! Registering a family.

use std::collections::{BTreeMap, HashSet};

use chassis::{Begun, Call, Fields, Mutation, RequestId};
use prost::{Message, Name};
use proto::membership::v1 as pb;
use tonic::Status;
use uuid::Uuid;
use vocabulary::MemberId;

use super::{Membership, map, parse};
use crate::{
    error::Error,
    family::{self, MOST_MEMBERS},
    store::{self, Key, NewEvent, NewFamily, NewMember, Record},
};

impl Membership {
    pub(super) async fn register(
        &self,
        call: Call,
        message: pb::RegisterFamilyRequest,
    ) -> Result<pb::RegisterFamilyResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let terms = parse::terms(&mut fields, "terms", message.terms.as_ref());
        let covered_from = parse::past_day(&mut fields, "covered_from", &message.covered_from, call.today);
        let persons = persons(&mut fields, &message.members, &call);
        let (Some(request_id), Some(terms), Some(from), Some(persons)) =
            (request_id, terms, covered_from, persons)
        else {
            return Err(fields.into());
        };
        fields.finish()?;

        let rule = self.rules.family.on(call.today)?;
        let class = family::class_of(rule, terms.segment, terms.class, terms.wage).map_err(Error::from)?;
        let asked: Vec<_> = persons
            .iter()
            .map(|one| family::Person {
                relation: one.relation,
                birth_date: one.birth_date,
                student: one.student,
            })
            .collect();
        family::check_dependants(rule, terms.segment, &asked, call.today).map_err(Error::from)?;

        let mutation = Mutation::new(&call, &message, request_id);
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(answer);
        }
        let mut known = BTreeMap::new();
        let codes = persons.iter().map(|person| person.fktp.clone());
        self.facilities.learn(&call, &mut known, codes, call.today).await?;
        for (index, person) in persons.iter().enumerate() {
            if let Some(fit) = known.get(&person.fktp) {
                fit.check(format!("members[{index}].fktp_code"))?;
            }
        }

        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let niks: Vec<_> = persons.iter().map(|person| person.nik.expose().to_owned()).collect();
        let taken = store::niks_taken(&mut *write.connection(), &niks, from).await.map_err(Error::from)?;
        if let Some(member) = niks.iter().position(|nik| taken.contains(nik)) {
            return Err(Error::NikAlreadyRegistered { member: Some(member) }.into());
        }
        let family_id = Uuid::now_v7();
        let new = NewFamily {
            family_id,
            import: None,
            from,
            segment: terms.segment,
            class,
            wage: terms.wage,
            paid: None,
        };
        store::insert_families(write.connection(), &[new]).await.map_err(Error::from)?;
        let members: Vec<_> =
            persons.into_iter().map(|person| new_member(person, family_id, None, from)).collect();
        store::insert_members(write.connection(), &members).await.map_err(nik_taken)?;
        let records = self.written(write.connection(), &members).await?;
        let events: Vec<_> = records.iter().map(registered).collect();
        store::insert_events(write.connection(), &events, &call.traceparent).await.map_err(Error::from)?;
        let members = records.iter().map(|record| map::member(record, call.today)).collect();
        let answer = pb::RegisterFamilyResponse { family_id: family_id.to_string(), members };
        let outcome = write.commit(answer).await;
        // A NIK may have named a record that has ended, and names this one from now on.
        self.lookup.changed([&family_id], niks.iter().map(String::as_str));
        Ok(outcome?)
    }

    /// The records of members just written, in the order of writing.
    pub(super) async fn written(
        &self,
        connection: &mut sqlx::PgConnection,
        members: &[NewMember],
    ) -> Result<Vec<Record>, Error> {
        let ids = members.iter().filter_map(|one| MemberId::try_from(one.member_id).ok());
        let keys: Vec<_> = ids.map(Key::Member).collect();
        let mut records = store::records(connection, &keys).await?;
        let place = |record: &Record| members.iter().position(|one| one.member_id == record.member_id);
        records.sort_by_cached_key(place);
        Ok(records)
    }
}

fn persons(fields: &mut Fields, given: &[pb::NewMember], call: &Call) -> Option<Vec<parse::Person>> {
    let expected = format!("1 to {MOST_MEMBERS} members");
    fields.require("members", (1..=MOST_MEMBERS).contains(&given.len()), expected);
    let persons: Vec<_> = given
        .iter()
        .take(MOST_MEMBERS)
        .enumerate()
        .map(|(index, one)| parse::person(fields, &format!("members[{index}]"), one, call.today))
        .collect();
    let persons: Vec<_> = persons.into_iter().collect::<Option<_>>()?;
    let relations: Vec<_> = persons.iter().map(|person: &parse::Person| person.relation).collect();
    for (member, fault) in family::make_up_faults(&relations) {
        fields.wrong(
            member.map_or_else(|| "members".into(), |index| format!("members[{index}].relation")),
            fault,
        );
    }
    let mut seen = HashSet::new();
    for (index, person) in persons.iter().enumerate() {
        fields.require(
            format!("members[{index}].nik"),
            seen.insert(person.nik.clone()),
            "stands in the list before",
        );
    }
    Some(persons)
}

/// Two registrations of one NIK at once: the later finds it taken.
fn nik_taken(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(refused) if refused.constraint() == Some("member_nik") => {
            Error::NikAlreadyRegistered { member: None }
        }
        error => error.into(),
    }
}

/// A person as a member of a family.
pub(super) fn new_member(
    person: parse::Person,
    family_id: Uuid,
    import: Option<(String, String)>,
    covered_from: jiff::civil::Date,
) -> NewMember {
    NewMember {
        member_id: Uuid::now_v7(),
        family_id,
        import,
        nik: person.nik,
        name: person.name,
        birth_date: person.birth_date,
        sex: map::sex_word(person.sex),
        relation: person.relation,
        student: person.student,
        region: person.region,
        address: person.address,
        phone: person.phone,
        fktp: person.fktp,
        covered_from,
    }
}

fn registered(record: &Record) -> NewEvent {
    event(
        record.member_id,
        &pb::MemberRegistered {
            member_id: record.member_id.to_string(),
            family_id: record.family_id.to_string(),
            standing: Some(map::standing(record, record.covered_from)),
            covered_from: record.covered_from.to_string(),
            head: map::relation(&record.relation) == pb::Relation::Head,
        },
    )
}

/// An event to be written among many.
pub(super) fn event<E: Message + Name>(subject: Uuid, event: &E) -> NewEvent {
    NewEvent { kind: E::full_name(), subject: subject.to_string(), body: event.encode_to_vec() }
}
