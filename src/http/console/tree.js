// A treegrid as the ARIA practices describe it: one row is in the tab order, arrows move and open.
// What a row's cells show is not its matter.

import { make, mark } from "./dom.js";

/** Rows that are drawn at once; more are read by nobody. */
const ROWS_MAX = 2_000;

export class Tree {
  /**
   * @param body the rowgroup
   * @param cells makes the cells of a row, the first of which gets the toggle: `{ elements, update(node) }`
   * @param onToggle told of a row that was opened or closed
   * @param onEnter told of a row that was chosen
   */
  constructor(body, { cells, onToggle, onEnter }) {
    Object.assign(this, { body, cells, onToggle, onEnter, open: new Map(), rows: new Map(), shown: [], current: null });
    body.addEventListener("keydown", (event) => this.#onKey(event));
    body.addEventListener("click", (event) => this.#onClick(event));
    body.addEventListener("focusin", (event) => this.#settle(event.target.closest("tr")?.dataset.key));
  }

  isOpen(node) {
    return this.open.get(node.key) ?? node.opensAtFirst ?? false;
  }

  /** Shows these, in place: rows that stay keep their elements, and so the focus. */
  show(roots) {
    this.roots = roots;
    this.shown = [];
    this.#collect(roots, 1);
    this.isCut = this.shown.length > ROWS_MAX;
    this.shown.length = Math.min(this.shown.length, ROWS_MAX);
    const kept = new Set(this.shown.map(({ node }) => node.key));
    for (const [key, row] of this.rows) {
      if (kept.has(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    let before = null;
    for (const item of this.shown) {
      const { element } = this.#draw(item);
      const place = before ? before.nextSibling : this.body.firstChild;
      if (place !== element) this.body.insertBefore(element, place);
      before = element;
    }
    this.#settle(kept.has(this.current) ? this.current : this.shown[0]?.node.key);
  }

  #collect(nodes, level) {
    nodes.forEach((node, index) => {
      const below = [...(node.balances ?? []), ...node.children];
      const canOpen = below.length > 0 || Boolean(node.mayHoldBalances);
      this.shown.push({ node, level, index: index + 1, count: nodes.length, canOpen });
      if (canOpen && this.isOpen(node)) this.#collect(below, level + 1);
    });
  }

  #draw({ node, level, index, count, canOpen }) {
    let row = this.rows.get(node.key);
    if (!row) {
      const { elements, update } = this.cells(node);
      const toggle = make("span", { class: "toggle", "aria-hidden": "true" });
      elements[0].prepend(toggle);
      const element = make("tr", { role: "row", tabindex: "-1", class: node.kind, "data-key": node.key }, elements);
      row = { element, update };
      this.rows.set(node.key, row);
    }
    const { element } = row;
    mark(element, "aria-level", level);
    mark(element, "aria-posinset", index);
    mark(element, "aria-setsize", count);
    mark(element, "aria-expanded", canOpen ? this.isOpen(node) : null);
    element.style.setProperty("--level", level - 1);
    row.node = node;
    row.update(node);
    return row;
  }

  #settle(key) {
    if (key === undefined) return;
    const before = this.rows.get(this.current)?.element;
    if (before) mark(before, "tabindex", "-1");
    this.current = key;
    const now = this.rows.get(key)?.element;
    if (now) mark(now, "tabindex", "0");
  }

  /** Opens what is above a row, and moves the focus to it. */
  reveal(node) {
    for (let above = node.parent; above; above = above.parent) this.open.set(above.key, true);
    this.show(this.roots);
    this.#focus(node.key);
  }

  #focus(key) {
    const element = this.rows.get(key)?.element;
    this.#settle(key);
    element?.focus();
    element?.scrollIntoView({ block: "nearest" });
  }

  toggle(node, isOpen = !this.isOpen(node)) {
    this.open.set(node.key, isOpen);
    this.show(this.roots);
    this.onToggle(node, isOpen);
  }

  #onClick({ target }) {
    const row = this.rows.get(target.closest("tr")?.dataset.key);
    if (!row) return;
    this.#focus(row.node.key);
    if (target.closest(".toggle") && row.element.hasAttribute("aria-expanded")) this.toggle(row.node);
    else this.onEnter(row.node);
  }

  #onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = this.shown.findIndex(({ node }) => node.key === this.current);
    const item = this.shown[at];
    if (!item) return;
    const { node, canOpen } = item, isOpen = canOpen && this.isOpen(node);
    const to = (index) => this.#focus(this.shown[Math.max(0, Math.min(index, this.shown.length - 1))].node.key);
    const actions = {
      ArrowDown: () => to(at + 1),
      ArrowUp: () => to(at - 1),
      Home: () => to(0),
      End: () => to(this.shown.length - 1),
      PageDown: () => to(at + 10),
      PageUp: () => to(at - 10),
      ArrowRight: () => (canOpen && !isOpen ? this.toggle(node) : isOpen && to(at + 1)),
      ArrowLeft: () => (isOpen ? this.toggle(node) : node.parent && this.#focus(node.parent.key)),
      Enter: () => this.onEnter(node),
      " ": () => this.onEnter(node),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
