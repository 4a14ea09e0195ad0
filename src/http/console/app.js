// The console. This module puts its parts together:
//
//   choice.js   what is looked at, kept in the address
//   books.js    the books as a tree · figures.js what the last hour says of them
//   tree.js     the treegrid · rows.js what its rows show · spark.js the sparklines
//   feed.js     what makes it live · alerts.js the alerts
//   history.js  the events · details.js all of a row · command.js the dialogs · proposals.js
//               what the service proposes
//   api.js      the API · decimal.js exact decimals · dom.js elements

import { addressOf, ask, ofGroups, refresher } from "./api.js";
import { alertKey, readAlerts, sayChanges, showAlerts } from "./alerts.js";
import { everyRow, readBalances, readBooks } from "./books.js";
import { findProducts, listProducts, offer, offerProducts, ofPartition, readAddress, writeAddress } from "./choice.js";
import { openCommand } from "./command.js";
import { showDetails } from "./details.js";
import { byId, complaint, write } from "./dom.js";
import { follow } from "./feed.js";
import { figuresOf, readFigures } from "./figures.js";
import { History } from "./history.js";
import { openProposals } from "./proposals.js";
import { cellsOf, setScales, showTotals } from "./rows.js";
import { Tree } from "./tree.js";

const BOOKS_PAUSE_MS = 400;
const FIGURES_PAUSE_MS = 3_000;
const ALERTS_PAUSE_MS = 1_000;
/** Projections and alerts also change when nothing happens. */
const TIMES_MS = 15_000;
/** They follow what happened by about a second. */
const LAG_MS = 2_000;
/** Places that are opened at first, where something is allocated and there are no more. */
const OPEN_PLACES_MAX = 60;

/** What is shown: a choice, and all that was read for it. It is made anew for every choice. */
let view = null;

const history = new History({ onFilter: (filters) => go({ ...view.choice, filters }) });
const figures = (row) => figuresOf(view.figures, row);
const alerts = (row) => view.alertsByRow.get(row.key) ?? [];
const tree = new Tree(byId("rows"), {
  cells: cellsOf({ figures, alerts }),
  onToggle: (row, isOpen) => isOpen && row.mayHoldBalances && refreshBooks(),
  onEnter: (row) => showDetails(row, figures(row), { onCommand: mayPlan() && command, onHistory: showHistory, onPropose: maySeeStock() && ((row) => propose([row])) }),
});

const mayPlan = () => ["planner", "admin"].includes(view.choice.caller.role);
/** What is proposed is a matter of all groups. */
const maySeeStock = () => Object.keys(view.choice.caller.groups).length === 0;

/** Does a part of the work for the view that it was begun for, and tells when it cannot. */
const inView = (part, task) => async () => {
  const mine = view;
  if (!mine?.choice.caller || !mine.choice.product || document.hidden) return;
  try {
    await task(mine);
    delete mine.troubles[part];
  } catch (error) {
    mine.troubles[part] = error;
  }
  if (mine === view) showTrouble();
  return !mine.troubles[part];
};

const refreshBooks = refresher(inView("books", async (mine) => {
  const { roots, note } = await readBooks(mine.choice);
  const places = [...everyRow(roots)];
  if (!mine.roots) openAtFirst(places);
  const isShown = (row) => !row || (tree.isOpen(row) && isShown(row.parent));
  const known = new Map([...everyRow(mine.roots ?? [])].map((row) => [row.key, row]));
  await Promise.all(places.map(async (place) => {
    place.opensAtFirst = known.get(place.key)?.opensAtFirst ?? place.opensAtFirst;
    if (place.mayHoldBalances && isShown(place)) {
      place.balances = await readBalances(mine.choice, place);
      place.mayHoldBalances = place.balances.length > 0;
    } else {
      place.balances = known.get(place.key)?.balances ?? [];
    }
  }));
  if (mine !== view) return;
  mine.roots = roots;
  setScales(roots);
  for (const row of everyRow(roots)) if (row.kind === "group") row.opensAtFirst = true;
  draw();
  write(byId("tree-note"), roots.length ? note : "Nothing is kept of this product here.");
}), BOOKS_PAUSE_MS);

const refreshFigures = refresher(inView("figures", async (mine) => {
  const read = await readFigures(mine.choice);
  mine.figures = read;
  if (mine === view) draw();
}), FIGURES_PAUSE_MS);

const refreshAlerts = refresher(inView("alerts", async (mine) => {
  const read = await readAlerts(mine.choice);
  if (mine !== view) return;
  sayChanges(mine.alerts, read);
  mine.alerts = read;
  mine.alertsByRow = Map.groupBy(read[0].alerts, (alert) => alertKey(mine.choice, alert));
  const reallocate = ({ dimensions, groups }) => command({ operation: "reallocate", dimensions, groups });
  showAlerts(mine.choice, read, { onShow: showAlert, onReallocate: mayPlan() && reallocate });
  draw();
}), ALERTS_PAUSE_MS);

function openAtFirst(places) {
  for (const place of places) place.opensAtFirst = place.allocated > 0n && places.length <= OPEN_PLACES_MAX;
}

function draw() {
  if (!view.roots) return;
  tree.show(view.roots);
  const ending = [...everyRow(view.roots)].filter((row) => row.kind === "group" && row.children.length === 0 && figures(row)?.exhaustedAt);
  const [soonest] = ending.sort((a, b) => new Date(figures(a).exhaustedAt) - new Date(figures(b).exhaustedAt));
  showTotals(view.roots, figures, soonest);
}

function showTrouble() {
  const [first] = Object.values(view?.troubles ?? {});
  byId("trouble").replaceChildren(...(first ? [complaint(first)] : []));
}

function showState(state) {
  const states = { live: "Live", polling: "Not live: asked every 5 s", off: "Nothing is shown" };
  write(byId("live"), states[state]);
  byId("live").dataset.state = state;
}

function command(given, onDone = () => {}) {
  const { groups } = view.choice.caller;
  const known = {};
  for (const row of everyRow(view.roots ?? [])) {
    for (const [name, value] of Object.entries(row.groups ?? {})) (known[name] ??= new Set()).add(value);
  }
  const within = { ...given, groups: { ...groups, ...given.groups }, sourceGroups: { ...groups, ...given.sourceGroups } };
  openCommand(view.choice, within, known, () => (refreshAll(), onDone()));
}

function propose(places) {
  const again = openProposals(view.choice, places, mayPlan() && ((given) => command(given, again)));
}

function showHistory(row) {
  const groups = Object.entries(row.groups ?? {}).map(([name, value]) => [`group.${name}`, value]);
  byId("history-panel").open = true;
  go({ ...view.choice, filters: Object.fromEntries(groups) });
  byId("history-panel").scrollIntoView();
}

function showAlert(alert, isHere) {
  if (!isHere) return go({ ...view.choice, organization: alert.organizationId, product: alert.productId, place: {}, filters: {} });
  const key = alertKey(view.choice, alert), row = [...everyRow(view.roots ?? [])].find((row) => row.key === key);
  if (row) tree.reveal(row);
}

function refreshAll() {
  refreshBooks();
  refreshFigures();
  refreshAlerts();
  history.hear();
}

/** Goes to a choice, as a step that can be gone back. */
function go(choice) {
  writeAddress(choice, true);
  return show(choice);
}

async function show(wanted) {
  view?.stop();
  const sameProduct = view && ["environment", "organization", "product"].every((name) => view.choice[name] === wanted[name]) && JSON.stringify(view.choice.place) === JSON.stringify(wanted.place);
  const mine = { choice: wanted, figures: new Map(), alertsByRow: new Map(), troubles: {}, stop: () => {}, ...(sameProduct && { roots: view.roots, figures: view.figures, alerts: view.alerts, alertsByRow: view.alertsByRow }) };
  view = mine;
  showState("off");
  if (!sameProduct) tree.show([]);
  byId("start").hidden = Boolean(wanted.environment);
  byId("shown").hidden = true;
  if (!wanted.environment) return;
  try {
    const { found: configuration } = await ask(addressOf(wanted.environment, "configuration"));
    const { found: caller } = await ask(addressOf(wanted.environment, "caller"));
    const products = await findProducts(wanted.environment, caller, "");
    if (mine !== view) return;
    listProducts(products);
    // Without a product, the first that there is.
    mine.choice = { ...wanted, ...(wanted.product ? {} : ofPartition(products[0] ?? "")), configuration, caller };
    writeAddress(mine.choice, false);
    await offer(mine.choice);
  } catch (error) {
    mine.troubles.choice = error;
    return mine === view && showTrouble();
  }
  if (mine !== view) return;
  showTrouble();
  byId("shown").hidden = false;
  byId("propose").hidden = !maySeeStock();
  if (!mine.choice.product) return write(byId("tree-note"), "Nothing is kept in this environment yet.");
  history.show(mine.choice);
  refreshAll();
  listen();
}

/** Follows the feed while the page is seen: a browser has few connections for all of its pages. */
function listen() {
  view.stop();
  if (document.hidden || !view.choice.configuration || !view.choice.product) return;
  const isNarrowed = ofGroups(view.choice.caller).length > 0;
  let lagging;
  const onEvent = () => {
    refreshAll();
    clearTimeout(lagging);
    lagging = setTimeout(() => {
      refreshFigures();
      refreshAlerts();
      // Where something of its groups is, a narrowed key is told by what is counted.
      if (isNarrowed) refreshBooks();
    }, LAG_MS);
  };
  view.stop = follow(view.choice, { onEvent, onAlert: refreshAlerts, onState: showState });
}

byId("choice").addEventListener("submit", (event) => event.preventDefault());
byId("environment").addEventListener("change", ({ target }) => go({ environment: target.value.trim(), organization: "", product: "", place: {}, filters: {} }));
byId("product").addEventListener("change", ({ target }) => go({ ...view.choice, ...ofPartition(target.value), place: {}, filters: {} }));
byId("place").addEventListener("change", ({ target }) => go({ ...view.choice, place: JSON.parse(target.value) }));
byId("details-close").addEventListener("click", () => byId("details").close());
byId("propose").addEventListener("click", () => propose([...everyRow(view.roots ?? [])].filter(({ mayHoldBalances }) => mayHoldBalances)));
offerProducts(() => view.choice);
addEventListener("popstate", () => show(readAddress()));
document.addEventListener("visibilitychange", () => (listen(), document.hidden || refreshAll()));
setInterval(() => (refreshFigures(), refreshAlerts()), TIMES_MS);
show(readAddress());
