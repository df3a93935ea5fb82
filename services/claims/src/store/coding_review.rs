//! Claims drawn for a review of their coding, and the reviews.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use crate::accuracy::Score;

/// A drawn claim and its review, if one was made.
#[derive(Debug, Clone)]
pub struct Row {
    /// Facility.
    pub facility_code: String,
    /// Place among the drawn claims of the facility.
    pub place: i32,
    /// Claim.
    pub claim_id: Uuid,
    /// When it was reviewed.
    pub reviewed_at: Option<Timestamp>,
    /// The review, encoded.
    pub review: Option<Vec<u8>>,
}

/// A claim to be reviewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Facility.
    pub facility_code: String,
    /// Place among the drawn claims of the facility.
    pub place: i32,
    /// Claim.
    pub claim_id: Uuid,
}

/// Writes the claims that are to be reviewed.
pub async fn register(
    connection: &mut PgConnection,
    frame_id: Uuid,
    wanted: &[Wanted],
) -> Result<(), sqlx::Error> {
    let facilities: Vec<String> = wanted.iter().map(|row| row.facility_code.clone()).collect();
    let places: Vec<i32> = wanted.iter().map(|row| row.place).collect();
    let claims: Vec<Uuid> = wanted.iter().map(|row| row.claim_id).collect();
    sqlx::query!(
        "insert into coding_review (frame_id, facility_code, place, claim_id)
         select $1, r.facility_code, r.place, r.claim_id
         from unnest($2::text[], $3::integer[], $4::uuid[]) as r (facility_code, place, claim_id)",
        frame_id,
        &facilities,
        &places,
        &claims,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A drawn claim, held against changes until the transaction ends.
pub async fn lock(
    connection: &mut PgConnection,
    frame_id: Uuid,
    claim_id: Uuid,
) -> Result<Option<Row>, sqlx::Error> {
    let row = sqlx::query!(
        "select facility_code, place, claim_id, reviewed_at, review
         from coding_review where frame_id = $1 and claim_id = $2 for update",
        frame_id,
        claim_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Row {
        facility_code: row.facility_code,
        place: row.place,
        claim_id: row.claim_id,
        reviewed_at: row.reviewed_at.map(|at| at.to_jiff()),
        review: row.review,
    }))
}

/// What a review came to.
#[derive(Debug)]
pub struct Made {
    /// When.
    pub at: Timestamp,
    /// The review, encoded.
    pub review: Vec<u8>,
    /// What both sides have in common.
    pub score: Score,
    /// Whether the package changed.
    pub cbg_changed: bool,
    /// What that makes in rupiah, when it is known.
    pub effect_rupiah: Option<i64>,
}

/// Writes a review.
pub async fn save(
    connection: &mut PgConnection,
    frame_id: Uuid,
    claim_id: Uuid,
    made: &Made,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update coding_review set reviewed_at = $3, review = $4, diagnoses_reviewed = $5, diagnoses_agreed = $6,
                procedures_reviewed = $7, procedures_agreed = $8, cbg_changed = $9, effect_rupiah = $10
         where frame_id = $1 and claim_id = $2",
        frame_id,
        claim_id,
        made.at.to_sqlx(),
        made.review,
        made.score.diagnoses_reviewed,
        made.score.diagnoses_agreed,
        made.score.procedures_reviewed,
        made.score.procedures_agreed,
        made.cbg_changed,
        made.effect_rupiah,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The drawn claims by facility and place; of one facility only when one is given.
pub async fn list(
    executor: impl PgExecutor<'_>,
    frame_id: Uuid,
    facility_code: Option<&str>,
    after: Option<(&str, i32)>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let (after_facility, after_place) = after.unwrap_or_default();
    let rows = sqlx::query!(
        "select facility_code, place, claim_id, reviewed_at, review
         from coding_review
         where frame_id = $1 and ($2::text is null or facility_code = $2) and (facility_code, place) > ($3, $4)
         order by facility_code, place limit $5",
        frame_id,
        facility_code,
        after_facility,
        after_place,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let rows = rows.into_iter().map(|row| Row {
        facility_code: row.facility_code,
        place: row.place,
        claim_id: row.claim_id,
        reviewed_at: row.reviewed_at.map(|at| at.to_jiff()),
        review: row.review,
    });
    Ok(rows.collect())
}

/// The reviews of a hospital taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accuracy {
    /// Facility.
    pub facility_code: String,
    /// Claims drawn.
    pub drawn: i64,
    /// Claims reviewed.
    pub reviewed: i64,
    /// What both sides have in common.
    pub score: Score,
    /// Claims whose package changed.
    pub cbg_changed: i64,
    /// Sum of the effects that are known.
    pub effect_rupiah: i64,
    /// Reviewed claims whose effect is not known.
    pub effect_unknown: i64,
}

/// The accuracy of each drawn hospital by its code; of one only when one is given.
pub async fn accuracy(
    executor: impl PgExecutor<'_>,
    frame_id: Uuid,
    facility_code: Option<&str>,
) -> Result<Vec<Accuracy>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select facility_code, count(*) as "drawn!", count(reviewed_at) as "reviewed!",
                  sum(diagnoses_reviewed)::bigint as "diagnoses_reviewed!", sum(diagnoses_agreed)::bigint as "diagnoses_agreed!",
                  sum(procedures_reviewed)::bigint as "procedures_reviewed!", sum(procedures_agreed)::bigint as "procedures_agreed!",
                  count(*) filter (where cbg_changed) as "cbg_changed!",
                  coalesce(sum(effect_rupiah), 0)::bigint as "effect_rupiah!",
                  count(*) filter (where reviewed_at is not null and effect_rupiah is null) as "effect_unknown!"
           from coding_review where frame_id = $1 and ($2::text is null or facility_code = $2)
           group by facility_code order by facility_code"#,
        frame_id,
        facility_code,
    )
    .fetch_all(executor)
    .await?;
    let hospitals = rows.into_iter().map(|row| Accuracy {
        facility_code: row.facility_code,
        drawn: row.drawn,
        reviewed: row.reviewed,
        score: Score {
            diagnoses_reviewed: row.diagnoses_reviewed,
            diagnoses_agreed: row.diagnoses_agreed,
            procedures_reviewed: row.procedures_reviewed,
            procedures_agreed: row.procedures_agreed,
        },
        cbg_changed: row.cbg_changed,
        effect_rupiah: row.effect_rupiah,
        effect_unknown: row.effect_unknown,
    });
    Ok(hospitals.collect())
}
