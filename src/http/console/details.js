// All that is known of a row, and what can be done at it.

import { decimal, roundly, shown } from "./decimal.js";
import { titleOf } from "./books.js";
import { byId, clock, facts, make } from "./dom.js";
import { runsOut } from "./rows.js";

/** Shows a row; `onCommand` is told which operation was chosen for it, where there is one who may. */
export function showDetails(row, figures, { onCommand, onHistory, onPropose }) {
  const dialog = byId("details");
  dialog.querySelector("h2").textContent = titleOf(row);
  const figure = (name) => figures?.[name] != null && shown(figures[name]);
  const known = [
    ["Allocated", shown(row.allocated)], ["Consumed", shown(row.consumed)], ["Left", shown(row.left)],
    ["Left of its own", row.own !== undefined && row.children.length > 0 ? shown(row.own) : null],
    ["On hand", row.onHand !== undefined ? shown(row.onHand) : null],
    ["Available to allocate", row.available !== undefined ? shown(row.available) : null],
    ["Consumed per hour", figures?.rate != null && roundly(figures.rate)], ["Runs out", figures && runsOut(row, figures)],
    ["Sell-through", figures?.sellThrough && `${roundly(decimal(figures.sellThrough) * 100n)} %`],
    ["Unmet in the last hour", figure("unmetQuantity")], ["Idle", figure("idle")],
    ["Last consumed", figures?.lastConsumedAt && clock(figures.lastConsumedAt)],
  ].filter(([, value]) => value);
  const measures = row.measures && make("details", {}, make("summary", {}, "All measures"), facts([...row.measures].map(([name, value]) => [name, shown(value)])));
  byId("details-body").replaceChildren(facts(known), ...(measures ? [measures] : []));
  const button = (text, act) => make("button", { type: "button", onclick: () => (dialog.close(), act()) }, text);
  const { dimensions, groups } = row;
  const command = (text, operation, given) => button(text, () => onCommand({ operation, dimensions, ...given }));
  const actions = groups
    ? [command("Allocate…", "allocate", { groups }), command("Reallocate to it…", "reallocate", { groups }), command("Reallocate from it…", "reallocate", { sourceGroups: groups }), command("Unallocate…", "unallocate", { groups })]
    : [command("Allocate…", "allocate", {}), command("Reallocate…", "reallocate", {})];
  const proposals = onPropose && (groups || row.mayHoldBalances) ? [button("Proposals…", () => onPropose(row))] : [];
  byId("details-actions").replaceChildren(...(onCommand ? actions : []), ...proposals, button("Its history", () => onHistory(row)));
  dialog.showModal();
}
