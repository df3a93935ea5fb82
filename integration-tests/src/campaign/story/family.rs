//! A family is registered and pays, month by month; now and then a NIK is verified.

use proto::membership::v1 as pb;
use rand::{RngExt, seq::IndexedRandom};

use super::given;
use crate::campaign::{
    caller::{Caller, Patient},
    cast::{BANKS, BPJS, Facility, Person},
    desk::Stopped,
    journal::Told,
};

const SERVICE: &str = "membership";
/// The present month and those that may be paid in advance (policy/membership/contribution.toml).
const MOST_MONTHS: i64 = 13;

impl Caller {
    pub(crate) async fn family(&mut self) -> Result<(), Stopped> {
        let fktp = *given(Facility::puskesmas().choose(&mut self.desk.chance))?;
        let couple = self.desk.chance.random_bool(0.4);
        let relations = [pb::Relation::Head, pb::Relation::Spouse];
        let persons: Vec<Person> = (0..1 + usize::from(couple)).map(|_| self.person()).collect();
        let request = pb::RegisterFamilyRequest {
            terms: Some(pb::FamilyTerms {
                segment: pb::Segment::Pbpu.into(),
                care_class: pb::CareClass::CareClass3.into(),
                monthly_wage_rupiah: 0,
            }),
            members: persons.iter().zip(relations).map(|(one, relation)| one.entry(relation, fktp)).collect(),
            ..pb::RegisterFamilyRequest::default()
        };
        let registered = self.desk.write(BPJS, request, |answer| {
            let told = |member: &pb::Member| Told::of::<pb::MemberRegistered>(SERVICE, &member.member_id);
            answer.members.iter().map(told).collect()
        });
        let members = registered.await?.members;
        let head = given(members.first().cloned())?;
        self.pay(&head).await?;
        for (member, person) in members.iter().zip(persons) {
            self.patients.push(Patient {
                member_id: member.member_id.clone(),
                birth_date: person.birth_date,
                sex: person.sex,
                fktp,
                admitted: Vec::new(),
            });
        }
        if self.desk.chance.random_bool(0.3) {
            self.verify(&head.member_id).await?;
        }
        Ok(())
    }

    /// A person that nobody has been before.
    fn person(&mut self) -> Person {
        self.people += 1;
        Person::of(self.people * self.callers + self.number, self.first_day)
    }

    /// At least the present month, perhaps a year in advance.
    async fn pay(&mut self, head: &pb::Member) -> Result<(), Stopped> {
        use pb::{get_contribution_statement_request as asked, post_contribution_request as paid};
        let bank = *given(BANKS.choose(&mut self.desk.chance))?;
        let request = pb::GetContributionStatementRequest {
            known: Some(asked::Known::CardNumber(head.card_number.clone())),
            ..pb::GetContributionStatementRequest::default()
        };
        let monthly = self.desk.read(bank, request).await?.monthly_rupiah;
        let mut left = self.desk.chance.random_range(1..=MOST_MONTHS);
        let mut payments = 0;
        while left > 0 {
            let months = self.desk.chance.random_range(1..=2).min(left);
            left -= months;
            payments += 1;
            let request = pb::PostContributionRequest {
                bank_reference: format!("TRX-{}-{payments}", head.card_number),
                known: Some(paid::Known::CardNumber(head.card_number.clone())),
                amount_rupiah: months * monthly,
                ..pb::PostContributionRequest::default()
            };
            let posted = self.desk.write(bank, request, |answer| {
                let posting = answer.posting.iter();
                posting.map(|one| Told::of::<pb::ContributionPosted>(SERVICE, &one.family_id)).collect()
            });
            posted.await?;
        }
        Ok(())
    }

    async fn verify(&mut self, member_id: &str) -> Result<(), Stopped> {
        let request =
            pb::VerifyNikRequest { member_id: member_id.to_owned(), ..pb::VerifyNikRequest::default() };
        let verified = self
            .desk
            .write(BPJS, request, |answer| vec![Told::of::<pb::NikVerified>(SERVICE, &answer.member_id)]);
        verified.await.map(drop)
    }
}
