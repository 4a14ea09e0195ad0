//! Measures, and linear formulas over them.

use std::fmt;

use super::name::Name;
use super::quantity::Quantity;

/// A measure of a data source: `pos.inbound`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeasureName {
    /// The data source.
    pub source: Name,
    /// The measure in it.
    pub measure: Name,
}

impl MeasureName {
    /// Reads `source.measure`.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<MeasureName, String> {
        let (source, measure) =
            text.split_once('.').ok_or_else(|| format!("{text:?} is not of the form dataSource.measure"))?;
        let name = |part: &str| Name::parse(part).map_err(|error| format!("{part:?} {error}"));
        Ok(MeasureName { source: name(source)?, measure: name(measure)? })
    }
}

impl fmt::Display for MeasureName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.source, self.measure)
    }
}

/// Where a measure's quantity is kept: its place in a node's quantities. Given once per
/// environment and measure, for ever, so that what is stored never has to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(crate) usize);

impl Slot {
    /// The place, counted from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Most terms of a formula; with the largest sums and coefficients its value still fits.
const TERMS_MAX: usize = 64;

/// A sum of measures with coefficients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    terms: Vec<(Slot, Quantity)>,
}

impl Formula {
    /// Reads `fno.onordered + pos.inbound - 0.5 * pos.inspection - @iv.@allocated`.
    ///
    /// `slot` finds a measure's place, or says why it cannot be used in a formula.
    ///
    /// # Errors
    /// Says what is wrong with the text, in words.
    pub fn parse(text: &str, slot: impl Fn(&MeasureName) -> Result<Slot, String>) -> Result<Formula, String> {
        let mut terms: Vec<(Slot, Quantity)> = Vec::new();
        let mut rest = text.trim_start();
        if rest.is_empty() {
            return Err("is empty; it needs one measure at least".to_owned());
        }
        while !rest.is_empty() {
            let (negative, term) = match rest.as_bytes()[0] {
                b'+' => (false, rest[1..].trim_start()),
                b'-' => (true, rest[1..].trim_start()),
                _ if terms.is_empty() => (false, rest),
                _ => return Err(format!("needs + or - before {rest:?}")),
            };
            let end = term.find(['+', '-']).unwrap_or(term.len());
            let (coefficient, measure) = parse_term(term[..end].trim())?;
            let slot = slot(&measure)?;
            if terms.iter().any(|&(other, _)| other == slot) {
                return Err(format!("has {measure} twice"));
            }
            if terms.len() == TERMS_MAX {
                return Err(format!("has more than {TERMS_MAX} terms"));
            }
            terms.push((slot, if negative { -coefficient } else { coefficient }));
            rest = &term[end..];
        }
        Ok(Formula { terms })
    }

    /// The formula's value, exactly.
    pub fn evaluate(&self, quantity: impl Fn(Slot) -> Quantity) -> Quantity {
        self.terms.iter().map(|&(slot, coefficient)| quantity(slot).times(coefficient)).sum()
    }

    /// By how much the value changes when measures move.
    pub fn change(&self, movements: &[(Slot, Quantity)]) -> Quantity {
        movements.iter().map(|&(slot, delta)| delta.times(self.coefficient(slot))).sum()
    }

    /// A measure's coefficient, 0 where the formula does not have it.
    pub fn coefficient(&self, slot: Slot) -> Quantity {
        self.terms
            .iter()
            .find(|&&(own, _)| own == slot)
            .map_or(Quantity::ZERO, |&(_, coefficient)| coefficient)
    }

    /// The measures with their coefficients.
    pub fn terms(&self) -> &[(Slot, Quantity)] {
        &self.terms
    }
}

fn parse_term(text: &str) -> Result<(Quantity, MeasureName), String> {
    if text.is_empty() {
        return Err("ends, or goes on with an operator, where a measure is needed".to_owned());
    }
    let Some((coefficient, measure)) = text.split_once('*') else {
        return Ok((Quantity::units(1), MeasureName::parse(text)?));
    };
    let (coefficient, measure) = (coefficient.trim(), measure.trim());
    let parsed = Quantity::parse_coefficient(coefficient)
        .map_err(|error| format!("has a coefficient {coefficient:?} that {error}"))?;
    Ok((parsed, MeasureName::parse(measure)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["fno.onordered", "pos.inbound", "pos.inspection", "@iv.@allocated"];

    fn parse(text: &str) -> Result<Formula, String> {
        Formula::parse(text, |name| {
            let index = KNOWN.iter().position(|known| MeasureName::parse(known).unwrap() == *name);
            index.map(Slot).ok_or_else(|| format!("{name} is unknown"))
        })
    }

    fn check(text: &str, expected: [&str; 4]) {
        let formula = parse(text).unwrap();
        let coefficients: Vec<String> =
            (0..4).map(|slot| formula.coefficient(Slot(slot)).to_string()).collect();
        assert_eq!(coefficients, expected, "{text}");
    }

    #[test]
    fn reads_sums_with_coefficients() {
        check(
            "fno.onordered + pos.inbound - 0.5 * pos.inspection - @iv.@allocated",
            ["1", "1", "-0.5", "-1"],
        );
        check("-FNO.OnOrdered", ["-1", "0", "0", "0"]);
        check(" 2*pos.inbound-pos.inspection ", ["0", "2", "-1", "0"]);
        check("0.000001 * pos.inbound", ["0", "0.000001", "0", "0"]);
    }

    #[test]
    fn refuses_what_is_not_a_linear_formula() {
        for text in [
            "",
            " ",
            "+",
            "pos.inbound +",
            "pos.inbound + + fno.onordered",
            "pos.inbound fno.onordered",
            "pos",
            "pos.inbound * 2",
            "2 * 3 * pos.inbound",
            "pos.inbound / 2",
            "(pos.inbound)",
            "pos.unknown",
            "2",
            "x * pos.inbound",
            "pos.inbound + POS.Inbound",
            "0.0000001 * pos.inbound",
            "10000000 * pos.inbound",
            "pos.in.bound",
            "pos..inbound",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn evaluates_exactly() {
        let formula = parse("fno.onordered + pos.inbound - 0.5 * pos.inspection - @iv.@allocated").unwrap();
        let quantities = ["0.000001", "10", "3", "8"].map(|text| Quantity::parse(text).unwrap());
        assert_eq!(formula.evaluate(|slot| quantities[slot.0]).to_string(), "0.500001");
        assert_eq!(
            formula.change(&[(Slot(2), Quantity::units(2)), (Slot(3), Quantity::units(-1))]),
            Quantity::ZERO
        );
    }
}
