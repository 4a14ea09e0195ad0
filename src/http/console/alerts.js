// The open alerts of the environment, and what is said when one comes or goes.

import { addressOf, ask } from "./api.js";
import { rowKey } from "./books.js";
import { byId, clock, make, say } from "./dom.js";

const SHOWN_MAX = 100;

export async function readAlerts(choice) {
  const { found } = await ask(addressOf(choice.environment, "alerts", [["state", "open"], ["limit", SHOWN_MAX]]));
  return found;
}

const placeOf = ({ dimensions, groups }) =>
  [Object.values(dimensions ?? {}).filter(Boolean).join(" / "), Object.values(groups ?? {}).join(" / ")].filter(Boolean).join(" · ");
const inWords = (alert) => `${alert.watch}: ${alert.productId}, ${placeOf(alert)}`;

export const isOfProduct = (choice, alert) => alert.organizationId === choice.organization && alert.productId === choice.product;

export const alertKey = (choice, alert) => rowKey(choice, alert.dimensions, alert.groups);

/** Says what came and went since the alerts were read before; nothing of those of the first time. */
export function sayChanges(before, now) {
  if (!before) return;
  const ids = (alerts) => new Set(alerts.map(({ alertId }) => alertId));
  const old = ids(before), current = ids(now);
  const opened = now.filter(({ alertId }) => !old.has(alertId)), closed = before.filter(({ alertId }) => !current.has(alertId));
  const said = [...opened.map((alert) => `Alert ${inWords(alert)}. ${alert.detail ?? ""}`), ...closed.map((alert) => `Cleared: ${inWords(alert)}.`)];
  if (said.length) say(said.slice(0, 3).join(" ") + (said.length > 3 ? ` And ${said.length - 3} more.` : ""));
}

/**
 * Lists alerts; those of the product that is shown can be gone to, and answered by a reallocation.
 * One that is listed already stays as it is, so that nothing moves away under a hand.
 */
export function showAlerts(choice, alerts, { onShow, onReallocate }) {
  byId("no-alerts").hidden = alerts.length > 0;
  const nameOf = (alert) => JSON.stringify([alert, choice.organization, choice.product]);
  const listed = new Map([...byId("alerts").children].map((item) => [item.dataset.alert, item]));
  const items = alerts.map((alert) => listed.get(nameOf(alert)) ?? itemOf(alert));
  if (items.length !== listed.size || items.some((item, index) => item !== byId("alerts").children[index])) {
    byId("alerts").replaceChildren(...items);
  }

  function itemOf(alert) {
    const isHere = isOfProduct(choice, alert);
    const shows = make("button", { type: "button", class: "link", onclick: () => onShow(alert) }, isHere ? placeOf(alert) || "Everywhere" : `${alert.productId}, ${placeOf(alert)}`);
    const moves = make("button", { type: "button", onclick: () => onReallocate(alert) }, "Reallocate to it…");
    return make("li", { class: "alert", "data-alert": nameOf(alert) }, make("strong", {}, alert.watch), shows, make("span", { class: "detail" }, alert.detail ?? ""), make("span", { class: "since" }, "since ", clock(alert.openedAt)), isHere && alert.groups && Object.keys(alert.groups).length ? moves : null);
  }
}
