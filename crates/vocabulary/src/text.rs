//! Free text from outside.

use crate::Malformed;

/// Free text: trimmed, not empty, at most `max` characters, without control characters and without the invisible
/// characters that reverse or hide what a reader sees.
pub fn text(given: &str, max: usize) -> Result<String, Malformed> {
    let trimmed = given.trim();
    // Bytes first: a text of many megabytes is refused without looking at its characters.
    if trimmed.is_empty()
        || trimmed.len() > max.saturating_mul(4)
        || trimmed.chars().count() > max
        || trimmed.chars().any(is_invisible)
    {
        return Err(Malformed::new(format!("1 to {max} characters of text without control characters")));
    }
    Ok(trimmed.to_owned())
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn trims_and_limits() {
        assert_eq!(text("  Siti Aminah ", 20).unwrap(), "Siti Aminah");
        for wrong in ["", "   ", "a\0b", "a\nb", "x\u{202e}y"] {
            assert!(text(wrong, 20).is_err());
        }
        assert!(text(&"é".repeat(20), 20).is_ok());
        assert!(text(&"é".repeat(21), 20).is_err());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_accepted_again(given in ".{0,40}") {
            if let Ok(once) = text(&given, 30) {
                prop_assert_eq!(text(&once, 30).unwrap(), once);
            }
        }
    }
}
