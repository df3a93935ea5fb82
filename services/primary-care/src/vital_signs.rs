//! What is measured at a visit. The bounds are those of the possible, not of the healthy: they catch a wrong unit or a
//! slipped finger.

use crate::code::coded;

coded! {
    /// Level of consciousness (kdSadar).
    Consciousness {
        /// Compos mentis, 01.
        Alert = "alert",
        /// Somnolence, 02.
        Somnolent = "somnolent",
        /// Sopor, 03.
        Soporous = "soporous",
        /// Coma, 04.
        Comatose = "comatose",
    }
}

/// What was measured; `None` is not measured.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct VitalSigns {
    /// Systolic blood pressure, mmHg.
    pub systolic_mmhg: Option<i32>,
    /// Diastolic blood pressure, mmHg.
    pub diastolic_mmhg: Option<i32>,
    /// Heart beats per minute.
    pub heart_rate: Option<i32>,
    /// Breaths per minute.
    pub respiratory_rate: Option<i32>,
    /// Body temperature, tenths of a degree Celsius.
    pub temperature_decicelsius: Option<i32>,
    /// Weight, grams.
    pub weight_grams: Option<i32>,
    /// Height, millimetres.
    pub height_millimetres: Option<i32>,
    /// Waist, millimetres.
    pub waist_millimetres: Option<i32>,
    /// Level of consciousness.
    pub consciousness: Option<Consciousness>,
}

impl std::fmt::Debug for VitalSigns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VitalSigns(***)")
    }
}

impl VitalSigns {
    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Every sign that cannot be, with what it must be.
    #[must_use]
    pub fn impossible(&self) -> Vec<(&'static str, String)> {
        let bounded = [
            ("systolic_mmhg", self.systolic_mmhg, 40, 300),
            ("diastolic_mmhg", self.diastolic_mmhg, 20, 200),
            ("heart_rate", self.heart_rate, 20, 300),
            ("respiratory_rate", self.respiratory_rate, 4, 120),
            ("temperature_decicelsius", self.temperature_decicelsius, 250, 450),
            ("weight_grams", self.weight_grams, 300, 500_000),
            ("height_millimetres", self.height_millimetres, 200, 2_700),
            ("waist_millimetres", self.waist_millimetres, 100, 3_000),
        ];
        let mut faults: Vec<_> = bounded
            .into_iter()
            .filter(|(_, value, low, high)| value.is_some_and(|value| value < *low || value > *high))
            .map(|(sign, _, low, high)| (sign, format!("must be {low} to {high}")))
            .collect();
        match (self.systolic_mmhg, self.diastolic_mmhg) {
            (Some(_), None) => faults.push(("diastolic_mmhg", "must come with systolic_mmhg".to_owned())),
            (None, Some(_)) => faults.push(("systolic_mmhg", "must come with diastolic_mmhg".to_owned())),
            (Some(systolic), Some(diastolic)) if systolic <= diastolic => {
                faults.push(("systolic_mmhg", "must be greater than diastolic_mmhg".to_owned()));
            }
            _ => {}
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_usual_examination_is_possible() {
        let signs = VitalSigns {
            systolic_mmhg: Some(120),
            diastolic_mmhg: Some(80),
            heart_rate: Some(72),
            temperature_decicelsius: Some(364),
            weight_grams: Some(61_500),
            ..VitalSigns::default()
        };
        assert!(signs.impossible().is_empty() && !signs.is_empty());
        assert!(VitalSigns::default().is_empty());
        assert_eq!(format!("{signs:?}"), "VitalSigns(***)");
    }

    #[test]
    fn every_impossible_sign_is_named() {
        let signs = VitalSigns {
            systolic_mmhg: Some(80),
            diastolic_mmhg: Some(120),
            temperature_decicelsius: Some(36),
            weight_grams: Some(61),
            ..VitalSigns::default()
        };
        let named: Vec<_> = signs.impossible().into_iter().map(|(sign, _)| sign).collect();
        assert_eq!(named, ["temperature_decicelsius", "weight_grams", "systolic_mmhg"]);
    }

    proptest! {
        #[test]
        fn blood_pressure_is_two_numbers_the_first_greater(systolic in proptest::option::of(40..300), diastolic in proptest::option::of(20..200)) {
            let signs = VitalSigns { systolic_mmhg: systolic, diastolic_mmhg: diastolic, ..VitalSigns::default() };
            let right = match (systolic, diastolic) {
                (Some(systolic), Some(diastolic)) => systolic > diastolic,
                (None, None) => true,
                _ => false,
            };
            prop_assert_eq!(signs.impossible().is_empty(), right);
        }
    }
}
