//! Changing a member's record, the end of a membership, and the terms of a family.

use chassis::{Begun, Call, Fields, Mutation, RequestId, Write};
use jiff::civil::Date;
use proto::membership::v1 as pb;
use tonic::Status;
use vocabulary::{CareClass, Masked, MemberId, Name, RegionCode, Rupiah, Segment};

use super::{Membership, map, member, parse};
use crate::{
    error::Error,
    family::{self, Ended, Terms},
    store::{self, Amendment, Key, Record},
};

const OF_TERMS: [&str; 3] = ["segment", "care_class", "monthly_wage_rupiah"];
const OF_MEMBER: [&str; 6] = ["name", "region_code", "address", "phone", "status", "ended_on"];

/// What is to be changed.
#[derive(Debug, Default)]
struct Change {
    paths: Vec<String>,
    name: Option<Name>,
    region: Option<RegionCode>,
    address: Option<Masked<String>>,
    phone: Option<Masked<String>>,
    segment: Option<Segment>,
    class: Option<CareClass>,
    wage: Option<Rupiah>,
    end: Option<(Ended, Date)>,
}

impl Change {
    fn parse(fields: &mut Fields, message: &pb::UpdateMemberRequest, today: Date) -> Self {
        let given = message.change.clone().unwrap_or_default();
        let mut paths = message.update_mask.clone().unwrap_or_default().paths;
        let known = |path: &String| OF_TERMS.contains(&path.as_str()) || OF_MEMBER.contains(&path.as_str());
        let all_known = (1..=16).contains(&paths.len()) && paths.iter().all(known);
        fields.require(
            "update_mask",
            all_known,
            format!("at least one of {}, {}", OF_MEMBER.join(", "), OF_TERMS.join(", ")),
        );
        paths.truncate(16);
        paths.sort();
        paths.dedup();
        let has = |path: &str| paths.iter().any(|one| one == path);
        let mut change = Self::default();
        if has("name") {
            change.name = fields.parse("change.name", Name::parse(&given.name));
        }
        if has("region_code") {
            change.region = fields.parse("change.region_code", parse::region(&given.region_code));
        }
        if has("address") {
            change.address = fields.parse("change.address", parse::address(&given.address));
        }
        if has("phone") {
            change.phone = fields.parse("change.phone", parse::phone(&given.phone));
        }
        if has("segment") {
            change.segment = fields.parse("change.segment", parse::segment(given.segment));
        }
        if has("care_class") {
            change.class = fields.parse("change.care_class", parse::class(given.care_class)).flatten();
            fields.require("change.care_class", given.care_class != 0, "must be 1, 2 or 3");
        }
        if has("monthly_wage_rupiah") {
            change.wage =
                fields.parse("change.monthly_wage_rupiah", parse::rupiah(given.monthly_wage_rupiah));
        }
        if has("status") || has("ended_on") {
            fields.require(
                "update_mask",
                has("status") && has("ended_on"),
                "status and ended_on go together",
            );
            let why = fields.parse("change.status", parse::ended(given.status));
            let ended_on = fields.parse("change.ended_on", vocabulary::date(&given.ended_on));
            fields.require(
                "change.ended_on",
                ended_on.is_none_or(|day| day <= today),
                "must not lie in the future",
            );
            change.end = why.zip(ended_on);
        }
        change.paths = paths;
        change
    }

    fn paths_among(&self, among: &[&str]) -> Vec<String> {
        self.paths.iter().filter(|path| among.contains(&path.as_str())).cloned().collect()
    }

    fn amends(&self) -> bool {
        self.name.is_some() || self.region.is_some() || self.address.is_some() || self.phone.is_some()
    }

    fn amendment<'a>(&'a self, before: &'a Record) -> Amendment<'a> {
        Amendment {
            name: self.name.as_ref().map_or(before.name.expose(), Name::expose),
            region_code: self.region.map_or(&before.region_code, |region| region.as_str()),
            address: self.address.as_ref().unwrap_or(&before.address).expose(),
            phone: self.phone.as_ref().unwrap_or(&before.phone).expose(),
        }
    }
}

impl Membership {
    pub(super) async fn update(
        &self,
        call: Call,
        message: pb::UpdateMemberRequest,
    ) -> Result<pb::UpdateMemberResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let key = fields.parse("member_id", parse::member_key(&message.member_id));
        let change = Change::parse(&mut fields, &message, call.today);
        let (Some(request_id), Some(key)) = (request_id, key) else { return Err(fields.into()) };
        fields.finish()?;

        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let before = member::locked(&mut write, &key).await?;
        if change.amends() {
            let by = call.caller.to_string();
            store::amend(write.connection(), &before, &change.amendment(&before), &by, call.received_at)
                .await
                .map_err(Error::from)?;
        }
        if let Some((why, ended_on)) = change.end {
            let mut fields = Fields::new();
            fields.require(
                "change.ended_on",
                before.covered_from <= ended_on,
                "must not lie before covered_from",
            );
            fields.finish()?;
            store::end(write.connection(), before.member_id, why, ended_on, call.received_at)
                .await
                .map_err(Error::from)?;
        }
        let terms = self.change_terms(&mut write, &call, &change, &before).await?;
        let after = member::read(&mut write, &key).await?;
        let own = change.paths_among(&OF_MEMBER);
        if !own.is_empty() {
            let from = change.end.map_or(call.today, |(_, ended_on)| ended_on.tomorrow().unwrap_or(ended_on));
            tell(&mut write, own, &before, &after, call.today, from).await?;
        }
        if let Some(terms) = &terms {
            self.tell_family(&mut write, &change, &after, call.today, terms.from).await?;
        }
        let answer = pb::UpdateMemberResponse {
            member: Some(map::member(&after, call.today)),
            terms_effective_from: terms.map(|terms| terms.from.to_string()).unwrap_or_default(),
        };
        Ok(self.commit(write, before.family_id, answer).await?)
    }

    async fn change_terms(
        &self,
        write: &mut Write,
        call: &Call,
        change: &Change,
        before: &Record,
    ) -> Result<Option<Terms>, Error> {
        if change.paths_among(&OF_TERMS).is_empty() {
            return Ok(None);
        }
        let rule = self.rules.family.on(call.today)?;
        let terms =
            family::change_terms(rule, &before.terms, change.segment, change.class, change.wage, call.today)?;
        let Some(terms) = terms else { return Ok(None) };
        let mut fields = Fields::new();
        let has_wage = family::has_wage(terms.segment);
        let wage_fits = if has_wage {
            terms.wage > Rupiah::ZERO
        } else {
            change.wage.is_none_or(|wage| wage == Rupiah::ZERO)
        };
        fields.require(
            "change.monthly_wage_rupiah",
            wage_fits,
            "must be above 0 for PPU_PN and PPU_BU, and 0 for all others",
        );
        if !wage_fits {
            return Err(Error::Problem(fields.into()));
        }
        store::change_terms(write.connection(), before.family_id, &terms).await?;
        Ok(Some(terms))
    }

    /// Terms are those of the family: each member is counted anew from the day they hold.
    async fn tell_family(
        &self,
        write: &mut Write,
        change: &Change,
        of: &Record,
        today: Date,
        from: Date,
    ) -> Result<(), Error> {
        let ids = store::family_members(&mut *write.connection(), of.family_id, None, i64::MAX).await?;
        let keys: Vec<_> =
            ids.into_iter().filter_map(|id| MemberId::try_from(id).ok()).map(Key::Member).collect();
        for record in store::records(&mut *write.connection(), &keys).await? {
            if record.ended_on.is_none() {
                tell(write, change.paths_among(&OF_TERMS), &record, &record, today, from).await?;
            }
        }
        Ok(())
    }
}

async fn tell(
    write: &mut Write,
    changed_fields: Vec<String>,
    before: &Record,
    after: &Record,
    today: Date,
    from: Date,
) -> Result<(), Error> {
    let event = pb::MemberUpdated {
        member_id: after.member_id.to_string(),
        family_id: after.family_id.to_string(),
        changed_fields,
        before: Some(map::standing(before, today)),
        after: Some(map::standing(after, from)),
        effective_from: from.to_string(),
    };
    Ok(write.emit(&after.member_id.to_string(), &event).await?)
}
