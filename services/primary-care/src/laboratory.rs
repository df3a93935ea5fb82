//! What the laboratory found. The bounds are those of the possible, not of the healthy: they catch a wrong unit or a
//! slipped finger.

/// What was found; `None` is not tested.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LaboratoryResults {
    /// Fasting glucose, mg/dl.
    pub fasting_glucose_mg_dl: Option<i32>,
    /// Random glucose, mg/dl.
    pub random_glucose_mg_dl: Option<i32>,
    /// Glucose after a meal, mg/dl.
    pub postprandial_glucose_mg_dl: Option<i32>,
    /// HbA1c, tenths of a per cent.
    pub hba1c_permille: Option<i32>,
    /// Haemoglobin, tenths of a gram per decilitre.
    pub haemoglobin_decigrams_dl: Option<i32>,
}

impl std::fmt::Debug for LaboratoryResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LaboratoryResults(***)")
    }
}

impl LaboratoryResults {
    /// Whether nothing was tested.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether sugar was tested, in any way.
    #[must_use]
    pub fn tells_glucose(&self) -> bool {
        self.fasting_glucose_mg_dl
            .or(self.random_glucose_mg_dl)
            .or(self.postprandial_glucose_mg_dl)
            .or(self.hba1c_permille)
            .is_some()
    }

    /// Every result that cannot be, with what it must be.
    #[must_use]
    pub fn impossible(&self) -> Vec<(&'static str, String)> {
        [
            ("fasting_glucose_mg_dl", self.fasting_glucose_mg_dl, 10, 2_000),
            ("random_glucose_mg_dl", self.random_glucose_mg_dl, 10, 2_000),
            ("postprandial_glucose_mg_dl", self.postprandial_glucose_mg_dl, 10, 2_000),
            ("hba1c_permille", self.hba1c_permille, 20, 250),
            ("haemoglobin_decigrams_dl", self.haemoglobin_decigrams_dl, 10, 300),
        ]
        .into_iter()
        .filter(|(_, value, low, high)| value.is_some_and(|value| value < *low || value > *high))
        .map(|(test, _, low, high)| (test, format!("must be {low} to {high}")))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_impossible_result_is_named() {
        let usual = LaboratoryResults {
            fasting_glucose_mg_dl: Some(126),
            hba1c_permille: Some(65),
            haemoglobin_decigrams_dl: Some(118),
            ..LaboratoryResults::default()
        };
        assert!(usual.impossible().is_empty() && !usual.is_empty() && usual.tells_glucose());
        assert_eq!(format!("{usual:?}"), "LaboratoryResults(***)");
        // Millimoles for milligrams, per cent for tenths, grams for tenths.
        let units = LaboratoryResults {
            random_glucose_mg_dl: Some(7),
            hba1c_permille: Some(6),
            haemoglobin_decigrams_dl: Some(1_180),
            ..usual
        };
        let named: Vec<_> = units.impossible().into_iter().map(|(test, _)| test).collect();
        assert_eq!(named, ["random_glucose_mg_dl", "hba1c_permille", "haemoglobin_decigrams_dl"]);
        let blood = LaboratoryResults { haemoglobin_decigrams_dl: Some(90), ..LaboratoryResults::default() };
        assert!(!blood.tells_glucose() && LaboratoryResults::default().is_empty());
    }
}
