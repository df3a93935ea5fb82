//! Eligibility, the account of a family, and what is paid to it.

use chassis::{Begun, Call, Fields, Mutation, Problem, RequestId, time::to_proto};
use jiff::{ToSpan, civil::Date};
use proto::membership::v1 as pb;
use tonic::Status;
use uuid::Uuid;
use vocabulary::{MemberId, Rupiah};

use super::{Membership, map, parse};
use crate::{
    eligibility::{self, Care},
    error::Error,
    store::{self, Key, Posting, Record},
};

/// Days ahead that eligibility may be asked for.
const DAYS_AHEAD: i32 = 31;
/// Days back that a payment may have been made.
const DAYS_BACK: i32 = 31;
const STATEMENT_MONTHS: i32 = 120;

impl Membership {
    pub(super) async fn check(
        &self,
        call: Call,
        message: pb::CheckEligibilityRequest,
    ) -> Result<pb::CheckEligibilityResponse, Status> {
        use pb::check_eligibility_request::Known;
        let mut fields = Fields::new();
        let given = match &message.known {
            Some(Known::MemberId(id)) => Some(("member_id", parse::member_key(id))),
            Some(Known::CardNumber(card)) => Some(("card_number", parse::card_key(card))),
            Some(Known::Nik(nik)) => Some(("nik", parse::nik_key(nik))),
            None => None,
        };
        let key = parse::known(&mut fields, given, "member_id card_number nik");
        let day = match message.service_date.as_str() {
            "" => Some(call.today),
            text => fields.parse("service_date", vocabulary::date(text)),
        };
        let first =
            self.rules.contribution.versions().first().map_or(call.today, |version| version.effective_from);
        let last = call.today.saturating_add(DAYS_AHEAD.days());
        let expected = format!("must lie between {first} and {last}");
        fields.require("service_date", day.is_none_or(|day| first <= day && day <= last), expected);
        let care = fields.parse("care_type", parse::care(message.care_type));
        let (Some(key), Some(day), Some(care)) = (key, day, care) else { return Err(fields.into()) };
        fields.finish()?;

        let record = self.find_lately(&key, day).await?;
        let judge = || eligibility::judge(&self.rules.standing(&record), &self.rules.penalty, day, care);
        let verdict = record.judged.verdict(day, care, judge)?;
        let care_type = match care {
            Care::Inpatient => pb::CareType::Inpatient,
            Care::Outpatient => pb::CareType::Outpatient,
        };
        Ok(pb::CheckEligibilityResponse {
            answer_id: Uuid::now_v7().to_string(),
            answered_at: Some(to_proto(call.received_at)),
            member_id: record.member_id.to_string(),
            service_date: day.to_string(),
            care_type: care_type.into(),
            eligible: verdict.reasons.is_empty(),
            reasons: verdict.reasons.iter().map(|reason| map::ineligibility(*reason).into()).collect(),
            segment: verdict.segment.map_or(pb::Segment::Unspecified, map::segment).into(),
            care_class: verdict.class.map_or(pb::CareClass::Unspecified, map::class).into(),
            fktp_code: verdict.fktp.as_ref().map(ToString::to_string).unwrap_or_default(),
            arrears_months: map::count(verdict.arrears_months),
            arrears_rupiah: verdict.arrears.get(),
            inpatient_penalty: verdict.penalty.clone().map(map::penalty),
            member_name: record.name.expose().clone(),
            birth_date: record.birth_date.to_string(),
            sex: map::sex(&record.sex).into(),
            region_code: record.region_code.clone(),
        })
    }

    pub(super) async fn statement(
        &self,
        call: Call,
        message: pb::GetContributionStatementRequest,
    ) -> Result<pb::GetContributionStatementResponse, Status> {
        use pb::get_contribution_statement_request::Known;
        let mut fields = Fields::new();
        let given = match &message.known {
            Some(Known::MemberId(id)) => Some(("member_id", parse::member_key(id))),
            Some(Known::CardNumber(card)) => Some(("card_number", parse::card_key(card))),
            None => None,
        };
        let key = parse::known(&mut fields, given, "member_id card_number");
        let month = |fields: &mut Fields, path: &str, text: &str, otherwise: Date| match text {
            "" => Some(otherwise),
            text => fields.parse(path, vocabulary::month(text)),
        };
        let last = month(&mut fields, "last_month", &message.last_month, call.today.first_of_month());
        let year_before = last.unwrap_or(call.today).first_of_month().saturating_sub(11.months());
        let first = month(&mut fields, "first_month", &message.first_month, year_before);
        let (Some(key), Some(first), Some(last)) = (key, first, last) else { return Err(fields.into()) };
        let fits = first <= last && last < first.saturating_add(STATEMENT_MONTHS.months());
        fields.require(
            "first_month",
            fits,
            format!("must not lie after last_month; at most {STATEMENT_MONTHS} months"),
        );
        fields.finish()?;

        let record = self.find(&key, call.today).await?;
        let account = self.rules.account(&record);
        let arrears = account.arrears(call.today)?;
        Ok(pb::GetContributionStatementResponse {
            family_id: record.family_id.to_string(),
            months: account.statement(first, last, call.today)?.into_iter().map(map::line).collect(),
            arrears_months: map::count(arrears.months.len()),
            arrears_rupiah: arrears.rupiah.get(),
            settle_rupiah: account.settlement(call.today)?.get(),
            monthly_rupiah: account.charge(call.today.first_of_month())?.get(),
        })
    }

    pub(super) async fn post(
        &self,
        call: Call,
        message: pb::PostContributionRequest,
    ) -> Result<pb::PostContributionResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let reference = fields.parse("bank_reference", parse::key(&message.bank_reference));
        let payer = Payer::parse(&mut fields, message.known.as_ref());
        let amount = fields.parse("amount_rupiah", parse::rupiah(message.amount_rupiah));
        fields.require("amount_rupiah", message.amount_rupiah != 0, "must be above 0");
        let paid_on = parse::past_day(&mut fields, "paid_on", &message.paid_on, call.today);
        let (Some(request_id), Some(reference), Some(payer), Some(amount), Some(paid_on)) =
            (request_id, reference, payer, amount, paid_on)
        else {
            return Err(fields.into());
        };
        fields.finish()?;

        let mutation = Mutation::new(&call, &message, request_id);
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let key = payer.member(write.connection()).await?;
        // From here on payments of this family follow one another, so that a reference is looked for in peace.
        let family_id = store::lock_family_of(write.connection(), &key).await.map_err(Error::from)?;
        let family_id = family_id.ok_or_else(|| payer.not_found())?;
        let bank = &call.caller.id;
        if let Some(earlier) =
            store::posting(&mut *write.connection(), bank, &reference).await.map_err(Error::from)?
        {
            let same = earlier.family_id == family_id
                && earlier.amount_rupiah == amount.get()
                && (earlier.paid_on == paid_on || message.paid_on.is_empty());
            if !same {
                return Err(Error::BankReferenceReused.into());
            }
            return Ok(write
                .commit(pb::PostContributionResponse { posting: Some(map::posting(&earlier)) })
                .await?);
        }
        // Only now: a bank that repeats an old payment learns that it was posted, not that it is too old.
        let oldest = call.today.saturating_sub(DAYS_BACK.days());
        if paid_on < oldest {
            let mut fields = Fields::new();
            fields.wrong("paid_on", format!("must not lie before {oldest}"));
            return Err(fields.into());
        }
        let record = super::member::read(&mut write, &key).await?;
        let posting = self.posting(&record, bank, reference, amount, paid_on)?;
        let (posting, months) = posting;
        store::insert_posting(write.connection(), &posting).await.map_err(reference_taken)?;
        write.emit(&posting.family_id.to_string(), &self.posted(&record, &posting, months)).await?;
        let answer = pb::PostContributionResponse { posting: Some(map::posting(&posting)) };
        Ok(self.commit(write, posting.family_id, answer).await?)
    }

    fn posting(
        &self,
        record: &Record,
        bank: &str,
        bank_reference: String,
        amount: Rupiah,
        paid_on: Date,
    ) -> Result<(Posting, Vec<(Date, Rupiah)>), Error> {
        let begin = record.terms.first().map_or(paid_on, |terms| terms.from);
        if paid_on < begin {
            let mut fields = Fields::new();
            fields.wrong("paid_on", format!("must not lie before the registration, {begin}"));
            return Err(Error::Problem(fields.into()));
        }
        let allotment = self.rules.account(record).allot(amount, paid_on)??;
        let ends =
            |month: Option<&(Date, Rupiah)>| month.map(|(month, _)| *month).ok_or_else(Problem::internal);
        let posting = Posting {
            posting_id: Uuid::now_v7(),
            family_id: record.family_id,
            bank: bank.to_owned(),
            bank_reference,
            amount_rupiah: amount.get(),
            paid_on,
            first_month: ends(allotment.months.first())?,
            last_month: ends(allotment.months.last())?,
            reactivated: allotment.reactivated,
        };
        Ok((posting, allotment.months))
    }

    fn posted(
        &self,
        record: &Record,
        posting: &Posting,
        months: Vec<(Date, Rupiah)>,
    ) -> pb::ContributionPosted {
        let account = self.rules.account(record);
        let terms = account.terms_on(posting.paid_on);
        let region = account.members.iter().find(|one| one.relation == crate::family::Relation::Head);
        let months = months
            .into_iter()
            .map(|(month, amount)| pb::MonthPaid { month: map::month(month), amount_rupiah: amount.get() });
        pb::ContributionPosted {
            posting_id: posting.posting_id.to_string(),
            family_id: posting.family_id.to_string(),
            bank: posting.bank.clone(),
            amount_rupiah: posting.amount_rupiah,
            paid_on: posting.paid_on.to_string(),
            months: months.collect(),
            reactivated: posting.reactivated,
            segment: terms.map_or(pb::Segment::Unspecified, |terms| map::segment(terms.segment)).into(),
            care_class: terms.map_or(pb::CareClass::Unspecified, |terms| map::class(terms.class)).into(),
            region_code: region.map_or_else(|| record.region_code.clone(), |head| head.region.clone()),
            members: map::count(account.heads(posting.last_month)),
        }
    }
}

/// Two postings of one reference to two families at once: the later finds it taken.
fn reference_taken(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Database(refused) if refused.constraint() == Some("contribution_posting_reference") => {
            Error::BankReferenceReused
        }
        error => error.into(),
    }
}

/// How a bank names the family that paid.
enum Payer {
    Family(Uuid),
    Member(Key),
}

impl Payer {
    fn parse(fields: &mut Fields, given: Option<&pb::post_contribution_request::Known>) -> Option<Self> {
        use pb::post_contribution_request::Known;
        match given {
            Some(Known::FamilyId(id)) => fields.parse("family_id", parse::family_id(id)).map(Self::Family),
            Some(Known::MemberId(id)) => fields.parse("member_id", parse::member_key(id)).map(Self::Member),
            Some(Known::CardNumber(card)) => {
                fields.parse("card_number", parse::card_key(card)).map(Self::Member)
            }
            None => {
                fields.wrong("family_id", "give one of family_id member_id card_number");
                None
            }
        }
    }

    /// A member of the family, by which the whole of it is read.
    async fn member(&self, connection: &mut sqlx::PgConnection) -> Result<Key, Error> {
        match self {
            Self::Member(key) => Ok(key.clone()),
            Self::Family(id) => {
                let member = store::member_of_family(connection, *id).await?.ok_or(Error::FamilyNotFound)?;
                MemberId::try_from(member).map(Key::Member).map_err(|_| Error::Unreadable)
            }
        }
    }

    fn not_found(&self) -> Error {
        match self {
            Self::Family(_) => Error::FamilyNotFound,
            Self::Member(_) => Error::MemberNotFound,
        }
    }
}
