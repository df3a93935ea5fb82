//! Surveys and the scores of their chapters.

use jiff::{Timestamp, civil::Date};
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{stored, stored_if};
use crate::{
    error::Error,
    grading::{Fulfilment, Grade, Score},
    survey::{Attested, State, Survey, Visit},
};

/// What ListSurveys filters by; absent filters do not filter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this facility.
    pub facility_code: Option<String>,
    /// Only in this state.
    pub state: Option<State>,
    /// Only those that this institution surveys or may take up.
    pub institution: Option<String>,
    /// Only this one.
    pub only: Option<Uuid>,
    /// Only those older than this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

struct Row {
    survey_id: Uuid,
    facility_code: String,
    state: String,
    applied_on: jiff_sqlx::Date,
    renewal: bool,
    applied_late: bool,
    equipment_registry_updated: bool,
    all_staff_registered: bool,
    licensed_percent: i32,
    quality_months: i32,
    incident_months: i32,
    surveyor_institution: Option<String>,
    surveyor_numbers: Vec<String>,
    held_from: Option<jiff_sqlx::Date>,
    held_to: Option<jiff_sqlx::Date>,
    days_on_site: Option<i32>,
    grade: Option<String>,
    decided_on: Option<jiff_sqlx::Date>,
    certificate_number: Option<String>,
    chapters: Vec<String>,
    points: Vec<i32>,
    max_points: Vec<i32>,
    elements: Vec<i32>,
}

/// The surveys that fit a filter, the newest first.
///
/// # Errors
/// When the database fails.
pub async fn find(connection: &mut PgConnection, filter: &Filter) -> Result<Vec<Survey>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select s.survey_id, s.facility_code, s.state, s.applied_on, s.renewal, s.applied_late,
                  s.equipment_registry_updated, s.all_staff_registered, s.licensed_percent, s.quality_months,
                  s.incident_months, s.surveyor_institution, s.surveyor_numbers, s.held_from, s.held_to,
                  s.days_on_site, s.grade, s.decided_on, c.certificate_number as "certificate_number?",
                  array(select chapter from chapter_score x where x.survey_id = s.survey_id
                        and x.superseded_at is null order by x.chapter) as "chapters!",
                  array(select points from chapter_score x where x.survey_id = s.survey_id
                        and x.superseded_at is null order by x.chapter) as "points!",
                  array(select max_points from chapter_score x where x.survey_id = s.survey_id
                        and x.superseded_at is null order by x.chapter) as "max_points!",
                  array(select cardinality(elements) from chapter_score x where x.survey_id = s.survey_id
                        and x.superseded_at is null order by x.chapter) as "elements!"
           from survey s left join certificate c on c.survey_id = s.survey_id
           where ($1::text is null or s.facility_code = $1)
             and ($2::text is null or s.state = $2)
             and ($3::text is null or s.surveyor_institution is null or s.surveyor_institution = $3)
             and ($4::uuid is null or s.survey_id = $4)
             and ($5::uuid is null or s.survey_id < $5)
           order by s.survey_id desc limit $6"#,
        filter.facility_code,
        filter.state.map(State::as_str),
        filter.institution,
        filter.only,
        filter.before,
        filter.limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::read).collect()
}

/// One survey.
///
/// # Errors
/// When there is none.
pub async fn get(connection: &mut PgConnection, id: Uuid) -> Result<Survey, Error> {
    find(connection, &Filter { only: Some(id), limit: 1, ..Filter::default() })
        .await?
        .pop()
        .ok_or(Error::NoSurvey)
}

/// One survey, held until the end of the transaction.
///
/// # Errors
/// When there is none.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> Result<Survey, Error> {
    sqlx::query_scalar!("select survey_id from survey where survey_id = $1 for update", id)
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(Error::NoSurvey)?;
    get(connection, id).await
}

/// Adds a survey that was applied for.
///
/// # Errors
/// When the facility has one under way.
pub async fn insert(connection: &mut PgConnection, survey: &Survey, at: Timestamp) -> Result<(), Error> {
    sqlx::query!(
        "insert into survey (survey_id, facility_code, state, applied_on, renewal, applied_late,
                             equipment_registry_updated, all_staff_registered, licensed_percent, quality_months,
                             incident_months, recorded_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        survey.id,
        survey.facility_code,
        survey.state.as_str(),
        survey.applied_on.to_sqlx() as _,
        survey.renewal,
        survey.applied_late,
        survey.attested.equipment_registry_updated,
        survey.attested.all_staff_registered,
        survey.attested.licensed_percent,
        survey.attested.quality_months,
        survey.attested.incident_months,
        at.to_sqlx() as _,
    )
    .execute(connection)
    .await
    .map_err(|error| match error.as_database_error().and_then(|database| database.constraint()) {
        Some("survey_open") => Error::SurveyOpen,
        _ => error.into(),
    })?;
    Ok(())
}

/// Writes when and by whom a survey is or was held.
///
/// # Errors
/// When the database fails.
pub async fn set_visit(
    connection: &mut PgConnection,
    id: Uuid,
    state: State,
    institution: &str,
    visit: &Visit,
) -> Result<(), Error> {
    sqlx::query!(
        "update survey set state = $2, surveyor_institution = $3, surveyor_numbers = $4, held_from = $5,
                held_to = $6, days_on_site = $7
         where survey_id = $1",
        id,
        state.as_str(),
        institution,
        &visit.surveyors,
        visit.from.to_sqlx() as _,
        visit.to.to_sqlx() as _,
        visit.days_on_site,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the score of a chapter with its elements; a former score is superseded.
///
/// # Errors
/// When the database fails.
pub async fn score(
    connection: &mut PgConnection,
    id: Uuid,
    chapter: &str,
    elements: &[(String, Fulfilment)],
    score: Score,
    at: Timestamp,
) -> Result<(), Error> {
    let (codes, fulfilments): (Vec<_>, Vec<_>) =
        elements.iter().map(|(code, fulfilment)| (code.clone(), fulfilment.as_str().to_owned())).unzip();
    sqlx::query!(
        "update chapter_score set superseded_at = $3
         where survey_id = $1 and chapter = $2 and superseded_at is null",
        id,
        chapter,
        at.to_sqlx() as _,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into chapter_score (survey_id, chapter, points, max_points, elements, fulfilments, recorded_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        id,
        chapter,
        i32::try_from(score.points).unwrap_or(i32::MAX),
        i32::try_from(score.max).unwrap_or(i32::MAX),
        &codes,
        &fulfilments,
        at.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the decision.
///
/// # Errors
/// When the database fails.
pub async fn decide(connection: &mut PgConnection, id: Uuid, grade: Grade, on: Date) -> Result<(), Error> {
    sqlx::query!(
        "update survey set state = $2, grade = $3, decided_on = $4 where survey_id = $1",
        id,
        State::Decided.as_str(),
        grade.as_str(),
        on.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Row {
    fn read(self) -> Result<Survey, Error> {
        let grade = stored_if(self.grade.as_deref(), Grade::parse, "survey.grade")?;
        let points = |points: i32| u32::try_from(points).unwrap_or_default();
        let scores = self.points.into_iter().zip(self.max_points).zip(self.elements);
        let chapters = self.chapters.into_iter().zip(scores).map(|(chapter, ((reached, max), elements))| {
            let score = Score { points: points(reached), max: points(max) };
            (chapter, score, usize::try_from(elements).unwrap_or_default())
        });
        let days = self.held_from.zip(self.held_to).zip(self.days_on_site);
        Ok(Survey {
            id: self.survey_id,
            facility_code: self.facility_code,
            state: stored(State::parse(&self.state), "survey.state")?,
            applied_on: self.applied_on.to_jiff(),
            renewal: self.renewal,
            applied_late: self.applied_late,
            attested: Attested {
                equipment_registry_updated: self.equipment_registry_updated,
                all_staff_registered: self.all_staff_registered,
                licensed_percent: self.licensed_percent,
                quality_months: self.quality_months,
                incident_months: self.incident_months,
            },
            institution: self.surveyor_institution,
            visit: days.map(|((from, to), days_on_site)| Visit {
                from: from.to_jiff(),
                to: to.to_jiff(),
                days_on_site,
                surveyors: self.surveyor_numbers,
            }),
            chapters: chapters.collect(),
            decision: grade.zip(self.decided_on.map(jiff_sqlx::Date::to_jiff)),
            certificate_number: self.certificate_number,
        })
    }
}
