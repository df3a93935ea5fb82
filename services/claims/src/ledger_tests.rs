//! The books of a hospital under any interleaving of what happens to its claims: the state machine stays lawful, every
//! entry balances, and each account is what the claims, batches and recoveries say.

use jiff::{ToSpan, civil::Date};
use proptest::prelude::*;
use vocabulary::Rupiah;

use super::*;
use crate::{
    clock, filing,
    life::{Life, NotNow, Party, State, Step, tests as life_tests},
    payment,
};

#[test]
fn an_entry_keeps_one_line_an_account_and_leaves_zeros_out() {
    let all = Totals { claims: 100, penalties: 20, offset: 120, due: 0 };
    let lines: Vec<_> = closed(&all).lines().collect();
    assert_eq!(
        lines,
        [(Account::ClaimsExpense, 100), (Account::RecoveryReceivable, -120), (Account::PenaltyPayable, 20)]
    );
    assert!(paid(0).is_empty() && late(0).is_empty() && !recovered(1).is_empty());
}

/// A claim in the books.
struct Claim {
    life: Life,
    amount: i64,
    submitted: Option<Date>,
    came_back: Option<Date>,
    batch: Option<usize>,
    recovered: i64,
}

/// A batch in the books.
struct Batch {
    totals: Option<Totals>,
    paid: bool,
}

struct Books {
    periods: clock::Periods,
    policy: payment::Penalty,
    today: Date,
    claims: Vec<Claim>,
    batches: Vec<Batch>,
    recoveries: Vec<(i64, i64)>,
    penalties: Vec<i64>,
    entries: Vec<Entry>,
}

/// Something that somebody wants to do.
#[derive(Debug, Clone, Copy)]
enum Act {
    Step(usize, Step),
    /// Takes a claim from wherever it is towards approval.
    Push(usize),
    /// Takes a claim from wherever it is towards a question, its dispute, and this decision.
    Contest(usize, Step),
    Post(usize),
    Close,
    Pay,
    PaySingle(usize),
    Recover(usize, i64),
    Wait(i32),
}

const CLAIMS: usize = 6;

fn acts() -> impl Strategy<Value = Act> {
    let claim = 0..CLAIMS;
    prop_oneof![
        3 => (claim.clone(), life_tests::steps()).prop_map(|(claim, step)| Act::Step(claim, step)),
        8 => claim.clone().prop_map(Act::Push),
        2 => (claim.clone(), prop_oneof![
            Just(Step::WithdrawDispute),
            Just(Step::Uphold),
            Just(Step::Correct),
            Just(Step::Decide)
        ])
            .prop_map(|(claim, decision)| Act::Contest(claim, decision)),
        4 => claim.clone().prop_map(Act::Post),
        2 => Just(Act::Close),
        2 => Just(Act::Pay),
        1 => claim.clone().prop_map(Act::PaySingle),
        2 => (claim, 1i64..2_000_000).prop_map(|(claim, amount)| Act::Recover(claim, amount)),
        2 => (1i32..80).prop_map(Act::Wait),
    ]
}

impl Books {
    fn new() -> Self {
        let claims = (0..CLAIMS).map(|n| Claim {
            life: Life::begin(),
            amount: 123_457 * (i64::try_from(n).unwrap() + 1),
            submitted: None,
            came_back: None,
            batch: None,
            recovered: 0,
        });
        Self {
            periods: filing::tests::periods(),
            policy: payment::tests::policy(),
            today: "2026-01-05".parse().unwrap(),
            claims: claims.collect(),
            batches: Vec::new(),
            recoveries: Vec::new(),
            penalties: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn step(&mut self, claim: usize, step: Step) -> Result<(), NotNow> {
        let claim = &mut self.claims[claim];
        claim.life = claim.life.take(step)?;
        if claim.life.submitted {
            claim.submitted.get_or_insert(self.today);
        }
        if claim.life.state == State::Resubmitted {
            claim.came_back = Some(self.today);
        }
        Ok(())
    }

    fn close(&mut self, batch: usize, with_offset: bool) {
        let rupiah = |amount: &i64| Rupiah::new(*amount).unwrap();
        let held: Vec<_> = self
            .claims
            .iter()
            .filter(|claim| claim.batch == Some(batch))
            .map(|claim| rupiah(&claim.amount))
            .collect();
        let (penalties, left): (Vec<_>, Vec<_>) = if with_offset {
            (
                self.penalties.drain(..).map(|penalty| rupiah(&penalty)).collect(),
                self.recoveries.iter().map(|(_, left)| rupiah(left)).collect(),
            )
        } else {
            (Vec::new(), Vec::new())
        };
        let (totals, taken) = payment::totals(&held, &penalties, &left).unwrap();
        for ((_, left), taken) in self.recoveries.iter_mut().zip(taken) {
            *left -= taken.get();
        }
        self.batches[batch].totals = Some(totals);
        self.entries.push(closed(&totals));
    }

    fn pay(&mut self, batch: usize) {
        let due = self.batches[batch].totals.unwrap().due;
        self.entries.push(paid(due));
        self.batches[batch].paid = true;
        let mut earned = 0;
        for claim in self.claims.iter_mut().filter(|claim| claim.batch == Some(batch)) {
            claim.life = claim.life.take(Step::Settle).expect("what was posted can be paid");
            let due =
                filing::payment_due(&self.periods, claim.submitted.unwrap(), None, claim.came_back).unwrap();
            earned += self.policy.of(Rupiah::new(claim.amount).unwrap(), due, self.today).get();
        }
        if earned > 0 {
            self.penalties.push(earned);
            self.entries.push(late(earned));
        }
    }

    fn open_batch(&self) -> Option<usize> {
        self.batches.iter().position(|batch| batch.totals.is_none())
    }

    fn act(&mut self, act: Act) {
        match act {
            // Payment comes by batches, and recovery by audits, never by a bare step.
            Act::Step(_, Step::Settle | Step::Recover) => {}
            Act::Step(claim, step) => {
                let _ = self.step(claim, step);
            }
            Act::Push(claim) => {
                let way = [
                    Step::Finalise,
                    Step::Group,
                    Step::Submit { found: false },
                    Step::Answer,
                    Step::Uphold,
                    Step::Verify,
                    Step::Approve,
                ];
                let _ = way.into_iter().any(|step| self.step(claim, step).is_ok());
            }
            Act::Contest(claim, decision) => {
                let way = [
                    Step::Finalise,
                    Step::Group,
                    Step::Submit { found: true },
                    decision,
                    Step::Dispute,
                    Step::Pend { of: Party::Hospital },
                ];
                let _ = way.into_iter().any(|step| self.step(claim, step).is_ok());
            }
            Act::Post(claim) => {
                if self.claims[claim].life.state == State::Approved && self.claims[claim].batch.is_none() {
                    let batch = self.open_batch().unwrap_or_else(|| {
                        self.batches.push(Batch { totals: None, paid: false });
                        self.batches.len() - 1
                    });
                    self.claims[claim].batch = Some(batch);
                }
            }
            Act::Close => {
                if let Some(batch) = self.open_batch() {
                    self.close(batch, true);
                }
            }
            Act::Pay => {
                if let Some(batch) =
                    self.batches.iter().position(|batch| batch.totals.is_some() && !batch.paid)
                {
                    self.pay(batch);
                }
            }
            Act::PaySingle(claim) => {
                if self.claims[claim].life.state == State::Approved && self.claims[claim].batch.is_none() {
                    self.batches.push(Batch { totals: None, paid: false });
                    let batch = self.batches.len() - 1;
                    self.claims[claim].batch = Some(batch);
                    self.close(batch, false);
                    self.pay(batch);
                }
            }
            Act::Recover(claim, amount) => {
                let claim = &mut self.claims[claim];
                if claim.life.take(Step::Recover).is_ok() && claim.recovered + amount <= claim.amount {
                    claim.recovered += amount;
                    self.recoveries.push((amount, amount));
                    self.entries.push(recovered(amount));
                }
            }
            Act::Wait(days) => self.today = self.today.saturating_add(i64::from(days).days()),
        }
    }

    fn balance(&self, account: Account) -> i64 {
        self.entries
            .iter()
            .flat_map(Entry::lines)
            .filter(|(of, _)| *of == account)
            .map(|(_, amount)| amount)
            .sum()
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for entry in &self.entries {
            prop_assert_eq!(entry.lines().map(|(_, amount)| amount).sum::<i64>(), 0, "{:?}", entry);
        }
        let closed =
            || self.batches.iter().filter_map(|batch| batch.totals.map(|totals| (totals, batch.paid)));
        let unpaid: i64 = closed().filter(|(_, paid)| !paid).map(|(totals, _)| totals.due).sum();
        let spent: i64 = closed().filter(|(_, paid)| *paid).map(|(totals, _)| totals.due).sum();
        let left: i64 = self.recoveries.iter().map(|(_, left)| left).sum();
        prop_assert!(closed().all(|(totals, _)| totals.due >= 0));
        prop_assert!(self.recoveries.iter().all(|(amount, left)| (0..=*amount).contains(left)));
        prop_assert_eq!(self.balance(Account::HospitalPayable), -unpaid);
        prop_assert_eq!(self.balance(Account::Bank), -spent);
        prop_assert_eq!(self.balance(Account::RecoveryReceivable), left);
        prop_assert_eq!(self.balance(Account::PenaltyPayable), -self.penalties.iter().sum::<i64>());
        prop_assert_eq!(
            self.balance(Account::ClaimsRecovered),
            -self.recoveries.iter().map(|(amount, _)| amount).sum::<i64>()
        );
        // What claims cost is what was put into closed batches, and each claim is in one.
        let cost: i64 = self
            .claims
            .iter()
            .filter(|claim| claim.batch.is_some_and(|batch| self.batches[batch].totals.is_some()))
            .map(|claim| claim.amount)
            .sum();
        prop_assert_eq!(self.balance(Account::ClaimsExpense), cost);
        for claim in &self.claims {
            let paid = claim.batch.is_some_and(|batch| self.batches[batch].paid);
            prop_assert_eq!(claim.life.state == State::Paid, paid);
            prop_assert!(claim.recovered <= claim.amount);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_claims_lawful_and_the_ledger_balanced(acts in proptest::collection::vec(acts(), 0..300)) {
        let mut books = Books::new();
        for act in acts {
            books.act(act);
            books.check()?;
        }
    }
}

#[test]
fn the_interleavings_reach_late_payments_offsets_and_disputes() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut late, mut offset, mut nothing_due, mut decided) = (0, 0, 0, 0);
    for _ in 0..100 {
        let acts = proptest::collection::vec(acts(), 300).new_tree(&mut runner).unwrap().current();
        let mut books = Books::new();
        acts.into_iter().for_each(|act| books.act(act));
        late += books.entries.iter().filter(|entry| entry.kind == Kind::PenaltyEarned).count();
        let totals = || books.batches.iter().filter_map(|batch| batch.totals);
        offset += totals().filter(|totals| totals.offset > 0).count();
        nothing_due += totals().filter(|totals| totals.due == 0).count();
        decided += books.claims.iter().filter(|claim| claim.life.state == State::Decided).count();
    }
    assert!(
        late > 20 && offset > 20 && nothing_due > 0 && decided > 0,
        "{late} {offset} {nothing_due} {decided}"
    );
}
