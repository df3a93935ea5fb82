//! The stays of a member that a new SEP is held against.

use chassis::time;
use prost::Message as _;
use proto::claims::v1 as pb;
use sqlx::PgConnection;

use super::{Policies, Seps, issue::Asked};
use crate::{
    episode::Care,
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
        let wanted = Wanted {
            facility_code: asked.facility.as_str(),
            service_date: asked.wanted.service_date,
            care: asked.wanted.care,
            emergency: asked.wanted.emergency,
            patient: asked.patient,
        };
        let of_member = [(asked.patient.member_id, wanted.service_date)];
        let stays = store::stay::of_members(&self.db.pool, &of_member, MOST_STAYS).await?;
        stands_in_the_way(&self.policies, &wanted, stays.into_iter().flatten())
    }
}

/// What stands in the way of admissions by now: another hospital may have admitted the member since they were judged. Each
/// member is held from here on; of one whom somebody else holds it is not known.
pub(super) async fn judge_admissions(
    connection: &mut PgConnection,
    policies: &Policies,
    admissions: &[&store::issuance::New],
    wait: bool,
) -> sqlx::Result<Vec<Option<Result<(), Error>>>> {
    let members: Vec<_> = admissions.iter().map(|new| new.patient.member_id).collect();
    let held = store::stay::hold(&mut *connection, &members, wait).await?;
    let asked: Vec<_> = admissions.iter().map(|new| (new.patient.member_id, new.service_date)).collect();
    let stays = store::stay::of_members(connection, &asked, MOST_STAYS).await?;
    let judged = admissions.iter().zip(held).zip(stays).map(|((new, held), stays)| {
        held.then(|| {
            let wanted = Wanted {
                facility_code: &new.facility_code,
                service_date: new.service_date,
                care: Care::Inpatient,
                emergency: new.emergency,
                patient: new.patient,
            };
            let refusal = stands_in_the_way(policies, &wanted, stays)?;
            refusal.map_or(Ok(()), |refusal| Err(Error::SepRefused(vec![refusal])))
        })
    });
    Ok(judged.collect())
}

fn stands_in_the_way(
    policies: &Policies,
    wanted: &Wanted<'_>,
    stays: impl IntoIterator<Item = store::stay::Row>,
) -> Result<Option<Refusal>, Error> {
    let stays = stays.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(in_the_way(policies.stay.on(wanted.service_date)?, wanted, &stays))
}

fn read(row: store::stay::Row) -> Result<Stay, Error> {
    let letter = pb::Sep::decode(row.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
    let recorded = letter.discharge.as_ref().and_then(|discharge| discharge.discharged_at.as_ref());
    let recorded_on = recorded.and_then(time::from_proto).map(time::today_at);
    Ok(Stay {
        sep_number: row.sep_number,
        facility_code: row.facility_code,
        patient: row.patient,
        admitted_on: row.service_date,
        discharged_on: recorded_on.or(row.claimed_on),
    })
}
