//! Rules over gRPC: read, tried, activated; and a claim judged before it is submitted.

use std::sync::Arc;

use chassis::{Begun, Call, Db, Fields, Mutation, RequestId, time};
use jiff::{ToSpan, civil::Date};
use proto::claims::v1::{self as pb, rule_service_server::RuleService};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Policies,
    claim_read::claim_id,
    optional, rule_facts,
    verification::{self, found},
};
use crate::{
    error::Error,
    rules::{
        self, Kind, Level, Outcome, Rule, RuleSet,
        backtest::{Change, Sum, Tally},
        load, tracer,
    },
    store::{self, rules::Activation},
};

/// Name of a rule file that came in a request, told with its mistakes.
const FILE: &str = "rule_set";
/// Days before and after today from which a set may hold, and days that a backtest may cover.
const MOST_DAYS: i64 = 366;
/// Claims that one backtest judges.
const MOST_CLAIMS: i64 = 200_000;
/// Claims that are read and judged at a time.
const PAGE: i64 = 500;
/// Activations that are listed.
const MOST_ACTIVATIONS: i64 = 100;

/// Answers for rules.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) db: Db,
    pub(crate) policies: Arc<Policies>,
}

/// Hands a method on to the function that answers it.
macro_rules! answered {
    ($self:ident, $request:ident, $by:ident) => {{
        let (call, message) = chassis::call::accept($request)?;
        Ok(Response::new(Box::pin($self.$by(&call, message)).await?))
    }};
}

#[tonic::async_trait]
impl RuleService for Rules {
    async fn validate_claim(
        &self,
        request: Request<pb::ValidateClaimRequest>,
    ) -> Result<Response<pb::ValidateClaimResponse>, Status> {
        answered!(self, request, validate)
    }

    async fn list_rules(
        &self,
        request: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        answered!(self, request, list)
    }

    async fn get_rule_set(
        &self,
        request: Request<pb::GetRuleSetRequest>,
    ) -> Result<Response<pb::GetRuleSetResponse>, Status> {
        answered!(self, request, get)
    }

    async fn backtest_rule_set(
        &self,
        request: Request<pb::BacktestRuleSetRequest>,
    ) -> Result<Response<pb::BacktestRuleSetResponse>, Status> {
        answered!(self, request, backtest)
    }

    async fn activate_rule_set(
        &self,
        request: Request<pb::ActivateRuleSetRequest>,
    ) -> Result<Response<pb::ActivateRuleSetResponse>, Status> {
        answered!(self, request, activate)
    }

    async fn list_tracers(
        &self,
        request: Request<pb::ListTracersRequest>,
    ) -> Result<Response<pb::ListTracersResponse>, Status> {
        answered!(self, request, tracers)
    }
}

impl Rules {
    async fn validate(
        &self,
        call: &Call,
        message: pb::ValidateClaimRequest,
    ) -> Result<pb::ValidateClaimResponse, Error> {
        let mut fields = Fields::new();
        let Some(id) = claim_id(&mut fields, "claim_id", &message.claim_id) else {
            return Err(fields.into());
        };
        let mut connection = self.db.pool.acquire().await?;
        store::claim::get(&mut *connection, id, call.caller.facility()).await?.ok_or(Error::NoClaim)?;
        let judged = verification::verify(&mut connection, &self.policies.rules, id).await?;
        let reason = judged.verdict.reason();
        Ok(pb::ValidateClaimResponse {
            would_pend: reason.is_some(),
            reason: reason.map_or(0, |reason| reason as i32),
            findings: judged.verdict.findings.iter().map(|rule| found(rule)).collect(),
            tracers: judged.verdict.tracers.iter().map(|(rule, outcome)| result(rule, *outcome)).collect(),
            rule_sets: judged.sets.iter().map(|set| name(set)).collect(),
        })
    }

    /// The set of a kind that holds on a day of service.
    async fn holding(&self, kind: Kind, on: Date) -> Result<Arc<RuleSet>, Error> {
        let mut connection = self.db.pool.acquire().await?;
        let activations = store::rules::holding(&mut *connection, on).await?;
        let [edits, tracers] = self.policies.rules.of(&mut connection, &activations).await?;
        Ok(match kind {
            Kind::Edits => edits,
            Kind::Tracers => tracers,
        })
    }

    async fn list(
        &self,
        call: &Call,
        message: pb::ListRulesRequest,
    ) -> Result<pb::ListRulesResponse, Status> {
        let (kind, on) = asked(call, message.kind, &message.on)?;
        let set = self.holding(kind, on).await?;
        let rules = set.rules.iter().filter(|rule| rule.holds_on(on)).map(|rule| shown(rule)).collect();
        Ok(pb::ListRulesResponse { rule_set: Some(name(&set)), rules })
    }

    async fn get(
        &self,
        call: &Call,
        message: pb::GetRuleSetRequest,
    ) -> Result<pb::GetRuleSetResponse, Status> {
        let (kind, on) = asked(call, message.kind, &message.on)?;
        let set = self.holding(kind, on).await?;
        let acts = store::rules::activations(&self.db.pool, kind as i16, MOST_ACTIVATIONS).await;
        let acts = acts.map_err(Error::from)?;
        Ok(pb::GetRuleSetResponse {
            rule_set: Some(name(&set)),
            text: set.text.clone(),
            activations: acts.iter().map(activation).collect(),
        })
    }

    async fn backtest(
        &self,
        call: &Call,
        message: pb::BacktestRuleSetRequest,
    ) -> Result<pb::BacktestRuleSetResponse, Status> {
        let mut fields = Fields::new();
        let from = fields.parse("service_date_from", vocabulary::date(&message.service_date_from));
        let to = fields.parse("service_date_to", vocabulary::date(&message.service_date_to));
        if let (Some(from), Some(to)) = (from, to) {
            let fits = from <= to && to <= from.saturating_add(MOST_DAYS.days());
            let within = format!("from service_date_from to {MOST_DAYS} days after it");
            fields.require("service_date_to", fits, within);
        }
        rule_set(&mut fields, &message.rule_set);
        let (Some(from), Some(to)) = (from, to) else { return Err(fields.into()) };
        fields.finish()?;
        let candidate = self.read(call, &message.rule_set).await?;
        Ok(self.compared((from, to), Arc::new(candidate)).await?)
    }

    /// What the candidate would change on the claims of a period.
    async fn compared(
        &self,
        period: (Date, Date),
        candidate: Arc<RuleSet>,
    ) -> Result<pb::BacktestRuleSetResponse, Error> {
        if store::rules::count_submitted(&self.db.pool, period, MOST_CLAIMS + 1).await? > MOST_CLAIMS {
            return Err(Error::BacktestTooLarge(MOST_CLAIMS));
        }
        let mut tally = Tally::default();
        let mut after = (period.0, Uuid::nil());
        loop {
            let page = store::rules::submitted(&self.db.pool, period, after, PAGE).await?;
            let Some((last, on)) = page.last() else { break };
            after = (*on, *last);
            tally = self.tried(page.into_iter().map(|(id, _)| id).collect(), &candidate, tally).await?;
        }
        Ok(pb::BacktestRuleSetResponse {
            candidate: Some(name(&candidate)),
            judged: Some(sum(tally.judged)),
            total: Some(row("", "", &tally.total)),
            by_class: tally.by_class.iter().map(|(class, change)| row(class, "", change)).collect(),
            by_rule: tally.by_rule.iter().map(|(id, change)| row("", id, change)).collect(),
        })
    }

    /// Judges some claims by the sets that hold and by the candidate, aside from the threads that serve.
    async fn tried(
        &self,
        claims: Vec<Uuid>,
        candidate: &Arc<RuleSet>,
        mut tally: Tally,
    ) -> Result<Tally, Error> {
        let mut connection = self.db.pool.acquire().await?;
        let claims = store::claim::with_letters(&mut *connection, &claims).await?;
        let seen = store::seen::seen(&mut connection, claims).await?;
        let mut pairs = Vec::with_capacity(seen.len());
        for seen in seen {
            let sets = self.policies.rules.of(&mut connection, &seen.activations).await?;
            let [edits, tracers] = sets;
            pairs.push((seen, if candidate.kind == Kind::Edits { edits } else { tracers }));
        }
        drop(connection);
        let candidate = Arc::clone(candidate);
        let judged = tokio::task::spawn_blocking(move || {
            for (seen, active) in pairs {
                let letter = rule_facts::letter(&seen)?;
                let facts = rule_facts::facts(&seen, &letter)?;
                let before = rules::judge([&*active], &facts);
                let after = rules::judge([&*candidate], &facts);
                tally.count(&facts.facility_class, facts.tariff_rupiah, &before, &after);
            }
            Ok(tally)
        });
        judged.await.map_err(|_| Error::Unreadable("claim"))?
    }

    /// Reads a set out of a request, and whether it may follow those that hold.
    async fn read(&self, call: &Call, text: &str) -> Result<RuleSet, Error> {
        let set =
            verification::parse(FILE.to_owned(), text.to_owned()).await?.map_err(Error::RuleSetInvalid)?;
        let now = self.holding(set.kind, call.today).await?;
        let of_file = &self.policies.rules.of_files()[usize::from(set.kind == Kind::Tracers)];
        if set.version == of_file.version && set.digest != of_file.digest {
            return Err(Error::RuleSetVersionUsed(set.version));
        }
        let known = [&*now, &**of_file];
        load::follows(FILE, &set, &known, call.today).map_err(Error::RuleSetInvalid)?;
        Ok(set)
    }

    async fn activate(
        &self,
        call: &Call,
        message: pb::ActivateRuleSetRequest,
    ) -> Result<pb::ActivateRuleSetResponse, Status> {
        let mut fields = Fields::new();
        let request_id = fields.parse("request_id", RequestId::parse(&message.request_id));
        let note = fields.parse("note", vocabulary::text(&message.note, 500));
        let effective_from = fields.parse("effective_from", vocabulary::date(&message.effective_from));
        if let Some(day) = effective_from {
            let (first, last) =
                (call.today.saturating_sub(MOST_DAYS.days()), call.today.saturating_add(MOST_DAYS.days()));
            fields.require("effective_from", first <= day && day <= last, format!("from {first} to {last}"));
        }
        rule_set(&mut fields, &message.rule_set);
        let (Some(request_id), Some(note), Some(effective_from)) = (request_id, note, effective_from) else {
            return Err(fields.into());
        };
        fields.finish()?;
        let mutation = Mutation::new(call, &message, request_id);
        // The answer to the first attempt stands, also where the same text would be refused by now.
        if let Some(answer) = mutation.replayed(&self.db).await? {
            return Ok(answer);
        }
        let set = self.read(call, &message.rule_set).await?;
        Ok(self.act(call, &mutation, &set, effective_from, note).await?)
    }

    async fn act(
        &self,
        call: &Call,
        mutation: &Mutation,
        set: &RuleSet,
        effective_from: Date,
        note: String,
    ) -> Result<pb::ActivateRuleSetResponse, Error> {
        let mut write = match mutation.begin(&self.db).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        store::rules::one_at_a_time(write.connection()).await?;
        let kind = set.kind as i16;
        let before = store::rules::text_of_version(write.connection(), kind, &set.version).await?;
        if before.is_some_and(|before| before != set.text) {
            return Err(Error::RuleSetVersionUsed(set.version.clone()));
        }
        let mut act = Activation {
            activation_id: 0,
            kind,
            version: set.version.clone(),
            digest: set.digest.clone(),
            effective_from,
            activated_at: call.received_at,
            activated_by: call.caller.to_string(),
            note,
        };
        (act.activation_id, act.activated_at) =
            store::rules::activate(write.connection(), &act, &set.text).await?;
        let told = pb::RuleSetActivated { activation: Some(activation(&act)) };
        write.emit(&format!("{}/{}", set.kind.name(), set.version), &told).await?;
        Ok(write.commit(pb::ActivateRuleSetResponse { activation: Some(activation(&act)) }).await?)
    }

    async fn tracers(
        &self,
        call: &Call,
        message: pb::ListTracersRequest,
    ) -> Result<pb::ListTracersResponse, Status> {
        let mut fields = Fields::new();
        let level = pb::TracerLevel::try_from(message.level);
        fields.require("level", level.is_ok(), "a value of TracerLevel, or unspecified for both");
        fields.finish()?;
        let set = self.holding(Kind::Tracers, call.today).await?;
        let asked =
            |rule: &&Arc<Rule>| message.level == 0 || rule.level.map(|l| l as i32) == Some(message.level);
        let rules: Vec<_> = set.rules.iter().filter(asked).collect();
        let named: Vec<_> = rules.iter().map(|rule| (rule.id.clone(), rule.version)).collect();
        let first = store::rules::first_runs(&self.db.pool, &named).await.map_err(Error::from)?;
        let months = set.embed_within_months.unwrap_or_default();
        let tracers = rules.iter().zip(first).map(|(rule, first)| {
            let first = first.map(time::today_at);
            let day = |day: Option<Date>| day.map_or_else(String::new, |day| day.to_string());
            pb::Tracer {
                rule: Some(shown(rule)),
                first_run_on: day(first),
                due_on: day(tracer::due_on(rule, months)),
                timeliness: tracer::timeliness(rule, months, first, call.today) as i32,
            }
        });
        Ok(pb::ListTracersResponse { rule_set: Some(name(&set)), tracers: tracers.collect() })
    }
}

/// The text of a set, as far as it is a field of a request.
fn rule_set(fields: &mut Fields, text: &str) {
    let fits = (1..=load::MOST_BYTES).contains(&text.len());
    fields.require("rule_set", fits, format!("the text of a rule file, at most {} bytes", load::MOST_BYTES));
}

/// Kind and day of a question; today when no day is named.
fn asked(call: &Call, kind: i32, on: &str) -> Result<(Kind, Date), Status> {
    let mut fields = Fields::new();
    let known = Kind::of(kind);
    fields.require("kind", known.is_some(), "RULE_KIND_EDITS or RULE_KIND_TRACERS");
    let on = optional(&mut fields, "on", on, vocabulary::date).unwrap_or(call.today);
    let Some(kind) = known else { return Err(fields.into()) };
    fields.finish()?;
    Ok((kind, on))
}

fn name(set: &RuleSet) -> pb::RuleSetName {
    pb::RuleSetName { kind: set.kind as i32, version: set.version.clone(), digest: set.digest.clone() }
}

fn activation(act: &Activation) -> pb::RuleSetActivation {
    pb::RuleSetActivation {
        activation_id: act.activation_id,
        rule_set: Some(pb::RuleSetName {
            kind: act.kind.into(),
            version: act.version.clone(),
            digest: act.digest.clone(),
        }),
        effective_from: act.effective_from.to_string(),
        activated_at: Some(time::to_proto(act.activated_at)),
        activated_by: act.activated_by.clone(),
        note: act.note.clone(),
    }
}

fn level(rule: &Rule) -> i32 {
    rule.level.map_or(0, |level: Level| level as i32)
}

fn shown(rule: &Rule) -> pb::Rule {
    let words = |words: &rules::Words| pb::BilingualText {
        indonesian: words.indonesian.clone(),
        english: words.english.clone(),
    };
    let day = |day: Option<Date>| day.map_or_else(String::new, |day| day.to_string());
    pb::Rule {
        rule_id: rule.id.clone(),
        version: rule.version,
        source: rule.source.clone(),
        issued_on: day(rule.issued_on),
        embedded_on: rule.embedded_on.to_string(),
        effective_from: rule.effective_from.to_string(),
        effective_to: day(rule.effective_to),
        severity: rule.severity as i32,
        reason: rule.reason.map_or(0, |reason| reason as i32),
        level: level(rule),
        needs: rule.needs.iter().map(|need| *need as i32).collect(),
        evidence: rule.evidence.clone(),
        message: Some(words(&rule.message)),
        cure: Some(words(&rule.cure)),
        applies: rule.applies_text.clone(),
        when: rule.when_text.clone(),
    }
}

fn result(rule: &Rule, outcome: Outcome) -> pb::TracerResult {
    let unmet = outcome == Outcome::Fires;
    let told = |text: &str| if unmet { text.to_owned() } else { String::new() };
    let outcome = match outcome {
        Outcome::Clear => pb::TracerOutcome::Met,
        Outcome::Fires => pb::TracerOutcome::Unmet,
        Outcome::NotApplicable | Outcome::NotAssessable | Outcome::Failed => pb::TracerOutcome::NotAssessable,
    };
    pb::TracerResult {
        rule_id: rule.id.clone(),
        rule_version: rule.version,
        level: level(rule),
        outcome: outcome.into(),
        message: told(&rule.message.english),
        message_indonesian: told(&rule.message.indonesian),
    }
}

fn sum(sum: Sum) -> pb::BacktestSum {
    pb::BacktestSum { claims: sum.claims, amount_rupiah: sum.rupiah }
}

fn row(class: &str, rule_id: &str, change: &Change) -> pb::BacktestRow {
    pb::BacktestRow {
        facility_class: class.to_owned(),
        rule_id: rule_id.to_owned(),
        active: Some(sum(change.active)),
        candidate: Some(sum(change.candidate)),
        added: Some(sum(change.added)),
        removed: Some(sum(change.removed)),
        reason_changed: Some(sum(change.reason_changed)),
    }
}
