//! Pages of a list (AIP-158): an opaque token that holds the last key of the page before.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::Fields;

const DEFAULT_SIZE: i32 = 50;
const LARGEST_SIZE: i32 = 500;

/// What page of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most rows to return, 1 to 500.
    pub size: i64,
    /// The last key of the page before; `None` for the first page.
    pub after: Option<String>,
}

impl Page {
    /// Reads `page_size` and `page_token`; a wrong one is noted under its name.
    pub fn parse(fields: &mut Fields, page_size: i32, page_token: &str) -> Self {
        fields.require(
            "page_size",
            (0..=LARGEST_SIZE).contains(&page_size),
            format!("0 to {LARGEST_SIZE}; 0 means {DEFAULT_SIZE}"),
        );
        let size = if page_size == 0 { DEFAULT_SIZE } else { page_size };
        let after = if page_token.is_empty() {
            None
        } else {
            let decoded =
                if page_token.len() > 1024 { None } else { URL_SAFE_NO_PAD.decode(page_token).ok() };
            match decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
                Some(key) => Some(key),
                None => {
                    fields.wrong("page_token", "must be a next_page_token of an answer to the same list");
                    None
                }
            }
        };
        Self { size: i64::from(size), after }
    }
}

/// The token that asks for the page after the row with this key.
#[must_use]
pub fn token(last_key: &str) -> String {
    URL_SAFE_NO_PAD.encode(last_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_brings_its_key_back_and_a_made_up_one_is_refused() {
        let mut fields = Fields::new();
        let page = Page::parse(&mut fields, 0, &token("2026-01-01|7"));
        assert_eq!(page, Page { size: 50, after: Some("2026-01-01|7".into()) });
        fields.finish().unwrap();

        let mut fields = Fields::new();
        Page::parse(&mut fields, 501, "%%%");
        let status = fields.finish().unwrap_err();
        assert!(status.message().contains("page_size, page_token"));
    }
}
