//! A value that must be stored or compared, and never shown.

use std::fmt;

/// Holds personal data (a phone number, an address). `Debug` shows `***`, there is no `Display` and no
/// `Serialize`; whoever needs the value says [`Masked::expose`], which can be searched for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Masked<T>(T);

impl<T> Masked<T> {
    /// Masks the value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, to be stored or compared.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, taken out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Masked<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Masked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_value() {
        assert_eq!(format!("{:?}", Masked::new("0812000000")), "***");
        assert_eq!(*Masked::new(7).expose(), 7);
    }
}
