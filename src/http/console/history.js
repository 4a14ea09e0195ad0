// The history of the product: a page of events by filters, the newest first, and older ones at request.

import { addressOf, ask, ofProduct, refresher } from "./api.js";
import { decimal, shown } from "./decimal.js";
import { byId, clock, complaint, facts, make, write } from "./dom.js";

const PAGE = 50;
const ROWS_MAX = 1_000;
/** Filters of the form, by their names in the API. */
export const FILTERS = ["operation", "reference", "actor", "from", "to"];

const inWords = (pairs) => Object.values(pairs ?? {}).filter(Boolean).join(" / ");
const groupsOf = ({ sourceGroups, groups }) => [sourceGroups, groups].filter(Boolean).map(inWords).join(" → ");

export class History {
  constructor({ onFilter }) {
    this.refresh = refresher(() => this.#first(), 1_000);
    byId("older").addEventListener("click", () => this.#older());
    byId("filters").addEventListener("submit", (event) => {
      event.preventDefault();
      onFilter(this.#given());
    });
    byId("filters").addEventListener("reset", () => onFilter({}));
  }

  /** Shows the history of a choice, by the filters that it has. */
  show(choice) {
    this.choice = choice;
    this.isPaged = false;
    const groups = choice.configuration.allocation.groups.map((name) => make("label", {}, name, make("input", { name: `group.${name}`, maxlength: 128 })));
    byId("filter-groups").replaceChildren(...groups);
    for (const [name, value] of Object.entries(choice.filters)) {
      const input = byId("filters").elements[name];
      if (input) input.value = ["from", "to"].includes(name) ? local(value) : value;
    }
    byId("history-panel").open ||= Object.keys(choice.filters).length > 0;
    this.refresh();
  }

  /** New events are at the top, unless somebody reads further down. */
  hear() {
    if (this.choice && !this.isPaged) this.refresh();
  }

  #given() {
    const given = [...new FormData(byId("filters"))].filter(([, value]) => value !== "");
    return Object.fromEntries(given.map(([name, value]) => [name, ["from", "to"].includes(name) ? new Date(value).toISOString() : value]));
  }

  /** Reads a page; null where it is not wanted any more: older ones were asked for, or another choice. */
  async #read(address, isFirst) {
    const { choice } = this;
    try {
      const { found, next } = await ask(address);
      if (choice !== this.choice || (isFirst && this.isPaged)) return null;
      this.next = next;
      byId("older").hidden = !next;
      return found;
    } catch (error) {
      if (choice === this.choice && !(isFirst && this.isPaged)) byId("history-note").replaceChildren(complaint(error));
      return null;
    }
  }

  async #first() {
    const { choice } = this;
    // Groups of the filters go before those of the caller.
    const parameters = { ...Object.fromEntries(ofProduct(choice)), ...choice.place, ...choice.filters, order: "newest", limit: PAGE };
    const events = await this.#read(addressOf(choice.environment, "events", Object.entries(parameters)), true);
    if (!events) return choice !== this.choice || this.isPaged;
    write(byId("history-note"), events.length ? "" : this.next ? "None of the latest; there may be older ones." : "Nothing happened that these filters let through.");
    // An event never changes: its row stays, and so does the focus in it.
    const drawn = new Map([...byId("history").children].map((row) => [row.dataset.event, row]));
    const rows = events.map((event) => drawn.get(event.eventId) ?? rowOf(event));
    for (const row of drawn.values()) if (!rows.includes(row)) row.remove();
    rows.forEach((row, index) => {
      if (byId("history").children[index] !== row) byId("history").insertBefore(row, byId("history").children[index] ?? null);
    });
  }

  async #older() {
    this.isPaged = true;
    const events = await this.#read(this.next, false);
    const rows = (events ?? []).map(rowOf);
    byId("history").append(...rows);
    rows[0]?.querySelector("button").focus();
    byId("older").hidden ||= byId("history").children.length >= ROWS_MAX;
  }
}

/** A time as the form's input has it. */
function local(text) {
  const date = new Date(text);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function rowOf(event) {
  const cell = (label, ...children) => make("td", { role: "cell", "data-label": label }, children);
  const quantity = event.quantity === undefined ? "" : shown(decimal(event.quantity));
  const left = event.balance ? `${shown(decimal(event.balanceBefore?.allocated))} → ${shown(decimal(event.balance.allocated))}` : "";
  const opener = make("button", { type: "button", class: "link", onclick: () => showEvent(event) }, event.operation);
  return make("tr", { role: "row", "data-event": event.eventId }, cell("Time", clock(event.receivedAt)), cell("Operation", opener), cell("Place", inWords(event.dimensions)), cell("Groups", groupsOf(event)), make("td", { role: "cell", class: "number", "data-label": "Quantity" }, quantity), make("td", { role: "cell", class: "number", "data-label": "Left" }, left), cell("Reference", event.reference ?? ""), cell("Actor", event.actor ?? ""));
}

function showEvent(event) {
  const balance = (before, after) => after && Object.keys(after).map((name) => `${name} ${shown(decimal(before?.[name]))} → ${shown(decimal(after[name]))}`).join(", ");
  byId("details").querySelector("h2").textContent = `${event.operation}, event ${event.eventId}`;
  byId("details-body").replaceChildren(
    facts([["Id", event.id], ["Received", clock(event.receivedAt)], ["Place", inWords(event.dimensions)], ["Groups", groupsOf(event)], ["Quantity", event.quantity && shown(decimal(event.quantity))], ["Balance", balance(event.balanceBefore, event.balance)], ["Source's balance", balance(event.sourceBalanceBefore, event.sourceBalance)], ["Available to allocate after", event.availableToAllocate && shown(decimal(event.availableToAllocate))], ["Reference", event.reference], ["Reason", event.reason], ["Actor", event.actor], ["Product's version", event.version]]),
    make("details", {}, make("summary", {}, "As the ledger has it"), make("pre", { tabindex: "0" }, JSON.stringify(event, null, 1))),
  );
  byId("details-actions").replaceChildren();
  byId("details").showModal();
}
