//! Until when a patient is a newborn: INA-CBG and e-Klaim ask of it a birth weight, and a child is treated on its mother's
//! card that long.

use jiff::civil::Date;

/// Days of life up to which a patient is a newborn (the neonatal period of ICD-10).
const DAYS: i32 = 28;

/// Whether somebody born on a day is a newborn on another.
#[must_use]
pub fn is_newborn(born: Date, on: Date) -> bool {
    (0..=DAYS).contains(&(on - born).get_days())
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_twenty_eighth_day_of_life_counts() {
        let born = date(2026, 2, 1);
        for (on, newborn) in
            [(born, true), (date(2026, 3, 1), true), (date(2026, 3, 2), false), (date(2026, 1, 31), false)]
        {
            assert_eq!(is_newborn(born, on), newborn, "{on}");
        }
    }
}
