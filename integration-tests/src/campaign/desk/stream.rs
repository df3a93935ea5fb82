//! How a caller sends many claims over one stream, and what was not answered when the stream ended over another one:
//! each row under the request_id that it had, and noted by itself.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use futures::{future::join_all, stream};
use http::uri::PathAndQuery;
use prost::Message;
use proto::claims::v1::{SubmitClaimsRequest as Row, SubmitClaimsResponse as Answer};
use rand::RngExt;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::{Asked, DEADLINE, Desk, MARGIN, SHORTEST_PAUSE, Stopped, may_be_repeated};
use crate::{
    calls::reason,
    campaign::journal::{End, Entry, Told, Tried},
};

/// One stream in so many is cut by its sender in the midst of the answers, as by a failing line of its own.
const CUT_BY_SENDER: u32 = 5;
/// One stream in so many is sent over all gateways at the same time.
const SENT_TWICE: u32 = 10;

/// A row that is on its way, and what is noted of it.
struct OpenRow {
    row: Row,
    entry: Entry,
}

/// What became of one stream.
struct Streamed {
    /// In the order in which they came.
    answers: Vec<Answer>,
    ended: Ended,
}

/// How a stream ended.
enum Ended {
    /// By the other side, or by the sender when it had enough.
    Whole,
    /// What was not answered may have been carried out or not.
    Broken { code: Option<Code>, after: Option<Duration> },
    /// It was not taken at all.
    Refused(Status),
}

impl Desk {
    /// Submits claims over a stream until the outcome of each is known, and notes each. `tells` says what events an
    /// answer stands for. Returns the answers of those that were acknowledged.
    pub(crate) async fn submit_all(
        &mut self,
        institution: &str,
        claim_ids: &[String],
        tells: impl Fn(&Answer) -> Vec<Told>,
    ) -> Result<Vec<Answer>, Stopped> {
        if !self.is_open() {
            return Err(Stopped::Over);
        }
        let mut open = VecDeque::new();
        for claim_id in claim_ids {
            let row = Row { request_id: self.next_request_id(), claim_id: claim_id.clone() };
            let entry = self.entry(institution, row.request_id.clone(), &row);
            open.push_back(OpenRow { row, entry });
        }
        let token = self.tokens.of(institution);
        let mut acknowledged = Vec::new();
        let (mut pause, mut until, mut streams) = (SHORTEST_PAUSE, None, 0);
        while !open.is_empty() {
            let at = self.begun.elapsed();
            let rows: Vec<Row> = open.iter().map(|one| one.row.clone()).collect();
            let enough = if self.chance.random_ratio(1, CUT_BY_SENDER) {
                self.chance.random_range(0..rows.len())
            } else {
                rows.len()
            };
            let lines = if streams == 0 && self.chance.random_ratio(1, SENT_TWICE) {
                self.lines.clone()
            } else {
                vec![self.line()]
            };
            streams += 1;
            let sent = lines.into_iter().map(|line| send(line, token.clone(), rows.clone(), enough));
            let streamed = join_all(sent).await;
            let tried = Tried { at, until: self.begun.elapsed(), code: code(&streamed) };
            let mut after = None;
            for (place, mut one) in std::mem::take(&mut open).into_iter().enumerate() {
                one.entry.attempts += u32::try_from(streamed.len()).unwrap_or(u32::MAX);
                match outcome(&mut one, place, &streamed) {
                    Outcome::Acknowledged(answer) => {
                        one.entry.end =
                            End::Acknowledged { answer: answer.encode_to_vec(), tells: tells(&answer) };
                        self.acknowledged.fetch_add(1, Ordering::Relaxed);
                        acknowledged.push(*answer);
                    }
                    Outcome::Refused { code, reason } => one.entry.end = End::Refused { code, reason },
                    Outcome::Unknown => {
                        one.entry.tried.push(tried);
                        open.push_back(one);
                        continue;
                    }
                }
                one.entry.ended = self.begun.elapsed();
                self.entries.push(one.entry);
            }
            for one in &streamed {
                if let Ended::Broken { after: Some(asked), .. } = &one.ended {
                    after = after.max(Some(*asked));
                }
            }
            if open.is_empty() {
                break;
            }
            if !self.is_open() {
                open.iter_mut().for_each(|one| one.entry.open_at_the_end = true);
                if !self.calm(&mut until).await {
                    break;
                }
            }
            pause = self.pause(pause, after).await;
        }
        let given_up = !open.is_empty();
        for mut one in open {
            one.entry.ended = self.begun.elapsed();
            self.entries.push(one.entry);
        }
        if given_up || acknowledged.len() < claim_ids.len() { Err(Stopped::Failed) } else { Ok(acknowledged) }
    }
}

/// The code with which the last of the streams ended that did not end well; none when one was still open well after its
/// deadline.
fn code(streamed: &[Streamed]) -> Option<Code> {
    streamed.iter().try_fold(Code::Ok, |code, one| match &one.ended {
        Ended::Whole => Some(code),
        Ended::Broken { code, .. } => *code,
        Ended::Refused(status) => Some(status.code()),
    })
}

/// What became of one row.
enum Outcome {
    Acknowledged(Box<Answer>),
    Refused { code: Code, reason: String },
    Unknown,
}

/// What became of the row at a place, by all the streams that it was sent over. A row is answered in its turn; two
/// answers that differ, and a refusal beside an answer, are noted.
fn outcome(one: &mut OpenRow, place: usize, streamed: &[Streamed]) -> Outcome {
    let mut answered: Option<Answer> = None;
    let mut refused = None;
    for stream in streamed {
        match (stream.answers.get(place), &stream.ended) {
            (Some(answer), _)
                if (&answer.request_id, &answer.claim_id) != (&one.row.request_id, &one.row.claim_id) =>
            {
                one.entry.differs = true;
            }
            (Some(answer), _) if answer.reason.is_empty() => {
                one.entry.differs |= answered.as_ref().is_some_and(|first| first != answer);
                answered = Some(answer.clone());
            }
            (Some(answer), _) if !comes_again(&answer.reason) => {
                // The stream itself was taken: a row has no code of its own.
                refused = Some(Outcome::Refused { code: Code::Ok, reason: answer.reason.clone() });
            }
            (None, Ended::Refused(status)) => {
                refused = Some(Outcome::Refused { code: status.code(), reason: reason(status) });
            }
            (_, _) => {}
        }
    }
    match (answered, refused) {
        (Some(answer), refused) => {
            one.entry.differs |= refused.is_some();
            Outcome::Acknowledged(Box::new(answer))
        }
        (None, Some(refused)) => refused,
        (None, None) => Outcome::Unknown,
    }
}

/// Whether a row with this reason is sent again, as a call with the code of that reason would be.
pub(crate) fn comes_again(reason: &str) -> bool {
    matches!(reason, "TEMPORARILY_UNAVAILABLE" | "DEADLINE_PASSED" | "OVERLOADED" | "INTERNAL")
}

/// One stream, of which the sender takes as many answers as it says.
async fn send(line: Channel, token: MetadataValue<Ascii>, rows: Vec<Row>, enough: usize) -> Streamed {
    let mut answers = Vec::with_capacity(rows.len());
    let mut request = Request::new(stream::iter(rows));
    request.set_timeout(DEADLINE);
    request.metadata_mut().insert("authorization", token);
    let sent = async {
        let mut grpc = Grpc::new(line);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec: ProstCodec<Row, Answer> = ProstCodec::default();
        let opened = grpc.streaming(request, PathAndQuery::from_static(Row::PATH), codec).await?;
        let mut coming = opened.into_inner();
        while answers.len() < enough
            && let Some(answer) = coming.message().await?
        {
            answers.push(answer);
        }
        Ok(())
    };
    let ended = match tokio::time::timeout(DEADLINE + MARGIN, sent).await {
        Ok(Ok(())) => Ended::Whole,
        Ok(Err(status)) if may_be_repeated(Status::code(&status)) => {
            let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
            Ended::Broken { code: Some(status.code()), after }
        }
        Ok(Err(status)) => Ended::Refused(status),
        Err(_hung) => Ended::Broken { code: None, after: None },
    };
    Streamed { answers, ended }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: usize) -> OpenRow {
        let row = Row { request_id: format!("request-{number}"), claim_id: format!("claim-{number}") };
        let entry = Entry {
            institution: "hospital:9901R001".to_owned(),
            request_id: row.request_id.clone(),
            path: Row::PATH,
            request: row.encode_to_vec(),
            begun: Duration::ZERO,
            ended: Duration::ZERO,
            attempts: 0,
            tried: Vec::new(),
            open_at_the_end: false,
            differs: false,
            end: End::Unknown,
        };
        OpenRow { row, entry }
    }

    fn answer(number: usize, state: i32, reason: &str) -> Answer {
        let Row { request_id, claim_id } = row(number).row;
        Answer { request_id, claim_id, state, reason: reason.to_owned(), ..Answer::default() }
    }

    /// What became of the first of two rows, and whether something was wrong with it.
    fn first(streamed: &[Streamed]) -> (&'static str, bool) {
        let mut one = row(0);
        let outcome = match outcome(&mut one, 0, streamed) {
            Outcome::Acknowledged(_) => "acknowledged",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown => "unknown",
        };
        (outcome, one.entry.differs)
    }

    fn whole(answers: Vec<Answer>) -> Streamed {
        Streamed { answers, ended: Ended::Whole }
    }

    #[test]
    fn a_row_is_acknowledged_refused_or_to_be_sent_again() {
        assert_eq!(first(&[whole(vec![answer(0, 4, ""), answer(1, 4, "")])]), ("acknowledged", false));
        assert_eq!(first(&[whole(vec![answer(0, 0, "CLAIM_NOT_GROUPED")])]), ("refused", false));
        assert_eq!(first(&[whole(vec![answer(0, 0, "TEMPORARILY_UNAVAILABLE")])]), ("unknown", false));
        let broken = || Ended::Broken { code: Some(Code::Unavailable), after: None };
        assert_eq!(first(&[Streamed { answers: Vec::new(), ended: broken() }]), ("unknown", false));
        let cut = Streamed { answers: vec![answer(0, 4, "")], ended: broken() };
        assert_eq!(first(&[cut]), ("acknowledged", false), "what was answered before the cut");
        let denied = Ended::Refused(Status::permission_denied(""));
        assert_eq!(first(&[Streamed { answers: Vec::new(), ended: denied }]), ("refused", false));
    }

    #[test]
    fn answers_that_differ_or_come_out_of_turn_are_noted() {
        assert_eq!(first(&[whole(vec![answer(1, 4, ""), answer(0, 4, "")])]), ("unknown", true));
        let twice = |other| first(&[whole(vec![answer(0, 4, "")]), whole(vec![other])]);
        assert_eq!(twice(answer(0, 4, "")), ("acknowledged", false));
        assert_eq!(twice(answer(0, 5, "")), ("acknowledged", true));
        assert_eq!(twice(answer(0, 0, "CLAIM_STATE_WRONG")), ("acknowledged", true));
        assert_eq!(twice(answer(0, 0, "TEMPORARILY_UNAVAILABLE")), ("acknowledged", false));
    }
}
