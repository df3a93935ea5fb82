//! One caller: it goes from one piece of work to the next, as the institutions that would do it, until the campaign is
//! over. What it does follows from the seed and its number, and from how it is answered.

use jiff::{Timestamp, civil::Date};
use proto::membership::v1 as membership;
use rand::RngExt;

use super::{
    Work,
    cast::Facility,
    desk::{Desk, Stopped},
    journal::Entry,
    tills::Tills,
};

/// Members whom one caller remembers to come back to.
const REMEMBERED: usize = 200;

/// A member whose contribution is paid.
#[derive(Debug, Clone)]
pub(crate) struct Patient {
    pub(crate) member_id: String,
    pub(crate) birth_date: Date,
    pub(crate) sex: membership::Sex,
    pub(crate) fktp: Facility,
    /// The hospitals with a SEP of today.
    pub(crate) admitted: Vec<Facility>,
}

/// A caller.
pub(crate) struct Caller {
    pub(crate) desk: Desk,
    pub(crate) number: usize,
    pub(crate) callers: usize,
    pub(crate) work: Work,
    pub(crate) tills: Tills,
    /// The day on which the campaign began.
    pub(crate) first_day: Date,
    pub(crate) patients: Vec<Patient>,
    /// People made up so far.
    pub(crate) people: usize,
}

impl Caller {
    /// Works until the campaign is over; what it noted.
    pub(crate) async fn work(mut self) -> Vec<Entry> {
        while self.desk.is_open() {
            // A piece of work that failed is noted where it failed; the next one does not rest on it.
            let _noted = self.next().await;
            self.patients.drain(..self.patients.len().saturating_sub(REMEMBERED));
        }
        self.desk.entries
    }

    async fn next(&mut self) -> Result<(), Stopped> {
        if self.patients.is_empty() {
            return self.family().await;
        }
        match (self.work, self.desk.chance.random_range(0..100)) {
            (Work::All, 0..32) | (Work::Claims, 0..30) => self.family().await,
            (Work::All, 32..60) => self.visit().await,
            (Work::All, 60..70) | (Work::Claims, 30..50) => self.episode().await,
            (Work::All, 70..82) | (Work::Claims, _) => self.month().await,
            (Work::All, 82..91) => self.room().await,
            (Work::All, _) => self.registry().await,
        }
    }

    /// The day: midnight may pass while a campaign goes on.
    pub(crate) fn today(&self) -> Date {
        chassis::time::today_at(Timestamp::now())
    }

    /// A patient, taken out of those remembered: only who comes through a piece of work well is put back.
    pub(crate) fn take_patient(&mut self) -> Option<Patient> {
        let count = self.patients.len();
        if count == 0 {
            None
        } else {
            Some(self.patients.swap_remove(self.desk.chance.random_range(0..count)))
        }
    }
}
