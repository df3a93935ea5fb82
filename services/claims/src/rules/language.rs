//! The language of the rules: CEL over a fixed vocabulary. An expression is read once, at load; then every name, type,
//! word and code range in it is known to be right, and the most steps it can take are counted, so that evaluating it can
//! neither fail on a type nor run for long.
//!
//! What most rules ask first, and most claims deny, is whether codes of a range are there. So `claim.diagnoses.coded('N17')`
//! is taken out of the expression at load: there it becomes a name, whose value is found without an interpreter. What is
//! joined by `&&`, `||` and `!` is taken apart into conditions ([`super::formula`]).

use std::sync::{Arc, OnceLock};

use cel::{
    Env,
    common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators},
};

use super::{
    Need,
    facts::MOST_EPISODES,
    formula::{CodeTest, Conditions, EPISODES, Formula},
};
use crate::codes::CodeRange;

/// Longest expression, in bytes.
const MOST_BYTES: usize = 2_000;
/// Most steps that an expression may take on any claim.
const MOST_STEPS: u64 = 50_000;
/// Deepest nesting of an expression.
const MOST_DEPTH: usize = 40;
/// Stack for the parser.
const PARSER_STACK: usize = 32 << 20;

/// What a value in a rule is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    Bool,
    Int,
    Text,
    /// A text that is one of these.
    Word(&'static [&'static str]),
    /// Coded diagnoses or procedures.
    Codes,
    Episode,
    List(Box<Type>),
    /// The element of an empty list.
    Anything,
}

use Type::{Bool, Codes, Episode, Int, List, Text, Word};

const CARE: &[&str] = &["inpatient", "outpatient"];
const SEX: &[&str] = &["male", "female"];
const DISCHARGE: &[&str] = &["approved", "referred", "own-request", "died", "other"];
const ROUTE: &[&str] = &[
    "general-practitioner",
    "hospital-transfer",
    "specialist",
    "outpatient",
    "inpatient",
    "emergency",
    "born",
    "nursing-home",
    "psychiatric",
    "rehabilitation",
    "other",
];
/// The kinds of document that a rule may look for or ask for.
pub(super) const DOCUMENTS: &[&str] = &[
    "medical-summary",
    "ward-report",
    "laboratory",
    "radiology",
    "other-diagnostic",
    "prescription",
    "bill",
    "operation-report",
    "other",
];
const CLASS: &[&str] = &["A", "B", "C", "D", ""];

/// Type of a name, and what must be at hand for it to be known.
fn variable(name: &str) -> Option<(Type, Option<Need>)> {
    let claim = |of| Some((of, None));
    let standing = |of| Some((of, Some(Need::Standing)));
    let referral = |of| Some((of, Some(Need::Referral)));
    let pcare = |of| Some((of, Some(Need::PcareRecord)));
    let within = |of, need| Some((of, Some(need)));
    match name {
        "claim.care" => claim(Word(CARE)),
        "claim.sex" => claim(Word(SEX)),
        "claim.discharge" => claim(Word(DISCHARGE)),
        "claim.admission_route" => claim(Word(ROUTE)),
        "claim.documents" => claim(List(Box::new(Word(DOCUMENTS)))),
        "claim.primary" | "claim.secondary" | "claim.diagnoses" | "claim.procedures" | "sep.diagnosis" => {
            claim(Codes)
        }
        "claim.package" | "sep.clinic" => claim(Text),
        "claim.has_sitb_number" | "claim.on_closed_day" | "sep.emergency" | "sep.with_referral" => {
            claim(Bool)
        }
        "claim.age_years"
        | "claim.age_days"
        | "claim.stay_days"
        | "claim.stay_hours"
        | "claim.icu_days"
        | "claim.ventilator_hours"
        | "claim.birth_weight_gram"
        | "claim.severity"
        | "claim.tariff_rupiah"
        | "claim.norm_days"
        | "claim.charges_rupiah"
        | "claim.charge_parts"
        | "facility.identical_bills"
        | "facility.doctor_visits" => claim(Int),
        "facility.class" => claim(Word(CLASS)),
        EPISODES => claim(List(Box::new(Episode))),
        "standing.contracted"
        | "standing.certificate_required"
        | "standing.certified"
        | "standing.certified_at_discharge" => standing(Bool),
        "referral.from_fktp" | "referral.after_visit" => referral(Bool),
        "pcare.hb_tested" | "pcare.referred_with_tacc" => pcare(Bool),
        "pcare.anc_contacts"
        | "pcare.anc_contacts_with_pressure"
        | "pcare.iron_tablets"
        | "pcare.days_since_pressure"
        | "pcare.days_since_glucose" => pcare(Int),
        "pcare.systolic" | "pcare.diastolic" => within(Int, Need::PcarePressure),
        "pcare.fasting_glucose_mg" => within(Int, Need::PcareFastingGlucose),
        "pcare.diagnoses" | "pcare.drugs" => pcare(Codes),
        "pcare.tb_drugs" => within(Codes, Need::PcareTbDrugs),
        _ => None,
    }
}

/// Type of a field of an episode.
fn field(name: &str) -> Option<Type> {
    match name {
        "care" => Some(Word(CARE)),
        "package" => Some(Text),
        "days_before" | "days_since_discharge" => Some(Int),
        "same_facility" | "same_clinic" | "same_package" | "same_category" | "same_charges" | "emergency"
        | "claimed" | "died" | "overlaps" => Some(Bool),
        _ => None,
    }
}

/// An expression that was read and found right.
#[derive(Debug)]
pub(super) struct Expression {
    /// What it comes to.
    pub(super) formula: Formula,
    /// What must be at hand to evaluate it.
    pub(super) needs: Vec<Need>,
    /// The most steps it takes on any claim.
    pub(super) steps: u64,
}

/// The operators and functions of CEL; the same for every rule.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())).clone()
}

/// Reads an expression that must be true or false; its conditions are added to those that are known.
pub(super) fn read(text: &str, conditions: &mut Conditions) -> Result<Expression, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("the expression has {} bytes, {MOST_BYTES} are the most", text.len()));
    }
    // The parser recurses into what is nested before anybody can count how deep it is: it gets the stack for the worst
    // that fits into the bytes above.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || parse(text, conditions))
            .map_err(|error| format!("cannot be read now: {error}"))?
            .join()
            .unwrap_or_else(|_| Err("no expression of CEL: the parser gave up".into()))
    })
}

fn parse(text: &str, conditions: &mut Conditions) -> Result<Expression, String> {
    let (root, needs, steps) = checked(text, conditions)?;
    Ok(Expression { formula: conditions.formula(&root), needs, steps })
}

/// The expression as it was written, with what it needs and the most steps it takes.
pub(super) fn checked(text: &str, conditions: &mut Conditions) -> Result<(IdedExpr, Vec<Need>, u64), String> {
    let program = environment().compile(text).map_err(|errors| {
        let told = errors.errors.first().map_or("cannot be read", |error| error.msg.as_str());
        format!("no expression of CEL: {told}")
    })?;
    let mut root = program.expression().clone();
    let mut checker = Checker { scope: Vec::new(), depth: 0, needs: Vec::new(), conditions };
    let (of, steps) = checker.check(&mut root)?;
    if of != Bool {
        return Err("must be true or false".into());
    }
    if steps > MOST_STEPS {
        return Err(format!("may take {steps} steps, {MOST_STEPS} are the most"));
    }
    let needs = checker.needs;
    Ok((root, needs, steps))
}

struct Checker<'a> {
    scope: Vec<(String, Type)>,
    depth: usize,
    needs: Vec<Need>,
    conditions: &'a mut Conditions,
}

impl Checker<'_> {
    /// Type of an expression, and the most steps it takes. Names of several parts are made one, and tests of codes too.
    fn check(&mut self, expression: &mut IdedExpr) -> Result<(Type, u64), String> {
        if self.depth == MOST_DEPTH {
            return Err(format!("the expression is nested deeper than {MOST_DEPTH}"));
        }
        self.depth += 1;
        // Conditions that are written alike are to be equal.
        expression.id = 0;
        let checked = self.check_here(expression);
        self.depth -= 1;
        checked
    }

    fn check_here(&mut self, expression: &mut IdedExpr) -> Result<(Type, u64), String> {
        match &mut expression.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Ok((Bool, 1)),
                LiteralValue::Int(_) => Ok((Int, 1)),
                LiteralValue::String(_) => Ok((Text, 1)),
                _ => Err("only true, false, whole numbers and texts may be written".into()),
            },
            Expr::Ident(name) => self.name(name).map(|of| (of, 1)),
            Expr::Select(_) => self.select(expression),
            Expr::List(list) => {
                let (mut element, mut steps) = (Type::Anything, 1);
                for item in &mut list.elements {
                    let (of, more) = self.check(item)?;
                    element = unified(element, of).ok_or("a list holds values of one type")?;
                    steps += more;
                }
                Ok((List(Box::new(element)), steps))
            }
            Expr::Call(CallExpr { target: Some(_), .. }) => self.method(expression),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(loops) => self.comprehension(loops),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("maps and messages are no part of the language of the rules".into())
            }
        }
    }

    fn name(&mut self, name: &str) -> Result<Type, String> {
        if let Some((_, of)) = self.scope.iter().rev().find(|(known, _)| known == name) {
            return Ok(of.clone());
        }
        match variable(name) {
            Some((of, need)) => {
                if let Some(need) = need.filter(|need| !self.needs.contains(need)) {
                    self.needs.push(need);
                }
                Ok(of)
            }
            None => {
                Err(format!("{name}: there is no such name; the head of policy/claims/edits.toml has them"))
            }
        }
    }

    fn select(&mut self, whole: &mut IdedExpr) -> Result<(Type, u64), String> {
        let path = path(whole);
        let Expr::Select(SelectExpr { operand, field: name, test: false }) = &mut whole.expr else {
            return Err("has() is not needed: every name is always known".into());
        };
        let path = path.ok_or("a field is taken of a name only")?;
        let root = path.split('.').next().unwrap_or_default();
        if !self.scope.iter().any(|(known, _)| known == root) {
            let of = self.name(&path)?;
            whole.expr = Expr::Ident(path);
            return Ok((of, 2));
        }
        let (of, steps) = self.check(operand)?;
        match (of, field(name)) {
            (Episode, Some(field)) => Ok((field, steps + 1)),
            (Episode, None) => Err(format!("an episode has no field {name}")),
            _ => Err(format!("{path}: only an episode has fields")),
        }
    }

    /// A call on something, as `claim.diagnoses.coded('N17-N19')`.
    fn method(&mut self, whole: &mut IdedExpr) -> Result<(Type, u64), String> {
        let Expr::Call(CallExpr { func_name, target: Some(target), args }) = &mut whole.expr else {
            return Err("no call on a value".into());
        };
        let (of, steps) = self.check(target)?;
        match (of, func_name.as_str(), args.as_slice()) {
            (Codes, name @ ("coded" | "count"), [ranges]) => {
                let Expr::Ident(of) = &target.expr else {
                    return Err(format!("{name}() is asked of a name, as claim.diagnoses"));
                };
                let Expr::Literal(LiteralValue::String(text)) = &ranges.expr else {
                    return Err(format!("{name} takes ranges of codes as a text in quotes"));
                };
                let counted = name == "count";
                let ranges = code_ranges(text.inner())?;
                let steps = steps + 2 + ranges.len() as u64;
                let test = CodeTest { of: of.clone(), ranges, counted };
                whole.expr = Expr::Ident(self.conditions.name(test));
                Ok((if counted { Int } else { Bool }, steps))
            }
            (List(_), "size", []) => Ok((Int, steps + 1)),
            (of, name, _) => Err(format!("{name}(): not known on {}", of.name())),
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<(Type, u64), String> {
        let name = call.func_name.as_str();
        let mut arguments = Vec::with_capacity(call.args.len());
        let mut steps = 1;
        for argument in &mut call.args {
            let (of, more) = self.check(argument)?;
            arguments.push((of, &*argument));
            steps += more;
        }
        let of = match (name, arguments.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [(Bool, _), (Bool, _)])
            | (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, [(Bool, _)]) => Bool,
            (operators::CONDITIONAL, [(Bool, _), (yes, _), (no, _)]) => {
                unified(yes.clone(), no.clone()).ok_or("both sides of ? : must be of one type")?
            }
            (operators::EQUALS | operators::NOT_EQUALS, [(left, one), (right, other)]) => {
                known_word(left, other)?;
                known_word(right, one)?;
                match unified(left.clone(), right.clone()) {
                    Some(Bool | Int | Text | Word(_)) => Bool,
                    _ => return Err(format!("{} cannot be compared with {}", left.name(), right.name())),
                }
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                [(Int, _), (Int, _)],
            ) => Bool,
            (operators::ADD | operators::SUBSTRACT | operators::MULTIPLY, [(Int, _), (Int, _)])
            | (operators::NEGATE, [(Int, _)]) => Int,
            (operators::ADD, [(List(left), _), (List(right), _)]) => {
                let element = unified((**left).clone(), (**right).clone());
                List(Box::new(element.ok_or("a list holds values of one type")?))
            }
            (operators::IN, [(item, one), (List(element), other)]) => {
                known_word(element, one)?;
                if let Expr::List(list) = &other.expr {
                    list.elements.iter().try_for_each(|element| known_word(item, element))?;
                }
                if unified(item.clone(), (**element).clone()).is_none() {
                    return Err(format!("{} is in no list of {}", item.name(), element.name()));
                }
                Bool
            }
            ("size", [(List(_), _)]) => Int,
            _ => {
                let given: Vec<_> = arguments.iter().map(|(of, _)| of.name()).collect();
                return Err(format!("{}: not known for {}", name.trim_matches('_'), given.join(", ")));
            }
        };
        Ok((of, steps))
    }

    /// `exists`, `all`, `exists_one`, `filter` and `map`, as the parser writes them out.
    fn comprehension(&mut self, loops: &mut ComprehensionExpr) -> Result<(Type, u64), String> {
        let (range, range_steps) = self.check(&mut loops.iter_range)?;
        let (List(element), None) = (range, &loops.iter_var2) else {
            return Err("exists, all, filter and map go over a list".into());
        };
        let (accumulated, init_steps) = self.check(&mut loops.accu_init)?;
        if variable(&loops.iter_var).is_some() || self.scope.iter().any(|(known, _)| *known == loops.iter_var)
        {
            return Err(format!("{} names something already", loops.iter_var));
        }
        let outside = self.scope.len();
        self.scope.push((loops.accu_var.clone(), accumulated.clone()));
        self.scope.push((loops.iter_var.clone(), *element));
        let (condition, condition_steps) = self.check(&mut loops.loop_cond)?;
        let (step, step_steps) = self.check(&mut loops.loop_step)?;
        let of = unified(accumulated, step).ok_or("the condition must be true or false")?;
        if condition != Bool {
            return Err("the condition must be true or false".into());
        }
        self.scope.truncate(outside);
        self.scope.push((loops.accu_var.clone(), of));
        let (result, result_steps) = self.check(&mut loops.result)?;
        self.scope.truncate(outside);
        let each = condition_steps + step_steps + 2;
        let steps = range_steps + init_steps + result_steps + each.saturating_mul(MOST_EPISODES as u64);
        Ok((result, steps))
    }
}

impl Type {
    fn name(&self) -> &'static str {
        match self {
            Bool => "true or false",
            Int => "a number",
            Text | Word(_) => "a text",
            Codes => "codes",
            Episode => "an episode",
            List(_) => "a list",
            Type::Anything => "anything",
        }
    }
}

/// The type that both are of.
fn unified(left: Type, right: Type) -> Option<Type> {
    match (left, right) {
        (Type::Anything, other) | (other, Type::Anything) => Some(other),
        (Word(_) | Text, Text) | (Text, Word(_)) => Some(Text),
        (List(left), List(right)) => unified(*left, *right).map(|element| List(Box::new(element))),
        (left, right) => (left == right).then_some(left),
    }
}

/// A text that is compared with a word must be one of its values, else the rule could never fire.
fn known_word(of: &Type, literal: &IdedExpr) -> Result<(), String> {
    let (Word(words), Expr::Literal(LiteralValue::String(text))) = (of, &literal.expr) else { return Ok(()) };
    if words.contains(&text.inner()) {
        return Ok(());
    }
    Err(format!("\"{}\" is none of {}", text.inner(), words.join(", ")))
}

/// A name with its fields, as it is written.
fn path(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            path(&select.operand).map(|before| format!("{before}.{}", select.field))
        }
        _ => None,
    }
}

fn code_ranges(text: &str) -> Result<Vec<CodeRange>, String> {
    let ranges: Vec<CodeRange> = text
        .split_whitespace()
        .map(|range| CodeRange::parse(range).map_err(|wrong| format!("{range}: {wrong}")))
        .collect::<Result<_, _>>()?;
    if ranges.is_empty() { Err("names no code".into()) } else { Ok(ranges) }
}

#[cfg(test)]
mod tests {
    use super::{super::formula, *};

    fn mistake(text: &str) -> String {
        read(text, &mut Conditions::default()).unwrap_err()
    }

    #[test]
    fn what_is_right_is_read_with_what_it_needs() {
        let mut conditions = Conditions::default();
        for right in [
            "claim.diagnoses.coded('N17-N19 I12') && !claim.procedures.coded('39.95')",
            "claim.care == 'inpatient' && claim.stay_days > 3 * claim.norm_days && claim.norm_days > 0",
            "member.episodes.exists(e, e.care == 'outpatient' && e.days_before in [1, 2, 3])",
            "member.episodes.filter(e, e.same_clinic).size() >= 2",
            "member.episodes.exists_one(e, e.died) || size(claim.documents) == 0",
            "!('laboratory' in claim.documents) && sep.clinic in ['HDL', 'IRM']",
            "member.episodes.all(e, member.episodes.exists(o, o.days_before == e.days_before))",
        ] {
            read(right, &mut conditions).unwrap_or_else(|wrong| panic!("{right}: {wrong}"));
        }
        let (kidney, dialysis) = (conditions.named("#0").unwrap(), conditions.named("#1").unwrap());
        assert_eq!((kidney.of.as_str(), kidney.ranges.len()), ("claim.diagnoses", 2));
        assert_eq!((dialysis.of.as_str(), dialysis.counted), ("claim.procedures", false));
        let expression = read("standing.certified || referral.from_fktp", &mut conditions).unwrap();
        assert_eq!(expression.needs, [Need::Standing, Need::Referral]);
    }

    #[test]
    fn a_condition_that_several_rules_ask_is_one_and_what_is_cheap_comes_first() {
        use Formula::{All, Any, Condition, Not};
        let mut conditions = Conditions::default();
        let mut formula = |text| read(text, &mut conditions).unwrap().formula;
        let first =
            "member.episodes.exists(e, e.died) && claim.care == 'inpatient' && claim.diagnoses.coded('N17')";
        assert_eq!(formula(first), All([0, 2, 1].map(Condition).into()));
        let second = "claim.care == 'inpatient' && !(claim.diagnoses.coded('N17') || sep.emergency)";
        let either = Not(Box::new(Any([0, 3].map(Condition).into())));
        assert_eq!(formula(second), All(vec![Condition(2), either]));
        assert_eq!(formula("sep.emergency"), Condition(3));
        // A number of codes is no condition, what it is compared with makes it one.
        assert_eq!(formula("claim.secondary.count('B20') >= 2"), Condition(5));
        assert_eq!(conditions.len(), 6);
    }

    #[test]
    fn what_a_loop_is_without_episodes_is_known_before() {
        let known = |text| {
            let mut conditions = Conditions::default();
            let Formula::Condition(place) = read(text, &mut conditions).unwrap().formula else {
                panic!("{text}")
            };
            match conditions.at(place) {
                Some(formula::Condition::Expression { without_episodes, .. }) => *without_episodes,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(known("member.episodes.exists(e, e.died)"), Some(false));
        assert_eq!(known("member.episodes.all(e, e.died)"), Some(true));
        for not in ["member.episodes.exists_one(e, e.died)", "claim.documents.exists(d, d == 'bill')"] {
            assert_eq!(known(not), None, "{not}");
        }
    }

    #[test]
    fn each_mistake_is_named() {
        for (wrong, told) in [
            ("claim.stay_day > 3", "claim.stay_day: there is no such name"),
            ("stay > 3", "stay: there is no such name"),
            ("claim.stay_days > '3'", "not known for a number, a text"),
            ("claim.stay_days", "true or false"),
            ("claim.sex == 'mael'", "\"mael\" is none of male, female"),
            ("claim.sex in ['mael']", "\"mael\" is none of"),
            ("'labratory' in claim.documents", "\"labratory\" is none of"),
            ("claim.primary.coded('N19-N17')", "N19-N17: "),
            ("claim.primary.coded('')", "names no code"),
            ("claim.primary.coded(claim.package)", "takes ranges of codes"),
            ("claim.primary == 'J18'", "cannot be compared"),
            ("claim.primary.startsWith('J')", "startsWith(): not known on codes"),
            ("member.episodes.exists(e, e.when > 1)", "an episode has no field when"),
            ("member.episodes.exists(e, e)", "not known for true or false, an episode"),
            ("has(claim.sex)", "has() is not needed"),
            ("claim.stay_days / 2 == 1", "not known for"),
            ("1.5 > 1.0", "only true, false"),
            ("{'a': 1}.size() == 1", "maps"),
            ("claim.sex ==", "no expression of CEL"),
            ("", "no expression of CEL"),
            ("true && (claim.stay_days > 1 ? 2 : 3)", "not known for"),
        ] {
            let mistake = mistake(wrong);
            assert!(mistake.contains(told), "{wrong}: {mistake}");
        }
    }

    #[test]
    fn what_could_run_for_long_or_deep_is_refused() {
        let loops = |inner: &str| format!("member.episodes.exists(a, member.episodes.exists(b, {inner}))");
        let three = loops("member.episodes.exists(c, a.days_before == c.days_before)");
        assert!(mistake(&three).contains("steps"), "{}", mistake(&three));
        for deep in [
            format!("{}true{}", "(".repeat(900), ")".repeat(900)),
            format!("1{} == 1", "+1".repeat(900)),
            format!("claim{}", ".a".repeat(900)),
            format!("{}true{}", "!(".repeat(600), ")".repeat(600)),
            format!("true{}", " ? true : true".repeat(100)),
        ] {
            let told = mistake(&deep);
            assert!(
                told.contains("deeper") || told.contains("CEL") || told.contains("no such name"),
                "{told}"
            );
        }
        assert!(mistake(&format!("'{}' == ''", "x".repeat(10_000))).contains("bytes"));
        assert!(read(&format!("true{}", " || true".repeat(200)), &mut Conditions::default()).is_ok());
        for wild in ["((((", "\u{0}", "'", "a.b.c.d(e(f)[g])", "\u{1f600}", "@result", "[[[[[[", "claim..sex"]
        {
            assert!(read(wild, &mut Conditions::default()).is_err(), "{wild}");
        }
    }
}
