//! What the expressions of a set of rules are made of: conditions, joined by `&&`, `||` and `!`. Rules share conditions,
//! as `claim.care == 'inpatient'`; each is kept once, and evaluated once for a claim however many rules ask for it.

use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};

use crate::codes::CodeRange;

/// How the name of a code test begins. No name that a rule can write does.
const TEST: char = '#';
/// The list that most loops of rules go over, and that is empty for most claims.
pub(super) const EPISODES: &str = "member.episodes";

/// What an expression comes to out of its conditions, which it has by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Formula {
    /// All of them hold.
    All(Vec<Formula>),
    /// Any of them holds.
    Any(Vec<Formula>),
    /// It does not hold.
    Not(Box<Formula>),
    /// A condition.
    Condition(usize),
}

/// What rules ask of a claim, true or false or, for a [`CodeTest`] within an expression, a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// Of its codes: found without an interpreter.
    Codes(CodeTest),
    /// Of anything else, in CEL.
    Expression {
        /// The expression.
        root: IdedExpr,
        /// What it is for a member without other episodes, where that needs no evaluation.
        without_episodes: Option<bool>,
    },
}

/// Whether codes lie in ranges, or how many do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CodeTest {
    /// Name of the codes, e.g. `claim.diagnoses`.
    pub(super) of: String,
    pub(super) ranges: Vec<CodeRange>,
    pub(super) counted: bool,
}

/// The conditions of a set of rules, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Conditions(Vec<Condition>);

impl Conditions {
    fn place(&mut self, condition: Condition) -> usize {
        self.0.iter().position(|known| *known == condition).unwrap_or_else(|| {
            self.0.push(condition);
            self.0.len() - 1
        })
    }

    /// The name under which expressions have a test of codes.
    pub(super) fn name(&mut self, test: CodeTest) -> String {
        format!("{TEST}{}", self.place(Condition::Codes(test)))
    }

    /// The test of a name.
    pub(super) fn named(&self, name: &str) -> Option<&CodeTest> {
        match self.at(place_of(name)?)? {
            Condition::Codes(test) => Some(test),
            Condition::Expression { .. } => None,
        }
    }

    /// The condition at a place.
    pub(super) fn at(&self, place: usize) -> Option<&Condition> {
        self.0.get(place)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The formula of an expression that is true or false.
    pub(super) fn formula(&mut self, expression: &IdedExpr) -> Formula {
        match &expression.expr {
            Expr::Call(call) if call.func_name == operators::LOGICAL_NOT => {
                // One argument, as was checked.
                let denied = call.args.iter().map(|denied| self.formula(denied)).next();
                denied.map_or_else(|| self.condition(expression), |denied| Formula::Not(Box::new(denied)))
            }
            Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
                Formula::All(self.joined(&call.args, |side| match side {
                    Formula::All(more) => more,
                    one => vec![one],
                }))
            }
            Expr::Call(call) if call.func_name == operators::LOGICAL_OR => {
                Formula::Any(self.joined(&call.args, |side| match side {
                    Formula::Any(more) => more,
                    one => vec![one],
                }))
            }
            _ => self.condition(expression),
        }
    }

    /// What an operator joins, those of the same operator within its sides among them.
    fn joined(&mut self, sides: &[IdedExpr], parts: fn(Formula) -> Vec<Formula>) -> Vec<Formula> {
        let mut joined: Vec<_> = sides.iter().flat_map(|side| parts(self.formula(side))).collect();
        // What is cheap to ask comes first; it is the same in any order.
        joined.sort_by_key(|one| self.cost(one));
        joined
    }

    fn condition(&mut self, expression: &IdedExpr) -> Formula {
        if let Expr::Ident(name) = &expression.expr
            && let Some(place) = place_of(name)
        {
            return Formula::Condition(place);
        }
        let without_episodes = match &expression.expr {
            Expr::Comprehension(loops) => without_episodes(loops),
            _ => None,
        };
        Formula::Condition(self.place(Condition::Expression { root: expression.clone(), without_episodes }))
    }

    fn cost(&self, formula: &Formula) -> usize {
        match formula {
            Formula::All(several) | Formula::Any(several) => {
                several.iter().map(|one| self.cost(one)).max().unwrap_or_default()
            }
            Formula::Not(one) => self.cost(one),
            Formula::Condition(place) => match self.at(*place) {
                Some(Condition::Expression {
                    root: IdedExpr { expr: Expr::Comprehension(_), .. }, ..
                }) => 2,
                Some(Condition::Expression { .. }) => 1,
                Some(Condition::Codes(_)) | None => 0,
            },
        }
    }
}

fn place_of(name: &str) -> Option<usize> {
    name.strip_prefix(TEST)?.parse().ok()
}

/// What `exists` and `all` are on an empty list: what they begin with.
fn without_episodes(loops: &ComprehensionExpr) -> Option<bool> {
    match (&loops.iter_range.expr, &loops.accu_init.expr, &loops.result.expr) {
        (Expr::Ident(list), Expr::Literal(LiteralValue::Boolean(begin)), Expr::Ident(result))
            if list == EPISODES && *result == loops.accu_var =>
        {
            Some(*begin.inner())
        }
        _ => None,
    }
}
