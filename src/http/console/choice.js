// What is looked at: the environment, the product, the place and the filters. The address has all of
// it, so that a view can be shared.

import { addressOf, ask, ofGroups } from "./api.js";
import { readPlaces } from "./books.js";
import { byId, make, write } from "./dom.js";
import { FILTERS } from "./history.js";

const LAST = "ringfence.environment";
const OFFERED = 50;
/** Of so many organizations products are offered, to who is narrowed to more. */
const OWNERS_MAX = 10;
/** Comes right before every text that begins so, as a key to read a list from. */
const BEFORE = (text) => (text ? text.slice(0, -1) + String.fromCodePoint(Math.max(text.codePointAt(text.length - 1) - 1, 1)) + "\u{10FFFF}" : "");

/** What the page's address says. */
export function readAddress() {
  const given = new URLSearchParams(location.search);
  const pairs = [...given], place = {}, filters = {};
  for (const [name, value] of pairs) {
    if (name.startsWith("place.")) place[name.slice(6)] = value;
    if (FILTERS.includes(name) || name.startsWith("group.")) filters[name] = value;
  }
  const one = (name) => given.get(name) ?? "";
  return { environment: one("environment") || localStorage.getItem(LAST) || "", organization: one("organizationId"), product: one("productId"), place, filters };
}

/** Writes a choice into the address; as a step that can be gone back, unless it only completes one. */
export function writeAddress({ environment, organization, product, place, filters }, isStep) {
  const pairs = [["environment", environment], ["organizationId", organization], ["productId", product], ...Object.entries(place).map(([name, value]) => [`place.${name}`, value]), ...Object.entries(filters)];
  const search = `?${new URLSearchParams(pairs.filter(([, value]) => value))}`;
  if (search !== location.search) history[isStep ? "pushState" : "replaceState"](null, "", search);
  if (environment) localStorage.setItem(LAST, environment);
  document.title = `${product ? `${product} · ` : ""}Ringfence console`;
}

const escaped = (text) => text.replaceAll("%", "%25").replaceAll("/", "%2F");
const unescaped = (text) => text.replaceAll("%2F", "/").replaceAll("%25", "%");
/** A product as the service lists it, organization/product. */
export const partition = ({ organization, product }) => (product ? `${escaped(organization)}/${escaped(product)}` : "");
export const ofPartition = (id) => {
  const [organization = "", product = ""] = id.trim().split("/").map(unescaped);
  return { organization, product };
};

/** Products from where a text would be in their list; to who may not see that, those that anything is set aside of. */
export async function findProducts(environment, caller, text) {
  if (caller.organizationIds.length || ofGroups(caller).length) return findHeld(environment, caller);
  const { organization, product } = ofPartition(text);
  const after = product ? [organization, BEFORE(product)] : [BEFORE(organization), ""];
  const parameters = [["limit", OFFERED], ...(text ? [["after", JSON.stringify(after)]] : [])];
  const { found } = await ask(addressOf(environment, "allpartitionids", parameters));
  return found;
}

async function findHeld(environment, caller) {
  const owners = caller.organizationIds.length ? caller.organizationIds.slice(0, OWNERS_MAX) : [""];
  const asked = (owner) => addressOf(environment, "allocation/analytics", [["organizationId", owner], ...ofGroups(caller), ["groupBy", "organizationId,productId"], ["levels", "0"]]);
  const answers = await Promise.all(owners.map((owner) => ask(asked(owner))));
  return answers.flatMap(({ found }) => found.map(({ organizationId, productId }) => partition({ organization: organizationId, product: productId })));
}

/** Fills the forms with a choice, and offers what else could be chosen. */
export async function offer(choice) {
  byId("environment").value = choice.environment;
  byId("product").value = partition(choice);
  const { caller } = choice, narrowedTo = [...caller.organizationIds, Object.values(caller.groups).join(" / ")].filter(Boolean).join(", ");
  byId("caller").hidden = !caller.name;
  write(byId("caller"), `${caller.name} (${[caller.role, narrowedTo].filter(Boolean).join(": ")})`);
  const names = choice.configuration.dimensions;
  const places = choice.product ? await readPlaces(choice) : [];
  const select = byId("place"), wanted = JSON.stringify(choice.place);
  const options = places.map((place) => make("option", { value: JSON.stringify(place), selected: JSON.stringify(place) === wanted }, names.map((name) => place[name]).filter(Boolean).join(" / ")));
  select.replaceChildren(make("option", { value: "{}" }, "All places"), ...options);
  select.closest("label").hidden = places.length < 2;
}

/** Offers products while one is typed; `choiceOf` says what is looked at. */
export function offerProducts(choiceOf) {
  let asked = 0;
  byId("product").addEventListener("input", async ({ target }) => {
    const mine = ++asked;
    const { environment, caller } = choiceOf();
    const found = caller ? await findProducts(environment, caller, target.value).catch(() => []) : [];
    if (mine === asked) listProducts(found);
  });
}

export const listProducts = (found) => byId("products").replaceChildren(...found.map((value) => make("option", { value })));
