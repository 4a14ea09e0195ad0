// Exact decimals: a quantity is a text on the wire, and a whole number of 10^-12 here, because a
// formula's value may have twelve places. Floats are made of them only for what is drawn.

const PLACES = 12;
const ONE = 10n ** BigInt(PLACES);

/** Reads digits as the service writes them; null where it wrote none. */
export function decimal(text) {
  const parts = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text ?? "");
  if (!parts) return null;
  const [, sign, whole, fraction = ""] = parts;
  const size = BigInt(whole) * ONE + BigInt(fraction.slice(0, PLACES).padEnd(PLACES, "0"));
  return sign ? -size : size;
}

/** As a person reads it: 1,234.5 */
export function shown(value) {
  if (value === null || value === undefined) return "–";
  const size = value < 0n ? -value : value;
  const whole = String(size / ONE).replace(/\B(?=(\d{3})+$)/g, ",");
  const fraction = String(size % ONE).padStart(PLACES, "0").replace(/0+$/, "");
  return (value < 0n ? "−" : "") + whole + (fraction && "." + fraction);
}

/** Of what is no quantity, a tenth is exact enough. */
export function roundly(value) {
  if (value === null || value === undefined) return "–";
  const tenth = ONE / 10n;
  return shown(((value + tenth / 2n) / tenth) * tenth);
}

/** As a float, to draw with. */
export const rough = (value) => Number(value ?? 0n) / Number(ONE);

/** a of b in whole per cent, null when b is nothing. */
export const percent = (a, b) => (b > 0n ? Math.round(Number((a * 1000n) / b) / 10) : null);

export const product = (a, b) => (a * b) / ONE;

/**
 * Reads a formula, `fno.onhand + 0.5 * pos.inbound - @iv.@allocated`, as terms with coefficients.
 * Names match in any letter case.
 */
export function terms(formula) {
  const found = formula.matchAll(/([+-]?)\s*(?:([\d.]+)\s*\*\s*)?([^\s+*-]+\.[^\s+*-]+)/g);
  return [...found].map(([, sign, coefficient = "1", measure]) => ({
    measure: measure.toLowerCase(),
    coefficient: decimal((sign === "-" ? "-" : "") + coefficient),
  }));
}
