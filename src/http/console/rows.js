// What the rows of the hierarchy show, and the totals above them.

import { percent, rough, roundly, shown } from "./decimal.js";
import { byId, duration, make, mark, write } from "./dom.js";
import { drawSpark, makeSpark } from "./spark.js";

const LITTLE_PERCENT = 10;

/** Makes the cells of a row; `context` has the figures and the alerts of rows. */
export function cellsOf(context) {
  return (node) => {
    const cell = (name, label, ...children) => make("td", { role: "gridcell", class: name, "data-label": label }, children);
    const number = (name, label) => cell(`number ${name}`, label);
    const badge = make("span", { class: "badge", hidden: true });
    const name = make("span", { class: "label" }, node.label), kinds = make("small", {}, node.kinds);
    const consumedPart = make("div", { class: "consumed" }), leftPart = make("div", { class: "left" });
    const bar = make("div", { class: "bar", "aria-hidden": "true" }, consumedPart, leftPart);
    const share = make("span", { class: "share" });
    const spark = makeSpark(), rate = make("span");
    const cells = {
      name: make("td", { role: "gridcell", class: "name" }, make("span", { class: "names" }, name, " ", kinds), badge),
      bar: cell("bars", null, bar, share),
      left: number("left", "Left"), consumed: number("consumed", "Consumed"), allocated: number("allocated", "Allocated"),
      onHand: number("onhand", "On hand"), available: number("available", "Available"),
      trend: cell("trend", "Per hour", spark, rate), runsOut: cell("runsout", "Runs out"),
    };
    const update = (now) => {
      cells.name.parentElement?.classList.toggle("nothing", now.allocated === 0n);
      for (const measure of ["left", "consumed", "allocated"]) write(cells[measure], shown(now[measure]));
      for (const measure of ["onHand", "available"]) {
        write(cells[measure], now.kind === "place" ? shown(now[measure]) : "");
        cells[measure].classList.toggle("below", now[measure] < 0n);
      }
      const allocated = rough(now.allocated), most = rough(now.scale) || allocated || 1;
      bar.style.width = allocated > 0 ? `${Math.max((allocated / most) * 100, 1.5)}%` : "0";
      consumedPart.style.flexGrow = rough(now.consumed);
      leftPart.style.flexGrow = rough(now.left);
      const done = percent(now.consumed, now.allocated);
      write(share, done === null ? "" : `${done} %`);
      mark(share, "title", done === null ? null : `${done} % of what was allocated is consumed`);
      mark(bar, "data-state", stateOf(now));
      const figures = context.figures(now), alerts = context.alerts(now);
      drawSpark(spark, figures?.buckets ?? []);
      cells.trend.classList.toggle("unknown", figures?.rate == null);
      write(rate, figures?.rate == null ? "" : roundly(figures.rate));
      write(cells.runsOut, runsOut(now, figures));
      mark(cells.runsOut, "title", figures?.exhaustedAt);
      badge.hidden = alerts.length === 0;
      write(badge, alerts.length ? `alert: ${alerts.map(({ watch }) => watch).join(", ")}` : "");
    };
    return { elements: Object.values(cells), update };
  };
}

function stateOf({ left, allocated }) {
  if (allocated <= 0n) return null;
  if (left === 0n) return "none";
  return left * 100n <= allocated * BigInt(LITTLE_PERCENT) ? "little" : null;
}

export function runsOut({ left, allocated }, figures) {
  if (allocated > 0n && left === 0n) return "none left";
  if (!figures?.exhaustedAt) return "–";
  return `in ${duration((new Date(figures.exhaustedAt) - Date.now()) / 1000)}`;
}

/** How long a whole bar is: what the siblings at the top of its place, or all places, have at most. */
export function setScales(rows, most) {
  const scale = most ?? rows.reduce((max, { allocated }) => (allocated > max ? allocated : max), 0n);
  for (const row of rows) {
    row.scale = scale;
    setScales(row.children, scale);
    setScales(row.balances ?? [], row.kind === "group" ? scale : undefined);
  }
}

/** The totals of all that is shown. */
export function showTotals(roots, figures, soonest) {
  const sum = (measure) => (roots.some((root) => root[measure] === undefined) ? null : roots.reduce((total, root) => total + root[measure], 0n));
  for (const measure of ["onHand", "available", "left", "consumed"]) write(byId(`total-${measure}`), shown(sum(measure)));
  const allocated = sum("allocated"), done = percent(sum("consumed"), allocated);
  write(byId("of-consumed"), done === null ? "" : `${done} % of ${shown(allocated)} allocated`);
  const all = roots.map(figures).filter(Boolean);
  const rate = all.length ? all.reduce((total, one) => total + (one.rate ?? 0n), 0n) : null;
  const unmet = all.length ? all.reduce((total, one) => total + (one.unmetQuantity ?? 0n), 0n) : null;
  write(byId("total-rate"), roundly(rate));
  write(byId("of-rate"), unmet === null ? "" : `${shown(unmet)} unmet in the last hour`);
  const length = Math.max(0, ...all.map(({ buckets }) => buckets.length));
  drawSpark(byId("spark-rate"), Array.from({ length }, (_, at) => all.reduce((total, { buckets }) => total + (buckets[at] ?? 0), 0)));
  write(byId("total-runsout"), soonest ? runsOut(soonest, figures(soonest)) : "–");
  write(byId("of-runsout"), soonest ? Object.values(soonest.groups).join(" / ") : "nothing at this pace");
}
