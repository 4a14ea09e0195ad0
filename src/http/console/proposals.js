// What the service proposes: which reallocations would level when the groups of a place run dry. Each
// is done in the dialog of its command, where it is tried first.

import { addressOf, ask } from "./api.js";
import { titleOf } from "./books.js";
import { TITLES } from "./command.js";
import { decimal, shown } from "./decimal.js";
import { byId, clock, complaint, make, write } from "./dom.js";

/** Places that are asked about at once. */
const PLACES_MAX = 20;

/** Which places the dialog is about. */
let current;

const path = (groups) => Object.values(groups).join(" / ");

/**
 * Opens the dialog for places, each with its `dimensions`. `onChoose` is told which command is to be
 * opened; without it, nothing can be. Answers a function that asks again, as long as the dialog is open.
 */
export function openProposals(choice, places, onChoose) {
  const dialog = byId("proposals"), asked = (current = places.slice(0, PLACES_MAX));
  byId("proposals-title").textContent = `Proposals for ${choice.product}`;
  byId("proposals-close").onclick = () => dialog.close();
  byId("proposals-body").replaceChildren();
  write(byId("proposals-note"), "Asking…");
  dialog.showModal();
  const read = async () => {
    if (!dialog.open) return;
    const parts = await Promise.all(asked.map((place) => partOf(choice, place, onChoose)));
    if (asked !== current) return;
    const count = parts.reduce((sum, part) => sum + part.count, 0);
    const hasFocus = byId("proposals-body").contains(document.activeElement);
    byId("proposals-body").replaceChildren(...parts.map(({ element }) => element));
    // What had the focus is no more.
    if (hasFocus) (byId("proposals-body").querySelector("button") ?? byId("proposals-close")).focus();
    const more = places.length > asked.length ? ` Only ${asked.length} of ${places.length} places were asked about; open the row of another.` : "";
    write(byId("proposals-note"), `${count === 1 ? "1 is" : `${count || "None"} are`} proposed.${count ? " Nothing is done unless you apply it." : ""}${more}`);
  };
  read();
  return read;
}

async function partOf(choice, { dimensions }, onChoose) {
  const title = make("h3", {}, titleOf({ dimensions }));
  try {
    const { found } = await ask(addressOf(choice.environment, "allocation/proposals"), { organizationId: choice.organization, productId: choice.product, dimensions });
    const items = found.proposals.map((proposal) => itemOf(proposal, onChoose));
    const more = found.leftOut === "0" ? null : make("p", {}, `There would be ${found.leftOut} more: apply these, and ask again.`);
    return { count: items.length, element: make("section", {}, title, make("p", {}, found.remark), items.length ? make("ol", {}, items) : null, more) };
  } catch (error) {
    return { count: 0, element: make("section", {}, title, complaint(error)) };
  }
}

function itemOf({ path: address, body, reason, exhaustedAtBefore, exhaustedAtAfter }, onChoose) {
  const operation = address.split("/").at(-1);
  const words = `${TITLES[operation]} ${shown(decimal(body.quantity))}: ${body.sourceGroups ? `${path(body.sourceGroups)} → ` : ""}${path(body.groups)}`;
  const choose = make("button", { type: "button", "aria-label": `${TITLES[operation]}… (${words})`, onclick: () => onChoose?.({ operation, ...body }) }, `${TITLES[operation]}…`);
  const runsOut = exhaustedAtBefore && make("p", { class: "since" }, "Runs out ", clock(exhaustedAtBefore), exhaustedAtAfter ? [" without it, ", clock(exhaustedAtAfter), " with it"] : " without it");
  return make("li", {}, make("strong", {}, words), make("p", {}, reason), runsOut, onChoose ? choose : null);
}
