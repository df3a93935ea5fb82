//! The file of a frame: the list from which a sample is drawn, in one canonical form, so that its SHA-256 says which list
//! it was. ASCII, each line ended by a line feed:
//!
//! ```text
//! jkn-audit-frame 1
//! kind claims
//! quarter 2026-Q3
//! policy 2022-10-01
//! size 250
//! stratum-minimum 1
//! rows 2
//! key,class,region,severity,burden
//! 0a6c1f0e9d3b4c5d8e7f6a5b4c3d2e1f,B,java-bali,outpatient,noncommunicable
//! 7be0c9a1d2f34e5f8a9b0c1d2e3f4a5b,C,sumatra,severity-1,maternal-newborn
//! ```
//!
//! Rows are sorted by key, byte by byte, and none stands twice. What decides the draw stands in the file and so under its
//! hash: whoever has the file and the seed needs nothing else.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{
    Digest, Sha256,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use uuid::Uuid;

use crate::{draw::Counts, quarter::Quarter};

/// What a frame lists. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// Claims.
    Claims = 1,
    /// Hospitals.
    Hospitals = 2,
}

impl Kind {
    /// The kind of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::Claims, Self::Hospitals].into_iter().find(|kind| *kind as i16 == number)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Claims => "claims",
            Self::Hospitals => "hospitals",
        }
    }

    const fn columns(self) -> &'static str {
        match self {
            Self::Claims => "key,class,region,severity,burden",
            Self::Hospitals => "key,class,region",
        }
    }
}

/// What stands above the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame lists.
    pub kind: Kind,
    /// Quarter.
    pub quarter: Quarter,
    /// First day of the version of the policy.
    pub policy: Date,
    /// Rows to be drawn.
    pub size: u64,
    /// Rows to be drawn from each stratum at least.
    pub minimum: u64,
    /// Rows.
    pub rows: u64,
}

impl Header {
    /// Its lines.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { kind, quarter, policy, size, minimum, rows } = self;
        let (name, columns) = (kind.name(), kind.columns());
        format!(
            "jkn-audit-frame 1\nkind {name}\nquarter {quarter}\npolicy {policy}\nsize {size}\nstratum-minimum {minimum}\nrows {rows}\n{columns}\n"
        )
    }
}

/// Lines above the rows.
const HEADER_LINES: usize = 8;

/// The line of a row.
#[must_use]
pub fn line(key: &str, stratum: &str) -> String {
    format!("{key},{stratum}\n")
}

/// The pseudonym of a claim in a frame with this salt. The salt is kept back, so that nobody who knows a claim's id can
/// find it in a published frame; whoever may see both can check every key.
#[must_use]
pub fn pseudonym(salt: &[u8], claim_id: Uuid) -> String {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(claim_id.as_bytes());
    hex(&hash.finalize()[..16])
}

/// Bytes in lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a text in hexadecimal.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// A file that is not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Mistake {
    /// Line of the mistake, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: &'static str,
}

/// A whole frame, without its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What stands above the rows.
    pub header: Header,
    /// SHA-256 of the file, in hexadecimal.
    pub hash: String,
    /// Rows of each stratum.
    pub sizes: Counts,
}

/// A frame that is read, or written, line by line.
#[derive(Debug)]
pub struct Reading {
    hash: Sha256,
    lines: usize,
    above: String,
    header: Option<Header>,
    last: String,
    sizes: Counts,
    rows: u64,
}

/// Where a reading stands, so that another process can go on from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// State of the hash.
    hash: Vec<u8>,
    lines: usize,
    above: String,
    last: String,
    sizes: Counts,
    rows: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self::begin()
    }
}

impl Reading {
    /// Begins before the first line.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            hash: Sha256::new(),
            lines: 0,
            above: String::new(),
            header: None,
            last: String::new(),
            sizes: Counts::new(),
            rows: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            hash: self.hash.serialize().to_vec(),
            lines: self.lines,
            above: self.above.clone(),
            last: self.last.clone(),
            sizes: self.sizes.clone(),
            rows: self.rows,
        }
    }

    /// Goes on where another stood; `None` when that is not the mark of one.
    #[must_use]
    pub fn resume(mark: Mark) -> Option<Self> {
        let Mark { hash, lines, above, last, sizes, rows } = mark;
        let hash = SerializedState::<Sha256>::try_from(hash.as_slice()).ok()?;
        let hash = Sha256::deserialize(&hash).ok()?;
        let header = if lines < HEADER_LINES { None } else { Some(header(&above).ok()?) };
        Some(Self { hash, lines, above, header, last, sizes, rows })
    }

    /// The key of the last row; empty before the first.
    #[must_use]
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Takes the next line, its line feed included, and gives key and stratum when it is a row.
    ///
    /// # Errors
    /// When the line is not the one of the canonical form.
    pub fn take<'a>(&mut self, text: &'a str) -> Result<Option<(&'a str, &'a str)>, Mistake> {
        self.lines += 1;
        let line = self.lines;
        let mistake = |message| Mistake { line, message };
        self.hash.update(text);
        let row = text.strip_suffix('\n').ok_or_else(|| mistake("must end with a line feed"))?;
        let Some(header) = &self.header else {
            self.above.push_str(text);
            if line == HEADER_LINES {
                self.header = Some(header(&self.above)?);
            }
            return Ok(None);
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let columns = header.kind.columns().split(',').count();
        let fits = row.split(',').count() == columns
            && row.split(',').all(|field| !field.is_empty() && field.bytes().all(plain));
        let (key, stratum) = row
            .split_once(',')
            .filter(|_| fits)
            .ok_or_else(|| mistake("must have the columns of line 8, of letters, digits and hyphens"))?;
        if key <= self.last.as_str() {
            return Err(mistake("must sort after the line before it"));
        }
        key.clone_into(&mut self.last);
        self.rows += 1;
        match self.sizes.get_mut(stratum) {
            Some(size) => *size += 1,
            None => {
                self.sizes.insert(stratum.to_owned(), 1);
            }
        }
        Ok(Some((key, stratum)))
    }

    /// The frame, after its last line.
    ///
    /// # Errors
    /// When lines are missing.
    pub fn finish(self) -> Result<Frame, Mistake> {
        let mistake = |message| Mistake { line: self.lines, message };
        let header = self.header.ok_or_else(|| mistake("ends above the rows"))?;
        if header.rows != self.rows {
            return Err(mistake("the file has another number of rows than line 7 says"));
        }
        Ok(Frame { header, hash: hex(&self.hash.finalize()), sizes: self.sizes })
    }
}

/// Reads what stands above the rows; only the form in which it is written is taken.
fn header(text: &str) -> Result<Header, Mistake> {
    let wrong = |line, message| Mistake { line, message };
    let lines: Vec<&str> = text.lines().collect();
    let value = |line: usize, name: &str| {
        lines.get(line - 1).and_then(|text| text.strip_prefix(name)).and_then(|text| text.strip_prefix(' '))
    };
    let number = |line, name, message| {
        value(line, name).and_then(|text| text.parse().ok()).ok_or_else(|| wrong(line, message))
    };
    if value(1, "jkn-audit-frame") != Some("1") {
        return Err(wrong(1, "must be: jkn-audit-frame 1"));
    }
    let kind = [Kind::Claims, Kind::Hospitals].into_iter().find(|kind| value(2, "kind") == Some(kind.name()));
    let header = Header {
        kind: kind.ok_or_else(|| wrong(2, "must be: kind claims, or kind hospitals"))?,
        quarter: value(3, "quarter")
            .and_then(|text| Quarter::parse(text).ok())
            .ok_or_else(|| wrong(3, "must be: quarter YYYY-Qn"))?,
        policy: value(4, "policy")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong(4, "must be: policy YYYY-MM-DD"))?,
        size: number(5, "size", "must be: size and a number")?,
        minimum: number(6, "stratum-minimum", "must be: stratum-minimum and a number")?,
        rows: number(7, "rows", "must be: rows and a number")?,
    };
    // Whatever else could be read, as a number with zeros before it, is not the form in which it is written.
    let written = header.text();
    match written.lines().zip(&lines).position(|(written, given)| written != *given) {
        Some(at) => Err(wrong(at + 1, "is not in canonical form")),
        None => Ok(header),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn file(rows: &BTreeMap<String, String>) -> String {
        let header = Header {
            kind: Kind::Hospitals,
            quarter: Quarter::parse("2026-Q3").unwrap(),
            policy: "2022-10-01".parse().unwrap(),
            size: 20,
            minimum: 1,
            rows: rows.len() as u64,
        };
        rows.iter().fold(header.text(), |text, (key, stratum)| text + &line(key, stratum))
    }

    fn read(text: &str) -> Result<Frame, Mistake> {
        let mut reading = Reading::begin();
        for line in text.split_inclusive('\n') {
            reading.take(line)?;
        }
        reading.finish()
    }

    fn hospitals() -> BTreeMap<String, String> {
        [("0301R011", "B,sumatra"), ("0901R001", "A,java-bali"), ("0901R002", "A,java-bali")]
            .map(|(key, stratum)| (key.to_owned(), stratum.to_owned()))
            .into()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let text = file(&hospitals());
        let frame = read(&text).unwrap();
        assert_eq!((frame.header.rows, frame.header.size, frame.header.minimum), (3, 20, 1));
        assert_eq!(frame.sizes, Counts::from([("A,java-bali".to_owned(), 2), ("B,sumatra".to_owned(), 1)]));
        assert_eq!(frame.hash, sha256(&text));
    }

    #[test]
    fn another_form_is_refused_with_its_line() {
        let text = file(&hospitals());
        let wrong = |from: &str, to: &str| read(&text.replacen(from, to, 1)).unwrap_err().line;
        assert_eq!(wrong("frame 1", "frame 2"), 1);
        assert_eq!(wrong("hospitals", "clinics"), 2);
        assert_eq!(wrong("2026-Q3", "2026-Q5"), 3);
        assert_eq!(wrong("size 20", "size 020"), 5);
        assert_eq!(wrong("rows 3", "rows 4"), 11);
        assert_eq!(wrong("key,class", "key,classes"), 8);
        assert_eq!(wrong("0301R011", "0999R011"), 10, "not sorted");
        assert_eq!(wrong("0901R002", "0901R001"), 11, "twice");
        assert_eq!(wrong("B,sumatra", "B,sumatra "), 9);
        assert_eq!(wrong("B,sumatra\n", "B,sumatra\r\n"), 9);
        assert_eq!(wrong("B,sumatra", "B,"), 9);
        assert_eq!(wrong("B,sumatra", "B,sumatra,1"), 9);
        assert_eq!(read(text.trim_end()).unwrap_err().line, 11);
        assert_eq!(read("").unwrap_err().line, 0);
    }

    #[test]
    fn a_pseudonym_needs_the_salt() {
        let claim = Uuid::from_u128(7);
        assert_eq!(pseudonym(b"one", claim), pseudonym(b"one", claim));
        assert_ne!(pseudonym(b"one", claim), pseudonym(b"two", claim));
        assert_eq!(pseudonym(b"one", claim).len(), 32);
    }

    proptest! {
        #[test]
        fn a_file_read_in_pieces_by_several_is_the_same_file(
            rows in proptest::collection::btree_map("[0-9]{4}R[0-9]{3}", "[A-D],[a-z]{1,9}", 1..40),
            piece in 1..9usize,
        ) {
            let text = file(&rows);
            let mut mark = Reading::begin().mark();
            for lines in text.split_inclusive('\n').collect::<Vec<_>>().chunks(piece) {
                let written = serde_json::to_string(&mark).unwrap();
                let mut reading = Reading::resume(serde_json::from_str(&written).unwrap()).unwrap();
                for line in lines {
                    reading.take(line).unwrap();
                }
                mark = reading.mark();
            }
            prop_assert_eq!(Reading::resume(mark).unwrap().finish(), read(&text));
        }

        #[test]
        fn one_changed_row_is_another_hash(
            mut rows in proptest::collection::btree_map("[0-9]{4}R[0-9]{3}", "[A-D],[a-z]{1,9}", 1..40),
            at in any::<proptest::sample::Index>(), stratum in "[A-D],[a-z]{1,9}",
        ) {
            let before = read(&file(&rows)).unwrap();
            let key = at.get(&rows.keys().cloned().collect::<Vec<_>>()).clone();
            let was = rows.insert(key.clone(), stratum.clone());
            let after = read(&file(&rows)).unwrap();
            prop_assert_eq!(after.hash == before.hash, was == Some(stratum));
            rows.remove(&key);
            prop_assert_ne!(read(&file(&rows)).unwrap().hash, before.hash);
        }
    }
}
