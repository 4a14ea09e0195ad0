// The open alerts: those of the product that is shown, and the latest of others; and what is said when
// one comes or goes.

import { addressOf, ask, ofProduct, ofScope } from "./api.js";
import { rowKey } from "./books.js";
import { byId, clock, make, say, write } from "./dom.js";

/** The latest of all products are read; where there are more, those of the one that is shown as well. */
const LATEST_MAX = 200;
const OWN_MAX = 1_000;
const LISTED_MAX = 100;

/** Reads the list of the product and that of others, each with how far back it goes: of what is older, it says nothing. */
export async function readAlerts(choice) {
  const read = async (of, limit) => {
    const { found, next } = await ask(addressOf(choice.environment, "alerts", [["state", "open"], ["limit", limit], ...of]));
    return { since: next ? BigInt(found.at(-1).sequence) : 0n, alerts: found };
  };
  const latest = await read(ofScope(choice), LATEST_MAX);
  const own = latest.since ? await read(ofProduct(choice), OWN_MAX) : latest;
  const isOwn = (alert) => isOfProduct(choice, alert);
  return [{ ...own, alerts: own.alerts.filter(isOwn) }, { ...latest, alerts: latest.alerts.filter((alert) => !isOwn(alert)) }];
}

const placeOf = ({ dimensions, groups }) =>
  [Object.values(dimensions ?? {}).filter(Boolean).join(" / "), Object.values(groups ?? {}).join(" / ")].filter(Boolean).join(" · ");
const inWords = (alert) => `${alert.watch}: ${alert.productId}, ${placeOf(alert)}`;

const isOfProduct = (choice, alert) => alert.organizationId === choice.organization && alert.productId === choice.product;

export const alertKey = (choice, alert) => rowKey(choice, alert.dimensions, alert.groups);

/** Alerts of one list that were not open at the time of the other, as far back as that goes. */
function lacking({ since, alerts }, other) {
  const known = new Set(alerts.map(({ alertId }) => alertId));
  return other.alerts.filter(({ alertId, sequence }) => !known.has(alertId) && BigInt(sequence) >= since);
}

/** Says what came and went since the lists were read before; nothing of those of the first time. */
export function sayChanges(before, now) {
  if (!before) return;
  const opened = now.flatMap((list, index) => lacking(before[index], list));
  const closed = before.flatMap((list, index) => lacking(now[index], list));
  const said = [...opened.map((alert) => `Alert ${inWords(alert)}. ${alert.detail ?? ""}`), ...closed.map((alert) => `Cleared: ${inWords(alert)}.`)];
  if (said.length) say(said.slice(0, 3).join(" ") + (said.length > 3 ? ` And ${said.length - 3} more.` : ""));
}

/**
 * Lists alerts, those of the product that is shown first; these can be gone to, and answered by a
 * reallocation. One that is listed already stays as it is, so that nothing moves away under a hand.
 */
export function showAlerts(choice, lists, { onShow, onReallocate }) {
  const all = lists.flatMap(({ alerts }) => alerts), alerts = all.slice(0, LISTED_MAX);
  const isCut = lists.some(({ since }) => since > 0n);
  byId("no-alerts").hidden = alerts.length > 0;
  byId("more-alerts").hidden = !isCut && all.length === alerts.length;
  write(byId("more-alerts"), isCut ? "More are open than are listed here." : `${all.length - alerts.length} more are open.`);
  const nameOf = (alert) => JSON.stringify([alert, choice.organization, choice.product]);
  const listed = new Map([...byId("alerts").children].map((item) => [item.dataset.alert, item]));
  const items = alerts.map((alert) => listed.get(nameOf(alert)) ?? itemOf(alert));
  if (items.length !== listed.size || items.some((item, index) => item !== byId("alerts").children[index])) {
    byId("alerts").replaceChildren(...items);
  }

  function itemOf(alert) {
    const isHere = isOfProduct(choice, alert), hasGroups = Object.keys(alert.groups ?? {}).length > 0;
    const shows = make("button", { type: "button", class: "link", onclick: () => onShow(alert, isHere) }, isHere ? placeOf(alert) || "Everywhere" : `${alert.productId}, ${placeOf(alert)}`);
    const moves = make("button", { type: "button", onclick: () => onReallocate(alert) }, "Reallocate to it…");
    return make("li", { class: "alert", "data-alert": nameOf(alert) }, make("strong", {}, alert.watch), shows, make("span", { class: "detail" }, alert.detail ?? ""), make("span", { class: "since" }, "since ", clock(alert.openedAt)), onReallocate && isHere && hasGroups ? moves : null);
  }
}
