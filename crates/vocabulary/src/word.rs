//! What all words share: the error of a malformed one, and the trait implementations that follow from `parse`.

use std::borrow::Cow;

/// The given text is not of the expected form. It says what the form is, and never what was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct Malformed(Cow<'static, str>);

impl Malformed {
    /// An error with a description of the right form, to be read after "must be".
    pub fn new(expected: impl Into<Cow<'static, str>>) -> Self {
        Self(expected.into())
    }
}

/// Everything that follows from `parse(&str)` and `as_str()`: conversions, serde and, for a word that may be
/// shown, `Display`, `Debug` and `Serialize`; for a masked one a `Debug` that hides it.
macro_rules! word {
    (shown $name:ident) => {
        $crate::word::word!(conversions $name);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
    (masked $name:ident) => {
        $crate::word::word!(conversions $name);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(***)"))
            }
        }
    };
    (conversions $name:ident) => {
        impl TryFrom<String> for $name {
            type Error = $crate::Malformed;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Malformed;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use word;

/// Whether the text is exactly `length` ASCII digits.
pub(crate) fn is_digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())
}
