//! What a SEP rests on beside the answers of other systems: a letter of an earlier SEP, approvals, the first SEP of an
//! accident. Most SEPs cite none of it, and then nothing is asked of the database.

use chassis::Call;
use jiff::civil::Date;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use uuid::Uuid;
use vocabulary::{ReferralNumber, SepNumber};

use super::{
    Seps,
    issue::{Asked, Told, segment},
    sep_fields::accident_in_words,
};
use crate::{
    accident,
    approval::{self, Approval},
    error::Error,
    follow_up::{Citing, Kind, Letter, NotUsable, not_usable},
    sep::{Patient, Refusal, Rules},
    store, supplement,
};

/// What is cited, and what speaks against it.
#[derive(Default)]
pub(super) struct Cited {
    /// Number and version of the letter.
    follow_up: Option<(String, i32)>,
    /// Why it cannot be used.
    against: Vec<NotUsable>,
    approvals: Vec<Uuid>,
    /// What speaks against the SEP if another uses these approvals first.
    if_taken: Vec<Refusal>,
    pub(super) accident_on: Option<Date>,
}

impl Cited {
    /// The letter with the approvals it is issued by.
    pub(super) fn approved(&self, letter: pb::Sep) -> pb::Sep {
        pb::Sep { approval_ids: self.approvals.iter().map(Uuid::to_string).collect(), ..letter }
    }

    /// Whether the SEP changes a letter or an approval, which another transaction may hold.
    pub(super) fn is_taken(&self) -> bool {
        self.follow_up.is_some() || !self.approvals.is_empty()
    }

    /// Marks what is cited as used by the SEP, in its transaction; tells what another SEP used meanwhile. The transaction is
    /// then to be dropped.
    pub(super) async fn take(
        &self,
        connection: &mut PgConnection,
        sep_number: &str,
    ) -> Result<Vec<Refusal>, sqlx::Error> {
        let mut refusals = Vec::new();
        if let Some((number, version)) = &self.follow_up
            && !store::follow_up::take(connection, number, *version, sep_number).await?
        {
            refusals.push(Refusal::FollowUpNotUsable(vec![NotUsable::Changed]));
        }
        if !self.approvals.is_empty()
            && !store::sep_approval::take(connection, &self.approvals, sep_number).await?
        {
            refusals.extend(self.if_taken.iter().cloned());
        }
        Ok(refusals)
    }
}

impl Seps {
    /// Looks up the letter that is cited. It brings the referral with it, and the clinic that this is for.
    pub(super) async fn cited(&self, asked: &mut Asked) -> Result<Cited, Error> {
        let Some(number) = asked.follow_up.as_ref() else { return Ok(Cited::default()) };
        let own = Some(asked.facility.as_str());
        let Some(row) = store::follow_up::get(&self.db.pool, number.as_str(), own).await? else {
            return Ok(Cited { against: vec![NotUsable::UnknownNumber], ..Cited::default() });
        };
        let letter = Letter {
            kind: Kind::of(row.kind).ok_or(Error::Unreadable("letter"))?,
            patient: Patient { member_id: row.member_id, newborn_order: row.newborn_order },
            clinic: &row.clinic,
            doctor_code: &row.doctor_code,
            planned_on: row.planned_on,
            usable_through: row.usable_through,
            cancelled: row.cancelled_at.is_some(),
            used: row.used_by.is_some(),
        };
        let citing = Citing {
            service_date: asked.wanted.service_date,
            care: asked.wanted.care,
            patient: asked.patient,
            clinic: &asked.clinic,
            doctor_code: &asked.letter.doctor_code,
        };
        let against = not_usable(self.policies.follow_up.on(citing.service_date)?, &letter, &citing);
        asked.referral = match row.referral_number.as_str() {
            "" => None,
            number => Some(ReferralNumber::parse(number).map_err(|_| Error::Unreadable("letter"))?),
        };
        asked.letter.referral_number = row.referral_number;
        asked.letter.referral_poli_code = row.referral_clinic;
        asked.letter.follow_up_number.clone_from(&row.follow_up_number);
        asked.letter.based_on_sep_number = row.based_on;
        Ok(Cited { follow_up: Some((row.follow_up_number, row.version)), against, ..Cited::default() })
    }

    /// Every reason against what is cited, and against a SEP that comes late or without a fingerprint.
    pub(super) async fn judge_cited(
        &self,
        call: &Call,
        rules: &Rules,
        asked: &Asked,
        told: &Told,
        cited: &mut Cited,
    ) -> Result<Vec<Refusal>, Error> {
        let mut refusals = Vec::new();
        if !cited.against.is_empty() {
            refusals.push(Refusal::FollowUpNotUsable(cited.against.clone()));
        }
        let wanted = &asked.wanted;
        let born = if asked.patient.newborn_order == 0 {
            vocabulary::date(&told.eligibility.birth_date).ok()
        } else {
            // The birth date that membership knows is the mother's.
            Some(wanted.service_date)
        };
        let needs = approval::needs(rules, wanted, &asked.clinic, born, call.received_at, call.today);
        if needs.any() {
            let (member, facility, day) =
                (asked.patient.member_id, asked.facility.as_str(), wanted.service_date);
            let care = i16::try_from(asked.letter.care_type).unwrap_or_default();
            let pool = &self.db.pool;
            let approvals = store::sep_approval::made_for(pool, member, facility, day, care).await?;
            let fingerprint = store::sep_approval::fingerprint(pool, member, Some(facility), day).await?;
            let judge = |approvals: &[Approval]| {
                needs.judge(rules, wanted, approvals, fingerprint.is_some(), call.today)
            };
            let (against, used) = judge(&approvals);
            refusals.extend(against);
            cited.approvals = used;
            let spent: Vec<_> = approvals.into_iter().map(|a| Approval { used: true, ..a }).collect();
            cited.if_taken = judge(&spent).0;
        }
        if let Some(accident) = &asked.letter.accident {
            let day = wanted.service_date;
            refusals.extend(
                self.judge_accident(accident, day, asked.patient.member_id, segment(told), wanted.emergency)
                    .await?,
            );
            cited.accident_on = vocabulary::date(&accident.occurred_on).ok();
        }
        Ok(refusals)
    }

    /// Every reason against an accident as it is stated for a SEP.
    pub(super) async fn judge_accident(
        &self,
        stated: &pb::Accident,
        service_date: Date,
        member_id: Uuid,
        segment: &str,
        report_may_follow: bool,
    ) -> Result<Vec<Refusal>, Error> {
        let Some((kind, payers)) = accident_in_words(stated) else { return Ok(Vec::new()) };
        let rules = self.policies.accident.on(service_date)?;
        let police_report = !stated.police_report_number.is_empty();
        let accident = accident::Accident { kind, payers: &payers, police_report };
        let mut refusals = accident::judge(rules, &accident, segment, report_may_follow);
        if let (Ok(first), Ok(occurred_on)) =
            (SepNumber::parse(&stated.supplements_sep_number), vocabulary::date(&stated.occurred_on))
        {
            let first = store::sep_life::of_member(&self.db.pool, first.as_str(), member_id).await?;
            let first = first.as_ref().map(super::sep_life::first_of_accident).transpose()?;
            let against = supplement::not_usable(first.as_ref(), occurred_on, service_date);
            if !against.is_empty() {
                refusals.push(Refusal::SupplementNotUsable(against));
            }
        }
        Ok(refusals)
    }
}
