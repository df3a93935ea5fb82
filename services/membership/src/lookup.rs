//! Finding what a key names, for calls that only read.

mod reads;

pub(crate) use reads::Reads;
