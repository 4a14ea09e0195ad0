//! Names, which match in any letter case, and values, which match exactly.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Most characters of a name.
const NAME_CHARACTERS_MAX: usize = 64;
/// Most characters of a value.
const VALUE_CHARACTERS_MAX: usize = 128;
/// Most characters of a remark.
const REMARK_CHARACTERS_MAX: usize = 512;

/// Why a text is not a name or a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// Longer than the limit.
    #[error("has {characters} characters, at most {most} are allowed")]
    TooLong {
        /// How many characters were given.
        characters: usize,
        /// How many may be given.
        most: usize,
    },
    /// A control character: PostgreSQL cannot hold NUL, and no person can see the others.
    #[error("has the control character U+{0:04X}")]
    ControlCharacter(u32),
    /// A character that a name cannot have: a formula must be able to tell it from its operators.
    #[error("has {0:?}; a name is made of letters, digits and underscores, the first not a digit")]
    NotAName(char),
}

fn check_length(text: &str, most: usize) -> Result<(), InvalidText> {
    if text.is_empty() {
        return Err(InvalidText::Empty);
    }
    let characters = text.chars().count();
    if characters > most {
        return Err(InvalidText::TooLong { characters, most });
    }
    Ok(())
}

/// The name of a group, dimension, data source or measure. Equal in any letter case,
/// and shown as it was configured.
#[derive(Clone)]
pub struct Name {
    shown: Arc<str>,
    folded: Arc<str>,
}

impl Name {
    /// Reads a name: letters, digits and underscores, after one leading `@` at most.
    ///
    /// # Errors
    /// When the text is not a name.
    pub fn parse(text: &str) -> Result<Name, InvalidText> {
        check_length(text, NAME_CHARACTERS_MAX)?;
        let bare = text.strip_prefix('@').unwrap_or(text);
        let first = bare.chars().next().ok_or(InvalidText::NotAName('@'))?;
        if !(first.is_alphabetic() || first == '_') {
            return Err(InvalidText::NotAName(first));
        }
        match bare.chars().find(|&character| !(character.is_alphanumeric() || character == '_')) {
            Some(character) if character.is_control() => Err(InvalidText::ControlCharacter(character.into())),
            Some(character) => Err(InvalidText::NotAName(character)),
            None => Ok(Name { shown: text.into(), folded: text.to_lowercase().into() }),
        }
    }

    /// Whether `text` is this name, in any letter case.
    pub fn matches(&self, text: &str) -> bool {
        self.folded.eq_ignore_ascii_case(text) || (!text.is_ascii() && *self.folded == *text.to_lowercase())
    }

    /// Whether the name is one of those that the service itself defines.
    pub fn is_predefined(&self) -> bool {
        self.shown.starts_with('@')
    }

    /// The name as configured.
    pub fn as_str(&self) -> &str {
        &self.shown
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.folded == other.folded
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A value of a dimension or group, an identifier of an organization or product, or an
/// event's id. Matches exactly. Empty only as a dimension's [`Value::empty`].
///
/// Most are short. A command has about a dozen of them, and such are kept in place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(SmolStr);

impl Value {
    /// Reads a value.
    ///
    /// # Errors
    /// When the text is empty, too long or has a control character.
    pub fn parse(text: &str) -> Result<Value, InvalidText> {
        Value::within(text, VALUE_CHARACTERS_MAX)
    }

    /// Reads a remark: what a value may be, but longer, as nothing is looked up by it.
    ///
    /// # Errors
    /// When the text is empty, too long or has a control character.
    pub fn parse_remark(text: &str) -> Result<Value, InvalidText> {
        Value::within(text, REMARK_CHARACTERS_MAX)
    }

    fn within(text: &str, most: usize) -> Result<Value, InvalidText> {
        check_length(text, most)?;
        match text.chars().find(|character| character.is_control()) {
            Some(character) => Err(InvalidText::ControlCharacter(character.into())),
            None => Ok(Value(text.into())),
        }
    }

    /// The empty value that a dimension has where it is left out (a helmet has no colour).
    pub fn empty() -> Value {
        Value("".into())
    }

    /// What comes right behind this one in the order of values. No value itself: it has a
    /// control character.
    pub(crate) fn next(&self) -> Value {
        Value(format!("{}\u{1}", self.0).into())
    }

    /// What comes behind every value. No value itself: it is too long.
    pub(crate) fn behind_all() -> Value {
        Value("\u{10FFFF}".repeat(VALUE_CHARACTERS_MAX + 1).into())
    }

    /// Takes what the service itself stored.
    pub(crate) fn stored(text: &str) -> Value {
        Value(text.into())
    }

    /// The text of the value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Value {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_matches_in_any_letter_case_and_is_shown_as_given() {
        let name = Name::parse("siteId").unwrap();
        assert!(name.matches("SITEID") && name.matches("siteId") && !name.matches("site"));
        assert_eq!(name, Name::parse("SiteID").unwrap());
        assert_eq!(name.to_string(), "siteId");
        assert!(Name::parse("größe").unwrap().matches("GRÖßE"));
    }

    #[test]
    fn what_a_formula_could_not_read_is_no_name() {
        for text in ["", "@", "a-b", "a b", "a.b", "9lives", "a@b", "@@iv", "a\u{0}"] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
        assert!(Name::parse(&"n".repeat(65)).is_err());
        assert!(Name::parse("@iv").unwrap().is_predefined());
    }

    #[test]
    fn a_value_matches_exactly() {
        assert_ne!(Value::parse("Red").unwrap(), Value::parse("red").unwrap());
        assert!(Value::parse("two words, 100 %").is_ok());
        for text in ["", "a\u{0}b", "a\nb", "\u{7f}"] {
            assert!(Value::parse(text).is_err(), "{text:?}");
        }
        assert!(Value::parse(&"v".repeat(128)).is_ok());
        assert!(Value::parse(&"v".repeat(129)).is_err());
        assert!(Value::parse_remark(&"v".repeat(512)).is_ok());
        assert!(Value::parse_remark(&"v".repeat(513)).is_err());
    }
}
