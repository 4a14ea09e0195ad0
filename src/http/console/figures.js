// What the last hour says: rates, projected exhaustion and unmet demand, by row.

import { addressOf, ask, ofProduct } from "./api.js";
import { decimal, rough } from "./decimal.js";
import { rowKey } from "./books.js";

const MINUTES = 60;
const PAGES_MAX = 5;
const PAGE = 10_000;

async function everyRecord(address) {
  const all = [];
  for (let pages = 0; address && pages < PAGES_MAX; pages++) {
    const { found, next } = await ask(address);
    all.push(...found);
    address = next;
  }
  return all;
}

/** Reads the figures of a product; answers a map from a row's key to its figures. */
export async function readFigures(choice) {
  const depth = choice.configuration.allocation.groups.length;
  const levels = Array.from({ length: depth + 1 }, (_, level) => level).join(",");
  const now = Date.now(), first = now - (now % 60_000) - (MINUTES - 1) * 60_000;
  const asked = (more) => addressOf(choice.environment, "allocation/analytics", [...ofProduct(choice), ...Object.entries(choice.place), ["levels", levels], ["limit", PAGE], ...more]);
  const [whole, minutes] = await Promise.all([
    everyRecord(asked([["from", new Date(now - MINUTES * 60_000).toISOString()], ["window", MINUTES * 60]])),
    everyRecord(asked([["from", new Date(first).toISOString()], ["bucket", "minute"]])),
  ]);
  const figures = new Map();
  for (const record of whole) {
    const key = rowKey(choice, record.dimensions, record.groups);
    figures.set(key, { rate: decimal(record.consumptionRate), exhaustedAt: record.exhaustedAt, unmetQuantity: decimal(record.unmetQuantity), unmetCount: record.unmetCount, idle: decimal(record.idle), sellThrough: record.sellThrough, lastConsumedAt: record.lastConsumedAt, buckets: Array(MINUTES).fill(0) });
  }
  for (const record of minutes) {
    const at = Math.floor((new Date(record.from) - first) / 60_000);
    const row = figures.get(rowKey(choice, record.dimensions, record.groups));
    if (row && at in row.buckets) row.buckets[at] += rough(decimal(record.consumed));
  }
  return figures;
}

/** The figures of a row. A place's are those of all balances at and below it. */
export function figuresOf(figures, row) {
  if (row.kind === "group") return figures.get(row.key) ?? null;
  const parts = [...figures].filter(([key]) => isBelow(key, row.path)).map(([, part]) => part);
  if (parts.length === 0) return null;
  const sum = (name) => parts.reduce((total, part) => total + (part[name] ?? 0n), 0n);
  const buckets = Array.from({ length: MINUTES }, (_, at) => parts.reduce((total, part) => total + part.buckets[at], 0));
  const rate = sum("rate"), hours = rough(row.left) / rough(rate);
  const exhaustedAt = rate > 0n && row.left > 0n ? new Date(Date.now() + hours * 3_600_000).toISOString() : null;
  return { rate, exhaustedAt, unmetQuantity: sum("unmetQuantity"), idle: sum("idle"), buckets };
}

function isBelow(key, path) {
  const [place, groups] = JSON.parse(key);
  return groups === null && path.every((value, index) => place[index] === value);
}
