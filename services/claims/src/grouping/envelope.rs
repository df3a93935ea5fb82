//! How the e-Klaim web service wraps a message: AES-256-CBC with PKCS#7, then the first ten bytes of HMAC-SHA256 over
//! the ciphertext (same key, the IV is not covered), `base64(signature, IV, ciphertext)`. Requests are lines of 76
//! characters; answers stand between two marker lines.

use aws_lc_rs::{
    cipher::{
        AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    constant_time::verify_slices_are_equal,
    hmac,
    iv::FixedLength,
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};

const SIGNATURE: usize = 10;
const IV: usize = 16;
const LINE: usize = 76;
const BEGIN: &str = "----BEGIN ENCRYPTED DATA----\r\n";
const END: &str = "----END ENCRYPTED DATA----\r\n";

/// The key that a hospital shares with its e-Klaim server.
#[derive(Clone)]
pub struct Key([u8; 32]);

/// A message that cannot be opened: another key, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed;

impl Key {
    /// Reads a key of 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut key = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        // from_str_radix takes a sign.
        text.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(Self(key))
    }

    fn cipher(&self) -> Result<UnboundCipherKey, Sealed> {
        UnboundCipherKey::new(&AES_256, &self.0).map_err(|_| Sealed)
    }

    fn signature(&self, ciphertext: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), ciphertext)
    }

    /// Wraps a message for a request.
    ///
    /// # Errors
    /// When the machine gives no random numbers.
    pub fn seal(&self, message: &[u8]) -> Result<String, Sealed> {
        let mut iv = [0; IV];
        rand::fill(&mut iv).map_err(|_| Sealed)?;
        self.seal_with(message, iv)
    }

    fn seal_with(&self, message: &[u8], iv: [u8; IV]) -> Result<String, Sealed> {
        let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(self.cipher()?).map_err(|_| Sealed)?;
        let mut ciphertext = message.to_vec();
        cipher
            .less_safe_encrypt(&mut ciphertext, EncryptionContext::Iv128(FixedLength::from(iv)))
            .map_err(|_| Sealed)?;
        let signature = self.signature(&ciphertext);
        let signature = signature.as_ref().get(..SIGNATURE).ok_or(Sealed)?;
        let text = STANDARD.encode([signature, &iv, &ciphertext].concat());
        let mut lines = String::with_capacity(text.len() + text.len() / LINE * 2 + 2);
        for (at, character) in text.chars().enumerate() {
            if at > 0 && at % LINE == 0 {
                lines.push_str("\r\n");
            }
            lines.push(character);
        }
        lines.push_str("\r\n");
        Ok(lines)
    }

    /// Wraps a message as an answer is wrapped.
    ///
    /// # Errors
    /// When the machine gives no random numbers.
    pub fn seal_answer(&self, message: &[u8]) -> Result<String, Sealed> {
        Ok(format!("{BEGIN}{}{END}", self.seal(message)?))
    }

    /// Opens a message, with or without marker lines.
    ///
    /// # Errors
    /// When it is not one, or was sealed with another key.
    pub fn open(&self, text: &str) -> Result<Vec<u8>, Sealed> {
        let is_marker = |line: &&str| line.starts_with("----");
        let coded: String = text
            .lines()
            .filter(|line| !is_marker(line))
            .flat_map(str::chars)
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='))
            .collect();
        let mut bytes = STANDARD.decode(coded).map_err(|_| Sealed)?;
        if bytes.len() <= SIGNATURE + IV {
            return Err(Sealed);
        }
        let mut ciphertext = bytes.split_off(SIGNATURE + IV);
        let (signature, iv) = bytes.split_at(SIGNATURE);
        let expected = self.signature(&ciphertext);
        let expected = expected.as_ref().get(..SIGNATURE).ok_or(Sealed)?;
        verify_slices_are_equal(expected, signature).map_err(|_| Sealed)?;
        let iv = FixedLength::try_from(iv).map_err(|_| Sealed)?;
        let cipher = PaddedBlockDecryptingKey::cbc_pkcs7(self.cipher()?).map_err(|_| Sealed)?;
        let opened = cipher.decrypt(&mut ciphertext, DecryptionContext::Iv128(iv)).map_err(|_| Sealed)?;
        Ok(opened.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn key() -> Key {
        Key::parse(KEY).unwrap()
    }

    /// What two clients in use (PHP and Node) seal and open, with synthetic credentials.
    const VECTORS: [(u8, &str, &str); 2] = [
        (
            0,
            r#"{"metadata":{"method":"new_claim"},"data":{"nomor_kartu":"0000668870001","nomor_sep":"0301R0011017V000007","nomor_rm":"123-45-67","nama_pasien":"NAMA TEST PASIEN","tgl_lahir":"1940-01-01 02:00:00","gender":"2"}}"#,
            "UyT9I1zzGTgaiQABAgMEBQYHCAkKCwwNDg/LV8ki7II/8EUD3/1rKCXiFaXmV0/wTUZgIJKEI2pR\r\nsaKJsRSGMKRuYoKcxlt97TA0utBYlbJs041vGVIBmxOfKW+pl64ha6WW///xE4X0ZlChHivhTylE\r\nrD0N6zJxV+4QUBVMWt7DIUQizS23sY5ZTY2XNwkilmCkwkBB5kPgo7SrwIC0O8p3dTp3qMOoeE92\r\n+HfumuU7uSlRx+79l8fhk4SmQ69WKSgqoOSOzl75/ZbFrYRgWl/BIR8t1LsLGEkDGJikh/zq7JG7\r\nGlA/gtjCJCO0H7CoYLCMu/4Gar+hUA==\r\n",
        ),
        (
            7,
            r#"{"metadata":{"code":200,"message":"Ok"},"response":{"patient_id":453,"admission_id":1,"hospital_admission_id":2}}"#,
            "Gj+vJq8kSEpK1wcHBwcHBwcHBwcHBwcHBwc/USslQ14dk1UDy170TwwDCz9L4H0BJAckCImKtqJC\r\nw5288X1PEi8egdVPd5PFy1ieSLooRF7ZsZ0242Qcbyr9JbQN7zDJXNp+D41HPHMxVkUeo8t8rRYO\r\nxKbQ72660zvtI7Z8emIaSnAq1udJEKrbj+EFtAnc79gYROQnVUVLFw==\r\n",
        ),
    ];

    #[test]
    fn it_seals_and_opens_what_other_clients_do() {
        for (first, message, sealed) in VECTORS {
            let mut iv = [7; IV];
            if first == 0 {
                iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
            }
            assert_eq!(key().seal_with(message.as_bytes(), iv).unwrap(), sealed);
            assert_eq!(key().open(sealed).unwrap(), message.as_bytes());
            let answer = format!("{BEGIN}{sealed}{END}");
            assert_eq!(key().open(&answer).unwrap(), message.as_bytes());
            let json = format!("[\"{}\"]", sealed.replace("\r\n", "").replace('/', "\\/"));
            assert_eq!(key().open(&json).unwrap(), message.as_bytes(), "as some clients send it");
        }
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_key() {
        let signed = format!("+1{}", &KEY[2..]);
        for wrong in ["", "00", &KEY[1..], &signed, &KEY.replace('a', "g"), &format!("é{}", &KEY[2..])] {
            assert!(Key::parse(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_by_its_key_alone(message in proptest::collection::vec(any::<u8>(), 0..300), flip in any::<prop::sample::Index>()) {
            let sealed = key().seal_answer(&message).unwrap();
            prop_assert_eq!(key().open(&sealed).unwrap(), message);
            let other = Key::parse(&KEY.replace('a', "b")).unwrap();
            prop_assert_eq!(other.open(&sealed), Err(Sealed));
            // A changed bit of signature or ciphertext is noticed; the IV is not covered.
            let body: String = sealed.lines().filter(|line| !line.starts_with("----")).collect();
            let mut bytes = STANDARD.decode(&body).unwrap();
            let at = flip.index(bytes.len());
            bytes[at] ^= 1;
            if !(SIGNATURE..SIGNATURE + IV).contains(&at) {
                prop_assert_eq!(key().open(&STANDARD.encode(&bytes)), Err(Sealed));
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,200}") {
            let _ = key().open(&text);
        }
    }
}
