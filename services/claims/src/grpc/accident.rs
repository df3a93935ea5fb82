//! What primary payers bear of an accident, over gRPC.

use chassis::{Begun, Call, Fields, Mutation, RequestId, time};
use prost::Message as _;
use proto::claims::v1::{self as pb, accident_service_server::AccidentService};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};
use vocabulary::SepNumber;

use super::{Seps, claim::answered, sep, sep_fields::accident_in_words, sep_life::changeable};
use crate::{
    accident::Payer,
    accident_share::{Against, Statement, borne, left, share},
    error::Error,
    store::{self, claim, primary_payment::Row},
};

/// More than any claim ever was.
const MOST_RUPIAH: i64 = 1_000_000_000_000;

#[tonic::async_trait]
impl AccidentService for Seps {
    async fn record_primary_payment(
        &self,
        request: Request<pb::RecordPrimaryPaymentRequest>,
    ) -> Result<Response<pb::RecordPrimaryPaymentResponse>, Status> {
        answered!(self, request, primary_payment)
    }

    async fn get_accident_share(
        &self,
        request: Request<pb::GetAccidentShareRequest>,
    ) -> Result<Response<pb::GetAccidentShareResponse>, Status> {
        answered!(self, request, accident_share)
    }
}

impl Seps {
    async fn primary_payment(
        &self,
        call: &Call,
        message: pb::RecordPrimaryPaymentRequest,
    ) -> Result<pb::RecordPrimaryPaymentResponse, Error> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let number = fields.parse("sep_number", SepNumber::parse(&message.sep_number));
        let payer = Payer::of(message.payer);
        fields.require("payer", payer.is_some(), "a value of PrimaryPayer");
        let amount = (0..=MOST_RUPIAH).contains(&message.amount_rupiah);
        fields.require("amount_rupiah", amount, format!("0 to {MOST_RUPIAH} rupiah"));
        let letter_number = fields.parse("letter_number", vocabulary::text(&message.letter_number, 50));
        let stated_on = fields.parse("stated_on", vocabulary::date(&message.stated_on));
        let past = stated_on.is_none_or(|day| day <= call.today);
        fields.require("stated_on", past, "must not lie in the future");
        let (Some(request_id), Some(number), Some(payer), Some(letter_number), Some(stated_on)) =
            (request_id, number, payer, letter_number, stated_on)
        else {
            return Err(fields.into());
        };
        fields.checked()?;
        let mut write = match Mutation::new(call, &message, request_id).begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let (_, letter) = changeable(&mut write, call, &number).await?;
        let named = named(&letter);
        if !named.contains(&payer) {
            return Err(Error::PrimaryPayerNotNamed(named));
        }
        let occurred_on = letter.accident.as_ref().map_or("", |accident| &accident.occurred_on);
        if vocabulary::date(occurred_on).is_ok_and(|day| stated_on < day) {
            let mut fields = Fields::new();
            fields.wrong("stated_on", "must not lie before the accident");
            return Err(fields.into());
        }
        let row = Row {
            payer: payer as i16,
            amount_rupiah: message.amount_rupiah,
            letter_number,
            stated_on,
            recorded_at: call.received_at,
            recorded_by: call.caller.to_string(),
        };
        store::primary_payment::record(write.connection(), number.as_str(), &row).await?;
        let event = pb::PrimaryPaymentRecorded {
            sep_number: number.as_str().to_owned(),
            facility_code: letter.facility_code.clone(),
            payer: message.payer,
            amount_rupiah: row.amount_rupiah,
            stated_on: row.stated_on.to_string(),
        };
        write.emit(number.as_str(), &event).await?;
        let share = Some(shown(write.connection(), &letter).await?);
        Ok(write.commit(pb::RecordPrimaryPaymentResponse { share }).await?)
    }

    async fn accident_share(
        &self,
        call: &Call,
        message: pb::GetAccidentShareRequest,
    ) -> Result<pb::GetAccidentShareResponse, Error> {
        let mut fields = Fields::new();
        let Some(number) = fields.parse("sep_number", SepNumber::parse(&message.sep_number)) else {
            return Err(fields.into());
        };
        // One moment for letter, statements and claim.
        let mut moment = self.db.pool.begin().await?;
        let own = call.caller.facility();
        let row = store::sep::get(&mut *moment, number.as_str(), own).await?.ok_or(Error::NoSep)?;
        let share = Some(shown(&mut moment, &sep::view(&row)?).await?);
        Ok(pb::GetAccidentShareResponse { share })
    }
}

/// The payers that a SEP names.
fn named(letter: &pb::Sep) -> Vec<Payer> {
    let accident = letter.accident.as_ref().and_then(accident_in_words);
    accident.map_or_else(Vec::new, |(_, payers)| payers)
}

fn statements(rows: &[Row]) -> Vec<Statement> {
    let read = |row: &Row| {
        Payer::of(row.payer.into()).map(|payer| Statement { payer, amount_rupiah: row.amount_rupiah })
    };
    rows.iter().filter_map(read).collect()
}

/// What BPJS Kesehatan may pay of a claim: its package, less what the payers before it bear of an accident.
pub(super) async fn payable(connection: &mut PgConnection, row: &claim::Row) -> Result<i64, Error> {
    let package = row.tariff_rupiah.ok_or(Error::NotGrouped)?;
    let letter = store::sep::get(&mut *connection, &row.sep_number, None).await?.ok_or(Error::NoSep)?;
    let letter = pb::Sep::decode(letter.letter.as_slice()).map_err(|_| Error::Unreadable("SEP"))?;
    let named = named(&letter);
    if named.is_empty() {
        return Ok(package);
    }
    let stated = statements(&store::primary_payment::of_sep(connection, &row.sep_number).await?);
    share(package, &named, &stated).map_err(|against| match against {
        Against::Silent(payers) => Error::PrimaryPayerNotStated(payers),
        Against::AllBorne(borne) => Error::PrimaryPayersBearAll(borne),
    })
}

async fn shown(connection: &mut PgConnection, letter: &pb::Sep) -> Result<pb::AccidentShare, Error> {
    let number = &letter.sep_number;
    let named = named(letter);
    let mut rows = store::primary_payment::of_sep(&mut *connection, number).await?;
    rows.retain(|row| Payer::of(row.payer.into()).is_some_and(|payer| named.contains(&payer)));
    let claim = match store::claim::of_sep(&mut *connection, number).await? {
        Some((claim_id, _)) => store::claim::get(connection, claim_id, None).await?,
        None => None,
    };
    let borne = borne(&named, &statements(&rows));
    let package_rupiah = claim.as_ref().and_then(|claim| claim.tariff_rupiah).unwrap_or_default();
    Ok(pb::AccidentShare {
        sep_number: number.clone(),
        payments: rows
            .into_iter()
            .map(|row| pb::PrimaryPayment {
                payer: row.payer.into(),
                amount_rupiah: row.amount_rupiah,
                letter_number: row.letter_number,
                stated_on: row.stated_on.to_string(),
                recorded_at: Some(time::to_proto(row.recorded_at)),
                recorded_by: row.recorded_by,
            })
            .collect(),
        silent: borne.silent.iter().map(|payer| *payer as i32).collect(),
        borne_rupiah: borne.rupiah,
        claim_id: claim.map_or_else(String::new, |claim| claim.claim_id.to_string()),
        package_rupiah,
        left_rupiah: left(package_rupiah, borne.rupiah),
    })
}
