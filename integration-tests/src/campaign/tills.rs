//! Who pays a hospital for BPJS-K: one caller at a time, as a hospital has one open batch at most.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{Mutex, MutexGuard};

use super::cast::Facility;

/// The tills of all hospitals. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tills(Arc<BTreeMap<Facility, Mutex<InOrder>>>);

/// Whether the last batch came to its end. If not, it is open still, and nobody can open another.
struct InOrder(bool);

/// A till, for whoever has it.
pub(crate) struct Till<'a>(MutexGuard<'a, InOrder>);

impl Tills {
    pub(crate) fn of_all() -> Self {
        let hospitals = Facility::all_hospitals().into_iter();
        Self(Arc::new(hospitals.map(|hospital| (hospital, Mutex::new(InOrder(true)))).collect()))
    }

    /// Waits for the till of a hospital. None when a batch was left open: what there is to find is noted by whoever
    /// left it.
    pub(crate) async fn take(&self, hospital: Facility) -> Option<Till<'_>> {
        let mut till = self.0.get(&hospital)?.lock().await;
        if !std::mem::replace(&mut till.0, false) {
            return None;
        }
        Some(Till(till))
    }
}

impl Till<'_> {
    /// The batch has come to its end.
    pub(crate) fn put_in_order(&mut self) {
        self.0.0 = true;
    }
}
