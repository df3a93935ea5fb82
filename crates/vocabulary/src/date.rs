//! Civil dates (days in Asia/Jakarta) and months as they stand in a contract.

use jiff::civil::Date;

use crate::Malformed;

/// A civil date, strictly `YYYY-MM-DD`, from 1900-01-01 to 2199-12-31.
pub fn date(text: &str) -> Result<Date, Malformed> {
    civil(text, "").ok_or_else(|| Malformed::new("a date as YYYY-MM-DD that exists, from 1900 to 2199"))
}

/// A month, strictly `YYYY-MM`; the result is its first day.
pub fn month(text: &str) -> Result<Date, Malformed> {
    civil(text, "-01").ok_or_else(|| Malformed::new("a month as YYYY-MM, from 1900 to 2199"))
}

fn civil(text: &str, suffix: &str) -> Option<Date> {
    if text.len() + suffix.len() != 10 || !text.is_ascii() {
        return None;
    }
    let full = format!("{text}{suffix}");
    let number = |from: usize, to: usize| {
        let part = &full[from..to];
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<i16>().ok()).flatten()
    };
    let dashes = &full[4..5] == "-" && &full[7..8] == "-";
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !dashes || !(1900..2200).contains(&year) {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strict_about_form_and_calendar() {
        assert_eq!(date("2026-02-28").unwrap(), jiff::civil::date(2026, 2, 28));
        assert_eq!(month("2026-02").unwrap(), jiff::civil::date(2026, 2, 1));
        let wrong = [
            "",
            "2026-2-28",
            "2026-02-29",
            "20260228",
            "2026-02-28T00:00",
            "28-02-2026",
            "+026-02-28",
            "2026/02/28",
            "1899-12-31",
            "2026-13-01",
            "2026-00-10",
            "２026-02-1",
        ];
        for text in wrong {
            assert!(date(text).is_err(), "{text}");
        }
        for text in ["2026", "2026-13", "2026-00", "2026-1", "2026-01-01", "202601"] {
            assert!(month(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_printed_date_is_read_back(days in 0i32..109_000) {
            let day = jiff::civil::date(1900, 1, 1) + jiff::Span::new().days(days);
            prop_assert_eq!(date(&day.to_string()).unwrap(), day);
        }

        #[test]
        fn anything_is_survived(text in "\\PC{0,12}") {
            let _ = (date(&text), month(&text));
        }
    }
}
