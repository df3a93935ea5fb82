//! How SEPs are written that nothing speaks against: those that were asked for at the same time, together.

use std::sync::Arc;

use chassis::{Batched, Call, Event, Outcome, Problem, Turn};
use jiff::civil::Date;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Policies, cited::Cited, sep, stay};
use crate::{
    error::Error,
    sep::{Patient, Refusal},
    store::issuance::{self, Issued, New, Wait},
};

/// A SEP that nothing speaks against, as far as could be seen before its transaction.
pub(crate) struct Judged {
    new: New,
    letter: pb::Sep,
    cited: Cited,
}

impl Judged {
    pub(super) fn new(new: New, letter: pb::Sep, cited: Cited) -> Self {
        Self { new, letter, cited }
    }
}

/// SEPs, written together.
pub(crate) struct Issuances {
    pub(crate) policies: Arc<Policies>,
}

type Answered = Outcome<pb::IssueSepResponse, Error>;

impl Batched for Issuances {
    type Work = Judged;
    type Answer = pb::IssueSepResponse;
    type Error = Error;
    /// Whose member is admitted; or what there is one open SEP of: patient, facility, day and clinic.
    type Subject = (Uuid, Option<(Patient, String, Date, String)>);

    type Changes = ();

    const NAME: &'static str = "issue_sep";

    fn subject(judged: &Judged) -> Self::Subject {
        let new = &judged.new;
        let visit = || (new.patient, new.facility_code.clone(), new.service_date, new.clinic.clone());
        (new.patient.member_id, (!judged.is_admission()).then(visit))
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        turn: Turn,
        asked: &[(&Call, &Judged)],
    ) -> sqlx::Result<(Vec<Answered>, ())> {
        let mut stopped = self.stopped(&mut *connection, turn, asked).await?;
        if let [(_, judged)] = asked {
            let outcome = match stopped.pop().flatten() {
                Some(stopped) => stopped,
                None => single(connection, turn, judged).await?,
            };
            return Ok((vec![outcome], ()));
        }
        for ((_, judged), stopped) in asked.iter().zip(&mut stopped) {
            // What is cited may be held by others for long, and is taken from another SEP or not only then.
            if stopped.is_none() && judged.cited.is_taken() {
                *stopped = Some(Outcome::Alone);
            }
        }
        let free = asked.iter().zip(&stopped).filter(|(_, stopped)| stopped.is_none());
        let new: Vec<_> = free.map(|((_, judged), _)| &judged.new).collect();
        let mut issued = issuance::issue(connection, &new, Wait::Briefly).await?.into_iter();
        let outcome = |((_, judged), stopped): (&(&Call, &Judged), Option<Answered>)| {
            stopped.unwrap_or_else(|| match issued.next() {
                Some(Issued::As(number)) => judged.written(number),
                Some(Issued::Open(number)) => exists(number),
                Some(Issued::Held) | None => Outcome::Alone,
            })
        };
        Ok((asked.iter().zip(stopped).map(outcome).collect(), ()))
    }
}

impl Issuances {
    /// What becomes of SEPs that cannot be written here: the member is being admitted by another transaction, or was since
    /// the SEP was judged.
    async fn stopped(
        &self,
        connection: &mut PgConnection,
        turn: Turn,
        asked: &[(&Call, &Judged)],
    ) -> sqlx::Result<Vec<Option<Answered>>> {
        let admissions = asked.iter().filter(|(_, judged)| judged.is_admission());
        let admissions: Vec<_> = admissions.map(|(_, judged)| &judged.new).collect();
        let mut admitted = if admissions.is_empty() {
            Vec::new().into_iter()
        } else {
            let wait = turn == Turn::Alone;
            stay::judge_admissions(connection, &self.policies, &admissions, wait).await?.into_iter()
        };
        let stopped = asked.iter().map(|(_, judged)| {
            if !judged.is_admission() {
                return None;
            }
            match admitted.next().flatten() {
                Some(Ok(())) => None,
                Some(Err(refused)) => Some(Outcome::Refused(refused)),
                None => Some(held(turn)),
            }
        });
        Ok(stopped.collect())
    }
}

/// Of what another transaction holds.
fn held(turn: Turn) -> Answered {
    match turn {
        Turn::Hopeful | Turn::Shared => Outcome::Alone,
        Turn::Alone => Outcome::Refused(Problem::unavailable("database").into()),
    }
}

/// Writes one. Where another transaction holds what it needs, it is made again beside the others; and is not waited for
/// without end then, for it occupies a connection.
async fn single(connection: &mut PgConnection, turn: Turn, judged: &Judged) -> sqlx::Result<Answered> {
    let wait = match turn {
        Turn::Hopeful | Turn::Shared => Wait::Briefly,
        Turn::Alone => Wait::Alone,
    };
    let number = match issuance::issue(connection, &[&judged.new], wait).await?.pop() {
        Some(Issued::As(number)) => number,
        Some(Issued::Open(number)) => return Ok(exists(number)),
        Some(Issued::Held) | None => return Ok(held(turn)),
    };
    Ok(match judged.cited.take(connection, &number).await {
        Ok(taken_meanwhile) if taken_meanwhile.is_empty() => judged.written(number),
        Ok(taken_meanwhile) => Outcome::Refused(Error::SepRefused(taken_meanwhile)),
        Err(error) if issuance::is_held(&error) => held(turn),
        Err(error) => return Err(error),
    })
}

fn exists(number: String) -> Answered {
    Outcome::Refused(Error::SepRefused(vec![Refusal::Exists(number)]))
}

impl Judged {
    fn is_admission(&self) -> bool {
        self.letter.care_type() == pb::CareType::Inpatient
    }

    /// The answer to a SEP that was written, and the event that tells of it.
    fn written(&self, sep_number: String) -> Answered {
        let evidence: Vec<_> = self.new.evidence.iter().cloned().map(sep::evidence).collect();
        let event = Event::new(&sep_number, &event(&self.letter, &sep_number, &evidence));
        let sep = pb::Sep { sep_number, evidence, ..self.letter.clone() };
        Outcome::Written(pb::IssueSepResponse { sep: Some(Box::new(sep)) }, vec![event])
    }
}

fn event(letter: &pb::Sep, sep_number: &str, evidence: &[pb::Evidence]) -> pb::SepIssued {
    let bare =
        |kept: &pb::Evidence| pb::Evidence { answer_type: String::new(), answer: Vec::new(), ..kept.clone() };
    pb::SepIssued {
        sep_number: sep_number.to_owned(),
        facility_code: letter.facility_code.clone(),
        member_id: letter.member_id.clone(),
        care_type: letter.care_type,
        entry: letter.entry,
        poli_code: letter.poli_code.clone(),
        service_date: letter.service_date.clone(),
        referral_number: letter.referral_number.clone(),
        segment: letter.segment.clone(),
        entitled_class: letter.entitled_class,
        province_code: letter.province_code.clone(),
        hospital_class: letter.hospital_class.clone(),
        evidence: evidence.iter().map(bare).collect(),
        follow_up_number: letter.follow_up_number.clone(),
        based_on_sep_number: letter.based_on_sep_number.clone(),
        newborn_order: letter.newborn_order,
    }
}
