//! Closed sets of words that are kept as text.

/// An enum whose values have a code: the text under which they are stored.
macro_rules! coded {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $code:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$value => $code),+
                }
            }

            /// The value of a code.
            #[must_use]
            pub fn of_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.code() == code)
            }
        }
    };
}
pub(crate) use coded;
