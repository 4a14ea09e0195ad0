//! PostgreSQL's text forms of what is sent and read as text.

use time::OffsetDateTime;

use crate::domain::command::Timestamp;
use crate::domain::name::Value;
use crate::domain::quantity::Quantity;

use super::StoreError;

/// A `text[]` literal. A batch sends an array of paths, which are arrays of unlike lengths:
/// PostgreSQL has no array of those, so each goes as its literal.
pub(super) fn array(values: &[Value]) -> String {
    let mut literal =
        String::with_capacity(2 + values.iter().map(|value| value.as_str().len() + 3).sum::<usize>());
    literal.push('{');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            literal.push(',');
        }
        literal.push('"');
        for character in value.as_str().chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

pub(super) fn values(texts: &[String]) -> Vec<Value> {
    texts.iter().map(|text| Value::stored(text)).collect()
}

/// A quantity that PostgreSQL wrote.
pub(super) fn quantity(text: &str) -> Result<Quantity, StoreError> {
    text.parse().map_err(|error| StoreError::Rejected(format!("the stored quantity {text:?} {error}")))
}

pub(super) fn time(timestamp: Timestamp) -> OffsetDateTime {
    // Every timestamp comes from a date of four digits, so it is in range.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp.0) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn timestamp(time: OffsetDateTime) -> Timestamp {
    // In range for the same reason.
    Timestamp(i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_literal_keeps_every_character() {
        let values = ["red", "", "a\"b", "c\\d", "e,f", "{g}", "NULL", "ü"].map(Value::stored);
        assert_eq!(array(&values), r#"{"red","","a\"b","c\\d","e,f","{g}","NULL","ü"}"#);
        assert_eq!(array(&[]), "{}");
    }
}
