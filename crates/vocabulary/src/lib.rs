//! The words of JKN as types: whoever holds a [`Nik`], a [`SepNumber`] or a [`Rupiah`] knows that it is well formed.
//!
//! Every type is made by `parse`, which either returns a value that can be relied upon or a [`Malformed`] that
//! says what the format is. The error never repeats what was given: it may be a person's number, and errors are
//! logged and sent back. Identifiers of persons and diagnoses are masked in `Debug`.
//!
//! Nothing here reads a clock, a file or a network.

#![warn(missing_docs)]

mod clinical;
mod date;
mod document_number;
mod facility;
mod identifier;
mod masked;
mod membership;
mod money;
mod region;
mod text;
mod word;

pub use clinical::{AtcCode, Cbg, Icd9Procedure, Icd10, Poli};
pub use date::{date, month};
pub use document_number::{
    ControlLetterNumber, DocumentNumber, FollowUpNumber, ReferralNumber, SepNumber, VisitNumber,
};
pub use facility::FacilityCode;
pub use identifier::{CardNumber, MemberId, Name, Nik, Sex};
pub use masked::Masked;
pub use membership::{CareClass, Segment};
pub use money::Rupiah;
pub use region::{RegionCode, provinces, regencies};
pub use text::text;
pub use word::Malformed;
