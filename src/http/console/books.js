// The books as a tree: places by the hierarchy of dimensions and, at each, its balances by that of groups.

import { addressOf, ask, ofGroups, ofProduct } from "./api.js";
import { decimal, product, terms } from "./decimal.js";

/** Places that are shown at once. Where there are more, the deepest levels are left out. */
const PLACES_MAX = 1_000;
/** Places that are shown at once to who sees one group path only: each is asked for on its own. */
const PLACES_HELD_MAX = 60;
const BALANCE = { left: "@iv.@allocated", consumed: "@iv.@cumulative_consumed", allocated: "@iv.@cumulative_allocated" };

const keyOf = (path, groups = null) => JSON.stringify([path, groups]);
const withoutTail = (path) => path.slice(0, path.findLastIndex((value) => value !== "") + 1);
const named = (names, values) => Object.fromEntries(names.slice(0, values.length).map((name, index) => [name, values[index]]));
const valuesOf = (names, pairs) => withoutTail(names.map((name) => pairs?.[name] ?? ""));

/** The key of a place, or of a group path at one, as answers and events name them. */
export function rowKey({ configuration }, dimensions, groups) {
  const values = valuesOf(configuration.allocation.groups, groups);
  return keyOf(valuesOf(configuration.dimensions, dimensions), values.length ? values : null);
}

const requiredOf = ({ configuration }) => Number(configuration.requiredDimensions ?? 0);

/** How deep the records are read: all dimensions where that is few enough places. */
async function records(choice, depth) {
  const names = choice.configuration.dimensions;
  const filters = Object.entries(choice.place);
  const groupBy = names.slice(0, depth).filter((name) => !(name in choice.place)).join(",");
  const parameters = [...ofProduct(choice), ...filters, ["groupBy", groupBy], ["returnNegative", "true"], ["limit", PLACES_MAX]];
  const { found, next } = await ask(addressOf(choice.environment, "onhand", parameters));
  const isTooMany = next && depth > Math.max(requiredOf(choice), 1);
  return isTooMany ? records(choice, depth - 1) : { found, depth, isCut: Boolean(next) };
}

/** The values of the required dimensions that the product has stock at. */
export async function readPlaces(choice) {
  const required = requiredOf(choice);
  if (required === 0) return [];
  const everywhere = { ...choice, place: {} };
  if (!isOfGroups(choice)) return (await records(everywhere, required)).found.map(({ dimensions }) => dimensions);
  const names = choice.configuration.dimensions.slice(0, required), places = new Map();
  for (const { dimensions } of (await placesHeld(everywhere, PLACES_MAX)).found) {
    const place = Object.fromEntries(names.map((name) => [name, dimensions[name] ?? ""]));
    places.set(JSON.stringify(place), place);
  }
  return [...places.values()];
}

const isOfGroups = ({ caller }) => ofGroups(caller).length > 0;

/** Where the caller's group path holds something, or did of late. */
function placesHeld(choice, most) {
  const parameters = [...ofProduct(choice), ...Object.entries(choice.place), ["levels", ofGroups(choice.caller).length], ["limit", most]];
  return ask(addressOf(choice.environment, "allocation/analytics", parameters));
}

/** The places as who is narrowed to a group path sees them: only its balances, not the stock. */
async function readHeld(choice) {
  const { found: places, next } = await placesHeld(choice, PLACES_HELD_MAX);
  const level = ofGroups(choice.caller).length, held = new Map();
  const read = await Promise.all(places.map(async ({ dimensions }) => {
    const balances = await queried(choice, dimensions);
    held.set(rowKey(choice, dimensions), balances);
    return { dimensions, quantities: balances.find(({ groups }) => Object.keys(groups).length === level)?.quantities ?? {} };
  }));
  const roots = placesOf(read, choice);
  for (const row of everyRow(roots)) {
    row.held = held.get(row.key);
    row.measures = row.onHand = row.available = undefined;
  }
  return { roots, note: next ? `Only the first ${PLACES_HELD_MAX} places are shown: choose one to see it.` : "" };
}

/** The places of a product as a tree, whole and of one moment. */
export async function readBooks(choice) {
  if (isOfGroups(choice)) return readHeld(choice);
  const all = choice.configuration.dimensions.length;
  const { found, depth, isCut } = await records(choice, all);
  const note = isCut ? `Only the first ${PLACES_MAX.toLocaleString("en")} places are shown.` : depth < all ? "There are many places: the deepest levels are left out. Choose a place to see them." : "";
  return { roots: placesOf(found, choice), note };
}

/** The totals of every path: the sums of what was posted at and below it. */
function totalsOf(found, choice) {
  const totals = new Map();
  for (const record of found) {
    const path = valuesOf(choice.configuration.dimensions, record.dimensions);
    for (let length = Math.min(requiredOf(choice), path.length); length <= path.length; length++) {
      const prefix = path.slice(0, length), key = keyOf(prefix);
      if (!totals.has(key)) totals.set(key, { path: prefix, measures: new Map(), hasOwn: false });
      const total = totals.get(key);
      total.hasOwn ||= length === path.length;
      for (const [source, measures] of Object.entries(record.quantities)) {
        for (const [measure, text] of Object.entries(measures)) {
          const name = `${source}.${measure}`;
          total.measures.set(name, (total.measures.get(name) ?? 0n) + decimal(text));
        }
      }
    }
  }
  return totals;
}

export function placesOf(found, choice) {
  const { dimensions, allocation } = choice.configuration;
  const formula = terms(allocation.availableToAllocate);
  const totals = totalsOf(found, choice), nodes = new Map(), roots = [];
  for (const [key, total] of totals) {
    const parentTotal = totals.get(keyOf(total.path.slice(0, -1)));
    // What may be allocated at a place is the least along the chain above it.
    const own = valueOf(formula, total.measures);
    total.available = parentTotal && parentTotal !== total && parentTotal.available < own ? parentTotal.available : own;
    // A helmet has no colour: what has a size below that is shown right below the place.
    if (total.path.at(-1) === "" && total.path.length > requiredOf(choice)) continue;
    const parent = parentOf(nodes, total.path);
    const shownFrom = parent?.path.length ?? 0;
    const label = total.path.slice(shownFrom).filter(Boolean).join(" / ") || (total.path.length ? "(none)" : "Everywhere");
    const node = { kind: "place", key, path: total.path, label, parent, children: [], balances: [], dimensions: named(dimensions, total.path), groups: null };
    node.kinds = dimensions.slice(shownFrom, total.path.length).filter((_, index) => total.path[shownFrom + index]).join(" / ");
    node.measures = total.measures;
    node.available = total.available;
    node.onHand = valueOf(formula.filter(({ measure }) => !measure.startsWith("@iv.")), total.measures);
    for (const [name, measure] of Object.entries(BALANCE)) node[name] = total.measures.get(measure) ?? 0n;
    node.mayHoldBalances = total.hasOwn && node.allocated > 0n;
    nodes.set(key, node);
    (parent?.children ?? roots).push(node);
  }
  return roots;
}

function valueOf(formula, measures) {
  const lower = new Map([...measures].map(([name, value]) => [name.toLowerCase(), value]));
  return formula.reduce((sum, { measure, coefficient }) => sum + product(lower.get(measure) ?? 0n, coefficient), 0n);
}

function parentOf(nodes, path) {
  for (let length = path.length - 1; length >= 0; length--) {
    const parent = nodes.get(keyOf(path.slice(0, length)));
    if (parent) return parent;
  }
  return null;
}

/** The balances at exactly these dimensions, each with all below it. */
async function queried({ environment, organization, product: productId, caller }, dimensions) {
  const asked = { organizationId: organization, productId, dimensions, groups: caller.groups, rollup: true };
  return (await ask(addressOf(environment, "allocation/query"), asked)).found;
}

/** Reads the balances at exactly a place, where they were not read with it, as rows of the tree. */
export async function readBalances(choice, place) {
  const names = choice.configuration.allocation.groups, nodes = new Map(), tops = [];
  for (const { groups, quantities } of place.held ?? (await queried(choice, place.dimensions))) {
    const path = valuesOf(names, groups);
    const parent = nodes.get(keyOf(path.slice(0, -1)));
    const node = { kind: "group", key: keyOf(place.path, path), path, label: path.at(-1), kinds: names[path.length - 1], parent: parent ?? place, children: [], dimensions: place.dimensions, groups: named(names, path) };
    for (const [name, measure] of Object.entries(BALANCE)) node[name] = decimal(quantities["@iv"][measure.slice(4)]);
    node.own = node.left;
    if (parent) parent.own -= node.left;
    nodes.set(keyOf(path), node);
    (parent?.children ?? tops).push(node);
  }
  return tops;
}

/** Every row at and below some, in the order of the tree. */
export function* everyRow(rows) {
  for (const row of rows) {
    yield row;
    yield* everyRow([...(row.balances ?? []), ...row.children]);
  }
}

/** A row in words: "1 / 11 / red · Web / London". */
export const titleOf = (row) =>
  [Object.values(row.dimensions).filter(Boolean).join(" / ") || "Everywhere", row.groups && Object.values(row.groups).join(" / ")].filter(Boolean).join(" · ");
