//! The values of the language: how the names of a rule are looked up in the facts of a claim.

use std::{any::Any, sync::Arc};

use cel::{
    Context, ExecutionError, Value,
    common::{
        ast::IdedExpr,
        traits::Indexer,
        types::{CelBool, CelInt, CelList, CelString, Type},
        value::{CowVal, StaticVal, Val},
    },
    context::VariableResolver,
};

use super::{
    Lookups,
    facts::{Facts, MOST_EPISODES, Recent},
    formula::{CodeTest, Condition, Conditions, EPISODES, Formula},
    language,
};
use crate::codes::any_covers;

static EPISODE: Type = Type::new_unspecified_type("episode");

/// An episode of the member.
#[derive(Debug, Clone)]
struct Episode(Arc<Recent>);

impl Val for Episode {
    fn get_type(&self) -> &Type {
        &EPISODE
    }

    fn cel_type() -> &'static Type {
        &EPISODE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Episode {}

impl Indexer for Episode {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = index.downcast_ref::<CelString>().map_or("", CelString::inner);
        let recent = &*self.0;
        Ok(match name {
            "care" => text(recent.care.clone()),
            "package" => text(recent.package.clone()),
            "days_before" => number(recent.days_before),
            "days_since_discharge" => number(recent.days_since_discharge),
            "overlaps" => truth(recent.overlaps),
            "same_facility" => truth(recent.same_facility),
            "same_clinic" => truth(recent.same_clinic),
            "emergency" => truth(recent.emergency),
            "claimed" => truth(recent.claimed),
            "died" => truth(recent.died),
            "same_package" => truth(recent.same_package),
            "same_category" => truth(recent.same_category),
            "same_charges" => truth(recent.same_charges),
            other => return Err(ExecutionError::no_such_key(other)),
        })
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

fn truth<'b, 'v>(value: bool) -> CowVal<'b, 'v> {
    CowVal::Borrowed(if value { &CelBool::TRUE } else { &CelBool::FALSE })
}

fn number<'b, 'v>(value: i64) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(value))
}

fn text<'b, 'v>(value: String) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(value))
}

/// The facts of a claim as one set of rules sees them.
pub(super) struct View<'a> {
    facts: &'a Facts,
    lookups: &'a Lookups,
    conditions: &'a Conditions,
    documents: CelList<'static>,
    episodes: CelList<'static>,
}

impl<'a> View<'a> {
    /// Prepares the facts.
    pub(super) fn new(facts: &'a Facts, lookups: &'a Lookups, conditions: &'a Conditions) -> Self {
        let texts = |texts: &[String]| {
            let values = texts.iter().map(|text| Box::new(CelString::from(text.clone())) as Box<dyn Val>);
            CelList::from(values.collect::<Vec<_>>())
        };
        let episodes = facts.episodes.iter().take(MOST_EPISODES);
        let episodes = episodes.map(|recent| Box::new(Episode(Arc::new(recent.clone()))) as Box<dyn Val>);
        Self {
            facts,
            lookups,
            conditions,
            documents: texts(&facts.documents),
            episodes: CelList::from(episodes.collect::<Vec<_>>()),
        }
    }

    /// The codes of a name.
    fn codes(&self, name: &str) -> impl Iterator<Item = &String> {
        use std::slice::from_ref;
        let facts = self.facts;
        let (first, rest): (&[String], &[String]) = match name {
            "claim.primary" => (from_ref(&facts.primary), &[]),
            "claim.secondary" => (&facts.secondary, &[]),
            "claim.diagnoses" => (from_ref(&facts.primary), &facts.secondary),
            "claim.procedures" => (&facts.procedures, &[]),
            "sep.diagnosis" => (from_ref(&facts.initial_diagnosis), &[]),
            "pcare.diagnoses" => (facts.pcare.as_ref().map_or(&[], |record| &record.diagnoses), &[]),
            "pcare.drugs" => (facts.pcare.as_ref().map_or(&[], |record| &record.drugs), &[]),
            "pcare.tb_drugs" => (facts.pcare.as_ref().map_or(&[], |record| &record.tb_drugs), &[]),
            _ => (&[], &[]),
        };
        first.iter().chain(rest)
    }

    fn covered(&self, test: &CodeTest) -> impl Iterator<Item = &String> {
        self.codes(&test.of).filter(|code| any_covers(&test.ranges, code))
    }

    fn tested(&self, test: &CodeTest) -> CowVal<'_, '_> {
        let mut covered = self.covered(test);
        if test.counted {
            number(i64::try_from(covered.count()).unwrap_or(i64::MAX))
        } else {
            truth(covered.next().is_some())
        }
    }
}

/// The conditions of a claim, each evaluated when it is asked for first.
pub(super) struct Answers<'a> {
    view: &'a View<'a>,
    context: Context<'a, 'a>,
    known: Vec<Option<Answer>>,
}

/// Whether a condition holds. It cannot be evaluated when a number overflows.
type Answer = Result<bool, Overflow>;

/// A number does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflow;

impl<'a> Answers<'a> {
    pub(super) fn new(view: &'a View<'a>) -> Self {
        let mut context = Context::with_env(language::environment());
        context.set_variable_resolver(view);
        Self { view, context, known: vec![None; view.conditions.len()] }
    }

    /// Whether a formula holds. What cannot be evaluated does not matter where the others decide, in whatever order they
    /// are asked.
    pub(super) fn holds(&mut self, formula: &Formula) -> Answer {
        match formula {
            Formula::All(all) => self.decided(all, false),
            Formula::Any(any) => self.decided(any, true),
            Formula::Not(denied) => self.holds(denied).map(|holds| !holds),
            Formula::Condition(place) => self.condition(*place),
        }
    }

    /// Whether one of several is what decides.
    fn decided(&mut self, several: &[Formula], deciding: bool) -> Answer {
        let mut answer = Ok(!deciding);
        for one in several {
            match self.holds(one) {
                Ok(holds) if holds == deciding => return Ok(deciding),
                Ok(_) => {}
                Err(overflow) => answer = Err(overflow),
            }
        }
        answer
    }

    /// What CEL says of an expression; nothing when it cannot be evaluated.
    pub(super) fn whole(&self, root: &IdedExpr) -> Option<bool> {
        let value = Value::resolve_val(root, &self.context).ok()?;
        value.downcast_ref::<CelBool>().map(|truth| *truth.inner())
    }

    fn condition(&mut self, place: usize) -> Answer {
        if let Some(Some(answer)) = self.known.get(place) {
            return *answer;
        }
        let answer = match self.view.conditions.at(place) {
            Some(Condition::Codes(test)) => Ok(self.view.covered(test).next().is_some()),
            Some(Condition::Expression { without_episodes: Some(answer), .. })
                if self.view.facts.episodes.is_empty() =>
            {
                Ok(*answer)
            }
            Some(Condition::Expression { root, .. }) => self.whole(root).ok_or(Overflow),
            None => Err(Overflow),
        };
        if let Some(known) = self.known.get_mut(place) {
            *known = Some(answer);
        }
        answer
    }
}

impl VariableResolver for View<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(test) = self.conditions.named(variable) {
            return Some(self.tested(test));
        }
        let facts = self.facts;
        let word = |text: &'b String| Some(CowVal::owned(CelString::from(text.as_str())));
        Some(match variable {
            "claim.care" => return word(&facts.care),
            "claim.sex" => return word(&facts.sex),
            "claim.discharge" => return word(&facts.discharge),
            "claim.admission_route" => return word(&facts.admission_route),
            "claim.package" => return word(&facts.package),
            "sep.clinic" => return word(&facts.clinic),
            "facility.class" => return word(&facts.facility_class),
            "claim.documents" => CowVal::Borrowed(&self.documents),
            EPISODES => CowVal::Borrowed(&self.episodes),
            "claim.on_closed_day" => truth(self.lookups.is_closed(facts.service_date)),
            "claim.has_sitb_number" => truth(facts.has_sitb_number),
            "claim.age_years" => number(facts.age_years),
            "claim.age_days" => number(facts.age_days),
            "claim.stay_days" => number(facts.stay_days),
            "claim.stay_hours" => number(facts.stay_hours),
            "claim.icu_days" => number(facts.icu_days),
            "claim.ventilator_hours" => number(facts.ventilator_hours),
            "claim.birth_weight_gram" => number(facts.birth_weight_gram),
            "claim.severity" => number(facts.severity),
            "claim.tariff_rupiah" => number(facts.tariff_rupiah),
            "claim.norm_days" => number(self.lookups.norm_days(&facts.package)),
            "claim.charges_rupiah" => number(facts.charges_rupiah),
            "claim.charge_parts" => number(facts.charge_parts),
            "sep.emergency" => truth(facts.emergency),
            "sep.with_referral" => truth(facts.with_referral),
            "facility.identical_bills" => number(facts.identical_bills),
            "facility.doctor_visits" => number(facts.doctor_visits),
            other => return self.answered(other),
        })
    }
}

impl View<'_> {
    /// What is known only when its source answered.
    fn answered(&self, variable: &str) -> Option<CowVal<'_, '_>> {
        let (source, name) = variable.split_once('.')?;
        match source {
            "standing" => {
                let standing = self.facts.standing.as_ref()?;
                Some(truth(match name {
                    "contracted" => standing.contracted,
                    "certificate_required" => standing.certificate_required,
                    "certified" => standing.certified,
                    "certified_at_discharge" => standing.certified_at_discharge,
                    _ => return None,
                }))
            }
            "referral" => {
                let referral = self.facts.referral.as_ref()?;
                Some(truth(match name {
                    "from_fktp" => referral.from_fktp,
                    "after_visit" => referral.after_visit,
                    _ => return None,
                }))
            }
            "pcare" => {
                let record = self.facts.pcare.as_ref()?;
                Some(match name {
                    "hb_tested" => truth(record.hb_tested),
                    "referred_with_tacc" => truth(record.referred_with_tacc),
                    "anc_contacts" => number(record.anc_contacts),
                    "anc_contacts_with_pressure" => number(record.anc_contacts_with_pressure),
                    "iron_tablets" => number(record.iron_tablets),
                    "systolic" => number(record.systolic?),
                    "diastolic" => number(record.diastolic?),
                    "days_since_pressure" => number(record.days_since_pressure),
                    "days_since_glucose" => number(record.days_since_glucose),
                    "fasting_glucose_mg" => number(record.fasting_glucose_mg?),
                    _ => return None,
                })
            }
            _ => None,
        }
    }
}
