//! Exact decimal quantities.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Decimal places that are kept: six of a quantity times six of a formula's coefficient.
const PLACES: u32 = 12;
const ONE: i128 = 10_i128.pow(PLACES);
/// Units in one step of the finest quantity or coefficient that a request may give.
const MILLIONTH: i128 = 1_000_000;
/// Most decimal places of a quantity or coefficient in a request.
const REQUEST_PLACES: i64 = 6;
/// Most digits before the point that are read of a request; what is too large is refused after.
const REQUEST_WHOLE_DIGITS: i64 = 22;
/// Most digits before the point that a formula's value has: 64 terms of 10^18 times 10^6.
const WHOLE_DIGITS: i64 = 26;
/// Largest magnitude of a quantity in a request.
const REQUEST_MAX: i128 = 10_i128.pow(15) * ONE;
/// Largest magnitude of a coefficient.
const COEFFICIENT_MAX: i128 = 10_i128.pow(6) * ONE;
/// Largest magnitude of a sum that is kept. 64 terms of it, each with the largest
/// coefficient, still fit an `i128`, so that a formula cannot overflow.
const SUM_MAX: i128 = 10_i128.pow(18) * ONE;

/// An exact decimal number, a count of 10^-12. Nothing here ever passes through a float.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i128);

/// Why a text is not a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// Not a decimal number.
    #[error("is not a decimal number")]
    NotANumber,
    /// More decimal places than are kept.
    #[error("has more than 6 decimal places")]
    TooPrecise,
    /// Beyond the largest magnitude.
    #[error("is beyond the largest magnitude, 10^15")]
    TooLarge,
    /// A coefficient beyond its largest magnitude.
    #[error("is beyond the largest coefficient, 10^6")]
    CoefficientTooLarge,
    /// Zero or less where more than zero is needed.
    #[error("must be greater than 0")]
    NotPositive,
    /// Less than zero in a reservation that is to be checked.
    #[error("must be greater than 0; to give back what was reserved, set ifCheckAvailForReserv to false")]
    GivesBackChecked,
    /// The sum that it would lead to is not kept.
    #[error("would lead to a sum beyond 10^18")]
    SumTooLarge,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity(0);

    /// A whole number of units.
    pub const fn units(units: i64) -> Quantity {
        Quantity(units as i128 * ONE)
    }

    /// A number of millionths, the finest step that a request can name.
    pub const fn millionths(millionths: i64) -> Quantity {
        Quantity(millionths as i128 * MILLIONTH)
    }

    /// Reads a quantity of a request: at most 6 decimal places, magnitude at most 10^15.
    ///
    /// The text is a JSON number, or the same as a string. Precision goes by value:
    /// `1.0000000` is 1.
    ///
    /// # Errors
    /// When the text is no such number.
    pub fn parse(text: &str) -> Result<Quantity, InvalidQuantity> {
        let quantity = parse_decimal(text, REQUEST_PLACES, REQUEST_WHOLE_DIGITS)?;
        if quantity.0.abs() > REQUEST_MAX {
            return Err(InvalidQuantity::TooLarge);
        }
        Ok(quantity)
    }

    /// Reads a quantity that has to be greater than 0.
    ///
    /// # Errors
    /// When the text is no such number.
    pub fn parse_positive(text: &str) -> Result<Quantity, InvalidQuantity> {
        let quantity = Quantity::parse(text)?;
        if quantity <= Quantity::ZERO {
            return Err(InvalidQuantity::NotPositive);
        }
        Ok(quantity)
    }

    /// Reads a formula's coefficient: at most 6 decimal places, magnitude at most 10^6.
    ///
    /// # Errors
    /// When the text is no such number.
    pub fn parse_coefficient(text: &str) -> Result<Quantity, InvalidQuantity> {
        let coefficient = parse_decimal(text, REQUEST_PLACES, REQUEST_WHOLE_DIGITS)?;
        if coefficient.0.abs() > COEFFICIENT_MAX {
            return Err(InvalidQuantity::CoefficientTooLarge);
        }
        Ok(coefficient)
    }

    /// Whether `self + delta` may be kept.
    pub fn can_add(self, delta: Quantity) -> bool {
        (self.0 + delta.0).abs() <= SUM_MAX
    }

    /// `self` times a coefficient, exactly: both have at most six decimal places.
    pub(crate) fn times(self, coefficient: Quantity) -> Quantity {
        Quantity((self.0 / MILLIONTH) * (coefficient.0 / MILLIONTH))
    }

    /// How many whole steps of a size this has, rounded down.
    pub(super) fn steps(self, step: Quantity) -> i128 {
        self.0.div_euclid(step.0)
    }

    /// So many steps of a size. For counts that [`Quantity::steps`] gave, and parts of them.
    pub(super) fn of_steps(count: i128, step: Quantity) -> Quantity {
        Quantity(count * step.0)
    }

    /// `self` as often as `count` says, as far as there are numbers for it.
    pub(crate) fn multiple(self, count: u32) -> Quantity {
        Quantity(self.0.saturating_mul(i128::from(count)))
    }

    /// `self` for each of `divisor`, cut behind six decimal places; at most what may be kept, and
    /// `None` for each of nothing. Both are 0 or more.
    pub(crate) fn per(self, divisor: Quantity) -> Option<Quantity> {
        let whole = self.0.checked_div(divisor.0)?;
        if whole >= SUM_MAX / ONE {
            return Some(Quantity(SUM_MAX));
        }
        let millionths = (self.0 % divisor.0).checked_mul(MILLIONTH)?.checked_div(divisor.0)?;
        Some(Quantity(whole * ONE + millionths * MILLIONTH))
    }

    /// The magnitude.
    pub fn abs(self) -> Quantity {
        Quantity(self.0.abs())
    }

    /// Whether this is 0.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// Shares of one in another. A quantity has at most six decimal places, as requests have them, and
/// so has what comes out.
impl Quantity {
    /// The sum, or the largest that is read back, 10^26, where it would be more: for sums over any
    /// time and any number of places.
    pub fn saturating_add(self, other: Quantity) -> Quantity {
        let most = 10_i128.pow(WHOLE_DIGITS as u32) * ONE - ONE;
        Quantity(self.0.saturating_add(other.0).clamp(-most, most))
    }

    /// This as a part of a whole, rounded to six places; nothing of nothing.
    pub fn part_of(self, whole: Quantity) -> Option<Quantity> {
        let part = (self.0 / MILLIONTH).checked_mul(MILLIONTH)?;
        Some(Quantity(rounded_quotient(part, whole.0 / MILLIONTH)? * MILLIONTH))
    }

    /// How much it is in so many units of time when it is this much in so many others, rounded to
    /// six places.
    pub fn in_time(self, time: i64, of: i64) -> Option<Quantity> {
        let product = (self.0 / MILLIONTH).checked_mul(i128::from(time))?;
        Some(Quantity(rounded_quotient(product, i128::from(of))?.checked_mul(MILLIONTH)?))
    }

    /// How long this lasts when so much goes in a time: rounded down; no longer than can be counted.
    pub fn lasts(self, goes: Quantity, time: i64) -> Option<i64> {
        let product = (self.0 / MILLIONTH).checked_mul(i128::from(time))?;
        i64::try_from(product.checked_div(goes.0 / MILLIONTH)?).ok()
    }
}

/// Halves go away from zero.
fn rounded_quotient(numerator: i128, denominator: i128) -> Option<i128> {
    let (quotient, rest) = (numerator.checked_div(denominator)?, numerator.checked_rem(denominator)?);
    let is_half = rest.unsigned_abs() >= denominator.unsigned_abs().div_ceil(2);
    let away = if (numerator < 0) == (denominator < 0) { 1 } else { -1 };
    Some(if is_half && rest != 0 { quotient + away } else { quotient })
}

/// Adds. In range by construction: what is kept is checked with [`Quantity::can_add`] before,
/// and a formula's terms are bounded.
impl std::ops::Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Quantity) -> Quantity {
        Quantity(self.0 + other.0)
    }
}

impl std::ops::Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        Quantity(self.0 - other.0)
    }
}

impl std::ops::Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        Quantity(-self.0)
    }
}

impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        self.0 += other.0;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(quantities: I) -> Quantity {
        quantities.fold(Quantity::ZERO, |sum, quantity| sum + quantity)
    }
}

/// Reads `-12.5e3`: a sign, digits, at most one point, at most one exponent.
fn parse_decimal(text: &str, places_max: i64, whole_digits_max: i64) -> Result<Quantity, InvalidQuantity> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(InvalidQuantity::NotANumber),
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidQuantity::NotANumber);
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = whole.len() + fraction.len();
    let leading = whole.bytes().chain(fraction.bytes()).take_while(|&byte| byte == b'0').count();
    if leading == digits {
        return Ok(Quantity::ZERO);
    }
    let trailing = match fraction {
        "" => whole.bytes().rev().take_while(|&byte| byte == b'0').count(),
        _ => 0,
    };
    // Text lengths are far below 2^62, and the exponent is clamped: none of this overflows.
    let places = fraction.len() as i64 - exponent;
    if places - trailing as i64 > places_max {
        return Err(InvalidQuantity::TooPrecise);
    }
    let whole_digits = (digits - leading) as i64 - places;
    if whole_digits > whole_digits_max {
        return Err(InvalidQuantity::TooLarge);
    }
    let significant = whole.bytes().chain(fraction.bytes()).skip(leading).take(digits - leading - trailing);
    let value = significant.fold(0_i128, |value, byte| value * 10 + i128::from(byte - b'0'));
    // At most 26 digits before the point and 12 behind it, as just checked: below 10^38.
    let value = value * 10_i128.pow((i64::from(PLACES) - places + trailing as i64) as u32);
    Ok(Quantity(if negative { -value } else { value }))
}

fn parse_exponent(text: &str) -> Result<i64, InvalidQuantity> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidQuantity::NotANumber);
    }
    // A longer exponent than fits is as good as the largest one: out of range either way.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Ok(if negative { -magnitude } else { magnitude })
}

/// Reads what the service itself wrote: no limits but those of the type.
impl std::str::FromStr for Quantity {
    type Err = InvalidQuantity;
    fn from_str(text: &str) -> Result<Quantity, InvalidQuantity> {
        parse_decimal(text, i64::from(PLACES), WHOLE_DIGITS)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / ONE as u128, (magnitude % ONE as u128) as u64);
        if self.0 < 0 {
            formatter.write_str("-")?;
        }
        // A u128 divides slowly; almost every quantity fits a u64.
        match u64::try_from(whole) {
            Ok(whole) => write!(formatter, "{whole}")?,
            Err(_) => write!(formatter, "{whole}")?,
        }
        if fraction == 0 {
            return Ok(());
        }
        let digits = format!("{fraction:0width$}", width = PLACES as usize);
        write!(formatter, ".{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An exact JSON number.
impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % ONE == 0
            && let Ok(units) = i64::try_from(self.0 / ONE)
        {
            return serializer.serialize_i64(units);
        }
        // A decimal number with a point is valid JSON, so this cannot fail.
        RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// The opposite of [`Serialize`]: for what the service itself wrote.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        raw.get().parse().map_err(D::Error::custom)
    }
}

impl utoipa::PartialSchema for Quantity {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        let description = "An exact decimal number: at most 6 decimal places and a magnitude of at most 10^15 in a \
                           request, where a string of digits is taken too.";
        ObjectBuilder::new().schema_type(Type::Number).description(Some(description)).into()
    }
}

impl utoipa::ToSchema for Quantity {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, InvalidQuantity>) {
        let parsed = Quantity::parse(text).map(|quantity| quantity.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn reads_decimals_exactly() {
        check("10", Ok("10"));
        check("-0", Ok("0"));
        check("007", Ok("7"));
        check("0.1", Ok("0.1"));
        check("-12.500000", Ok("-12.5"));
        check("0.000001", Ok("0.000001"));
        check("1.0000000", Ok("1"));
        check("1e3", Ok("1000"));
        check("1.5E+2", Ok("150"));
        check("1500e-2", Ok("15"));
        check("12e-1", Ok("1.2"));
        check("0e400", Ok("0"));
        check("1000000000000000", Ok("1000000000000000"));
        check("9007199254740993", Err(InvalidQuantity::TooLarge));
        check("900719925474099.3", Ok("900719925474099.3"));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in [
            "", "-", "ten", "1.", ".5", "1e", "1e+", "+1", " 1", "1 ", "1_000", "0x10", "NaN", "1.2.3",
            "--1", "١",
        ] {
            check(text, Err(InvalidQuantity::NotANumber));
        }
        check("0.0000001", Err(InvalidQuantity::TooPrecise));
        check("1e-400", Err(InvalidQuantity::TooPrecise));
        check("1e-99999999999999999999", Err(InvalidQuantity::TooPrecise));
        check("1000000000000000.000001", Err(InvalidQuantity::TooLarge));
        check("-1e16", Err(InvalidQuantity::TooLarge));
        check("1e400", Err(InvalidQuantity::TooLarge));
        check("1e99999999999999999999", Err(InvalidQuantity::TooLarge));
        assert_eq!(Quantity::parse_positive("0"), Err(InvalidQuantity::NotPositive));
        assert_eq!(Quantity::parse_positive("-1"), Err(InvalidQuantity::NotPositive));
    }

    #[test]
    fn multiplies_exactly() {
        let product =
            Quantity::parse("0.000001").unwrap().times(Quantity::parse_coefficient("-0.000001").unwrap());
        assert_eq!(product.to_string(), "-0.000000000001");
        let largest = Quantity(SUM_MAX).times(Quantity(COEFFICIENT_MAX));
        assert!(largest.0.checked_mul(64).is_some(), "64 of the largest terms fit");
    }

    #[test]
    fn divides_to_six_places_and_rounds_halves_away_from_zero() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        let part = |part: &str, whole: &str| quantity(part).part_of(quantity(whole)).map(|q| q.to_string());
        assert_eq!(part("1", "3").as_deref(), Some("0.333333"));
        assert_eq!(part("2", "3").as_deref(), Some("0.666667"));
        assert_eq!(part("3", "3").as_deref(), Some("1"));
        assert_eq!(part("-2", "3").as_deref(), Some("-0.666667"));
        assert_eq!(part("0.000001", "2").as_deref(), Some("0.000001"), "a half");
        assert_eq!(part("0.000001", "2.000001").as_deref(), Some("0"), "less than a half");
        assert_eq!(part("1", "0"), None);
        let largest = quantity("99999999999999999999999999");
        assert_eq!(largest.part_of(largest), Some(Quantity::units(1)));
        assert_eq!(largest.saturating_add(largest), largest);
        assert_eq!(quantity("7").in_time(3_600, 7_200).map(|q| q.to_string()).as_deref(), Some("3.5"));
        assert_eq!(quantity("1").in_time(3_600, 86_401).map(|q| q.to_string()).as_deref(), Some("0.041666"));
        assert_eq!(quantity("1").in_time(1, 0), None);
        assert_eq!(quantity("10").lasts(quantity("3"), 60), Some(200));
        assert_eq!(quantity("1").lasts(quantity("0.3"), 1), Some(3), "rounded down");
        assert_eq!(quantity("1").lasts(Quantity::ZERO, 1), None);
        assert_eq!(largest.lasts(quantity("0.000001"), 60), None, "longer than can be counted");
    }

    #[test]
    fn survives_json() {
        let largest = Quantity(64 * Quantity(SUM_MAX).times(Quantity(COEFFICIENT_MAX)).0).to_string();
        for text in ["0", "-3", "0.5", "999999999999999999.999999", &largest] {
            let quantity: Quantity = text.parse().unwrap();
            let json = serde_json::to_string(&quantity).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_str::<Quantity>(&json).unwrap(), quantity);
        }
    }
}
