//! The stays of a member that a new SEP is held against.

use chassis::time;
use prost::Message as _;
use proto::claims::v1 as pb;
use vocabulary::Icd10;

use super::{Seps, issue::Asked};
use crate::{
    error::Error,
    sep::Refusal,
    stay::{Stay, Wanted, in_the_way},
    store,
};

/// More stays than one member has in the time for which a SEP can still be asked for.
const MOST_STAYS: i64 = 20;

impl Seps {
    /// What of the member's stays stands in the way of the SEP.
    pub(super) async fn judge_stays(&self, asked: &Asked) -> Result<Option<Refusal>, Error> {
        let (member, day) = (asked.member_id.uuid(), asked.wanted.service_date);
        let rows = store::stay::of_member(&self.db.pool, member, day, MOST_STAYS).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let stays = rows.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let diagnosis = code(&asked.letter)?;
        let wanted = Wanted {
            facility_code: asked.facility.as_str(),
            service_date: day,
            care: asked.wanted.care,
            emergency: asked.wanted.emergency,
            diagnosis: &diagnosis,
        };
        Ok(in_the_way(self.policies.stay.on(day)?, &wanted, &stays))
    }
}

fn read(row: store::stay::Row) -> Result<Stay, Error> {
    let letter = pb::Sep::decode(row.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
    let recorded = letter.discharge.as_ref().and_then(|discharge| discharge.discharged_at.as_ref());
    let recorded_on = recorded.and_then(time::from_proto).map(time::today_at);
    Ok(Stay {
        diagnosis: code(&letter)?,
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        admitted_on: row.service_date,
        discharged_on: recorded_on.or(row.claimed_on),
    })
}

fn code(letter: &pb::Sep) -> Result<Icd10, Error> {
    Icd10::parse(&letter.initial_diagnosis).map_err(|_| Error::Unreadable("SEP"))
}
