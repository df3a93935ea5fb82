//! The referral letter: its words, and what the destination may read of it before it has accepted.

use jiff::{Timestamp, civil::Date};
use vocabulary::{
    FacilityCode, Icd9Procedure, Icd10, Malformed, Masked, MemberId, Poli, ReferralNumber, RegionCode,
};

use crate::course::Times;

/// A closed set of words, each with the text it is stored as.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $word,)*
        }

        impl $name {
            /// The text it is stored as.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }

            /// Reads the text it is stored as.
            ///
            /// # Errors
            /// When the text is none of the set.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                match text {
                    $($text => Ok(Self::$word),)*
                    _ => Err(Malformed::new(concat!("one of", $(" ", $text),*))),
                }
            }
        }
    };
}

words! {
    /// The kind of care asked for.
    CareType {
        /// A clinic visit.
        Outpatient = "outpatient",
        /// An admission.
        Inpatient = "inpatient",
        /// An emergency.
        Emergency = "emergency",
    }
}

words! {
    /// How much of the care is handed over.
    ReferralType {
        /// All of it.
        Full = "full",
        /// A part of it.
        Partial = "partial",
        /// Back to a facility that may continue it.
        Back = "back",
    }
}

words! {
    /// Why a diagnosis that primary care treats itself is referred all the same.
    Tacc {
        /// Time.
        Time = "time",
        /// Age.
        Age = "age",
        /// Complication.
        Complication = "complication",
        /// Comorbidity.
        Comorbidity = "comorbidity",
    }
}

words! {
    /// Why the referral skips a rung of the ladder.
    LadderExemption {
        /// Only a higher facility treats the problem.
        Specificity = "specificity",
        /// The next rung cannot be reached in reason.
        Geography = "geography",
        /// No facility of the next rung is available.
        Availability = "availability",
    }
}

words! {
    /// What kind of facility sent it.
    OriginKind {
        /// First level.
        Fktp = "fktp",
        /// Referral level.
        Hospital = "hospital",
    }
}

words! {
    /// What became of the patient.
    Outcome {
        /// Back to the origin, with advice.
        ReferredBack = "referred_back",
        /// The destination goes on.
        CareContinues = "care_continues",
        /// Onward by another referral.
        ReferredOnward = "referred_onward",
        /// The patient died.
        Died = "died",
    }
}

words! {
    /// Why a destination refuses.
    RefusalReason {
        /// No bed, no place.
        NoCapacity = "no_capacity",
        /// No doctor of the specialty on duty.
        NoSpecialist = "no_specialist",
        /// Equipment or medicine is missing.
        NoEquipment = "no_equipment",
        /// The patient would not bear the way.
        PatientNotStable = "patient_not_stable",
        /// Another reason, in the note.
        Other = "other",
    }
}

impl OriginKind {
    /// The letter in the numbers of the referrals it sends.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Fktp => 'P',
            Self::Hospital => 'B',
        }
    }
}

/// What the destination is asked to do.
#[derive(Debug, Clone)]
pub enum Criterion {
    /// A therapy.
    Therapy(Masked<String>),
    /// A procedure.
    Procedure(Masked<Icd9Procedure>),
    /// An effort to find the diagnosis.
    DiagnosticEffort(Masked<String>),
}

/// What the destination tells the origin in the end.
#[derive(Debug, Clone)]
pub struct BackReferral {
    /// What became of the patient.
    pub outcome: Outcome,
    /// The diagnosis made at the destination.
    pub diagnosis: Option<Icd10>,
    /// Advice for the care at the origin; may be empty.
    pub advice: Masked<String>,
}

/// A referral letter and what happened to it.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Its number.
    pub number: ReferralNumber,
    /// The member.
    pub member_id: MemberId,
    /// Who sent it.
    pub origin: FacilityCode,
    /// What kind of facility sent it.
    pub origin_kind: OriginKind,
    /// The regency of the origin, when the registry knows it.
    pub origin_region: Option<RegionCode>,
    /// The visit or SEP that led to it.
    pub origin_visit: Option<String>,
    /// To whom it was sent.
    pub destination: FacilityCode,
    /// The clinic asked for.
    pub poli: Poli,
    /// The kind of care asked for.
    pub care_type: CareType,
    /// How much is handed over.
    pub referral_type: ReferralType,
    /// Its day.
    pub referral_date: Date,
    /// The day on which the visit is planned.
    pub planned_visit: Date,
    /// The diagnosis.
    pub diagnosis: Icd10,
    /// What is asked for.
    pub criterion: Criterion,
    /// Why primary care does not treat it itself.
    pub tacc: Option<Tacc>,
    /// The patient's condition; may be empty.
    pub summary: Masked<String>,
    /// What first-level facilities recorded of the patient: carried as P-Care sent it, never read here.
    pub first_level_record: Option<Masked<Vec<u8>>>,
    /// Why it skips the ladder.
    pub exemption: Option<LadderExemption>,
    /// The special programme it falls under.
    pub programme: Option<String>,
    /// The times of its events.
    pub times: Times,
    /// Why it was refused.
    pub refusal: Option<RefusalReason>,
    /// What the destination wrote to the refusal.
    pub refusal_note: Masked<String>,
    /// Why it was cancelled.
    pub cancel_note: Masked<String>,
    /// The answer to the origin.
    pub back: Option<BackReferral>,
}

/// Who reads a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader<'a> {
    /// A facility, by its code.
    Facility(&'a str),
    /// An institution or service that may read every letter.
    Every,
}

impl Letter {
    /// Whether the letter is the reader's to see at all.
    #[must_use]
    pub fn is_open_to(&self, reader: Reader<'_>) -> bool {
        match reader {
            Reader::Facility(code) => self.origin.as_str() == code || self.destination.as_str() == code,
            Reader::Every => true,
        }
    }

    /// Whether the reader sees the clinical fields: the destination only once it has taken the patient on.
    #[must_use]
    pub fn shows_clinical_fields_to(&self, reader: Reader<'_>) -> bool {
        match reader {
            Reader::Facility(code) if self.origin.as_str() != code => {
                self.times.accepted_at.is_some() || self.times.arrived_at.is_some()
            }
            Reader::Facility(_) | Reader::Every => true,
        }
    }

    /// When it was sent.
    #[must_use]
    pub const fn sent_at(&self) -> Timestamp {
        self.times.sent_at
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A letter from 0301U001 to 0301R011, sent at an instant.
    pub(crate) fn letter(care_type: CareType, referral_date: Date, sent_at: Timestamp) -> Letter {
        Letter {
            number: ReferralNumber::parse("0301U0010326P000001").unwrap(),
            member_id: MemberId::new(),
            origin: FacilityCode::parse("0301U001").unwrap(),
            origin_kind: OriginKind::Fktp,
            origin_region: RegionCode::parse("1371").ok(),
            origin_visit: None,
            destination: FacilityCode::parse("0301R011").unwrap(),
            poli: Poli::parse("INT").unwrap(),
            care_type,
            referral_type: ReferralType::Full,
            referral_date,
            planned_visit: referral_date,
            diagnosis: Icd10::parse("E11.9").unwrap(),
            criterion: Criterion::Therapy(Masked::from("insulin".to_owned())),
            tacc: None,
            summary: Masked::from(String::new()),
            first_level_record: None,
            exemption: None,
            programme: None,
            times: Times::sent(sent_at),
            refusal: None,
            refusal_note: Masked::from(String::new()),
            cancel_note: Masked::from(String::new()),
            back: None,
        }
    }

    #[test]
    fn the_destination_reads_the_diagnosis_only_after_it_has_accepted() {
        let sent_at: Timestamp = "2026-03-02T02:00:00Z".parse().unwrap();
        let mut letter = letter(CareType::Inpatient, jiff::civil::date(2026, 3, 2), sent_at);
        let destination = Reader::Facility("0301R011");
        assert!(letter.is_open_to(destination));
        assert!(!letter.shows_clinical_fields_to(destination));
        assert!(letter.shows_clinical_fields_to(Reader::Facility("0301U001")));
        assert!(letter.shows_clinical_fields_to(Reader::Every));
        assert!(!letter.is_open_to(Reader::Facility("0301R012")));
        letter.times.accepted_at = Some(sent_at);
        assert!(letter.shows_clinical_fields_to(destination));
    }

    #[test]
    fn a_letter_in_a_log_tells_no_diagnosis() {
        let sent_at: Timestamp = "2026-03-02T02:00:00Z".parse().unwrap();
        let shown = format!("{:?}", letter(CareType::Outpatient, jiff::civil::date(2026, 3, 2), sent_at));
        assert!(!shown.contains("E11") && !shown.contains("insulin"), "{shown}");
    }

    #[test]
    fn a_word_survives_its_text() {
        for care in [CareType::Outpatient, CareType::Inpatient, CareType::Emergency] {
            assert_eq!(CareType::parse(care.as_str()), Ok(care));
        }
        assert!(CareType::parse("icu").is_err());
    }
}
