//! The text of an API key: `rf_<8 letters>_<43 characters>`. All before the last underscore is its
//! prefix, which is no secret; the rest is 256 bits of chance, so that its digest needs no salt and
//! no slow hash: nobody can try them all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Random bytes that a key is made of.
pub const RANDOM_BYTES: usize = LETTERS + 32;
const LETTERS: usize = 8;
const PREFIX_BYTES: usize = 3 + LETTERS;
const TEXT_BYTES: usize = PREFIX_BYTES + 1 + 43;

/// What is kept of a key's text.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// That of a key's text.
    pub fn of(text: &str) -> Digest {
        Digest(Sha256::digest(text.as_bytes()).into())
    }

    /// Takes what was kept; none when it is no digest.
    pub fn stored(bytes: &[u8]) -> Option<Digest> {
        bytes.try_into().ok().map(Digest)
    }

    /// The bytes, to look something up by.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The bytes, to be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is that of a key's text. Takes as long wherever they differ.
    pub fn is_of(&self, text: &str) -> bool {
        self.words().ct_eq(&Digest::of(text).words()).into()
    }

    /// The bytes eight at a time: so many fewer to compare.
    fn words(&self) -> [u64; 4] {
        let (words, _) = self.0.as_chunks();
        std::array::from_fn(|index| u64::from_ne_bytes(words[index]))
    }
}

/// The text of a new key.
pub fn of_random(random: [u8; RANDOM_BYTES]) -> String {
    let (letters, secret) = random.split_at(LETTERS);
    let letters: String = letters.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    format!("rf_{letters}_{}", URL_SAFE_NO_PAD.encode(secret))
}

/// The prefix of a key's text; none where it can be nobody's. Whether the secret behind it is right, and
/// so whether it has the letters of one, its digest tells.
pub fn prefix_of(text: &str) -> Option<&str> {
    let (prefix, secret) = text.split_at_checked(PREFIX_BYTES)?;
    (text.len() == TEXT_BYTES && secret.starts_with('_') && is_prefix(prefix)).then_some(prefix)
}

/// Whether this is a key's prefix.
pub fn is_prefix(text: &str) -> bool {
    let letters = text.as_bytes().strip_prefix(b"rf_");
    letters.is_some_and(|letters| letters.len() == LETTERS && letters.iter().all(u8::is_ascii_lowercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_prefix_that_can_be_read_and_a_digest_that_is_its_own() {
        let (one, other) = (of_random([7; RANDOM_BYTES]), of_random([8; RANDOM_BYTES]));
        assert_eq!(one, "rf_hhhhhhhh_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        assert_eq!(prefix_of(&one), Some("rf_hhhhhhhh"));
        assert!(Digest::of(&one).is_of(&one) && !Digest::of(&one).is_of(&other));
        assert!(Digest::stored(Digest::of(&one).as_bytes()).is_some_and(|digest| digest.is_of(&one)));
        assert!(Digest::stored(&[0; 31]).is_none());
    }

    #[test]
    fn what_has_not_the_shape_of_a_key_is_none() {
        let key = of_random([7; RANDOM_BYTES]);
        let longer = format!("{key}A");
        for text in ["", "rf_", &key[1..], &key[..54], &longer, &key.to_uppercase(), &key.replace('_', "-")] {
            assert_eq!(prefix_of(text), None, "{text}");
        }
        // What has the length of one in other letters is told from it by its digest.
        let other = format!("{}ü ", &key[..52]);
        assert_eq!(prefix_of(&other), Some("rf_hhhhhhhh"));
        assert!(!Digest::of(&key).is_of(&other));
    }
}
