//! Closed sets of words: one enum each, with the text it has in the database and in policy files, and its number
//! in the contract.

/// Declares an enum of the domain beside the enum of the contract that has the same variants.
macro_rules! closed {
    ($(#[$doc:meta])* $name:ident = $proto:ty { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The text it is kept as.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads the text it is kept as.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text)
            }

            /// Reads its number in the contract; nothing for unspecified and unknown numbers.
            #[must_use]
            pub fn from_number(number: i32) -> Option<Self> {
                match <$proto>::try_from(number) { $(Ok(<$proto>::$variant) => Some(Self::$variant),)+ _ => None }
            }

            /// Its number in the contract.
            #[must_use]
            pub fn number(self) -> i32 {
                match self { $(Self::$variant => <$proto>::$variant as i32),+ }
            }
        }
    };
}

pub(crate) use closed;
