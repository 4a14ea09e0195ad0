// The dialog of a command: tried first, and only what was tried just so can be done. Its id is made
// once, so that to send it again is always safe.

import { addressOf, ask } from "./api.js";
import { decimal, shown } from "./decimal.js";
import { byId, complaint, facts, make, say } from "./dom.js";

export const TITLES = { allocate: "Allocate", reallocate: "Reallocate", unallocate: "Unallocate" };
const ACTOR = "ringfence.actor";

/** A name of its own for a command. (`randomUUID` is only there over TLS and on this machine.) */
const newId = () => "console-" + [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const field = (label, name, attributes = {}) => make("label", {}, label, make("input", { name, autocomplete: "off", maxlength: 128, ...attributes }));

const fields = (legend, prefix, names, values = {}, listed = {}) =>
  make("fieldset", {}, make("legend", {}, legend), names.map((name) => field(name, `${prefix}.${name}`, { value: values[name] ?? "", ...(listed[name] && { list: `known-${name}` }) })));

/**
 * Opens the dialog; `known` has the values of groups that there are, `onDone` is told when something was
 * done. What was proposed has an id of its own, by which it is done once, whoever sends it; what is
 * changed is something else.
 */
export function openCommand(choice, { operation, dimensions = {}, groups = {}, sourceGroups = {}, quantity = "", reason = "", id: proposed }, known, onDone) {
  const dialog = byId("command"), form = byId("command-form"), result = byId("command-result"), apply = byId("command-apply");
  const { configuration } = choice, names = configuration.allocation.groups;
  const isMove = operation === "reallocate", ownId = newId();
  let tried = null, id = proposed ?? ownId;

  // Who has a key is who it says, and the service goes by that alone.
  const who = choice.caller.name ? [] : [field("Who you are", "actor", { value: localStorage.getItem(ACTOR) ?? "" })];
  dialog.querySelector("h2").textContent = `${TITLES[operation]} ${choice.product}`;
  const lists = names.map((name) => make("datalist", { id: `known-${name}` }, [...(known[name] ?? [])].map((value) => make("option", { value }))));
  byId("command-fields").replaceChildren(
    fields("Place", "dimensions", configuration.dimensions, dimensions),
    ...(isMove ? [fields("From", "sourceGroups", names, sourceGroups, known)] : []),
    fields(isMove ? "To" : operation === "allocate" ? "For" : "From", "groups", names, groups, known),
    make("fieldset", {}, make("legend", {}, "How much, and why"), field("Quantity", "quantity", { value: quantity, inputmode: "decimal", required: true, pattern: "\\d+(\\.\\d+)?", title: "Digits, with a decimal point where one is needed" }), field("Reference", "reference"), field("Reason", "reason", { maxlength: 512, value: reason }), ...who),
    ...lists,
  );

  const read = () => {
    const given = new FormData(form), body = { id, organizationId: choice.organization, productId: choice.product };
    for (const [name, value] of given) {
      const text = value.trim(), [object, member] = name.split(/\.(.*)/s);
      if (text === "") continue;
      if (member === undefined) body[name] = text;
      else (body[object] ??= {})[member] = text;
    }
    return { dimensions: {}, groups: {}, ...(isMove && { sourceGroups: {} }), ...body };
  };
  const send = (body) => ask(addressOf(choice.environment, `allocation/${operation}`), body);
  const showResult = (...children) => result.replaceChildren(...children);
  const forget = () => {
    tried = null;
    apply.disabled = true;
    showResult();
  };
  const busy = (isBusy) => form.setAttribute("aria-busy", isBusy);

  form.oninput = () => {
    id = ownId;
    forget();
  };
  form.onsubmit = async (event) => {
    event.preventDefault();
    forget();
    const body = read();
    busy(true);
    try {
      const { found } = await send({ ...body, dryRun: true, explain: true });
      tried = body;
      apply.disabled = false;
      showResult(make("p", { class: "granted" }, make("strong", {}, "This would be done."), " Nothing has been done yet."), outcome(found));
    } catch (error) {
      showResult(complaint(error), ...(error.problem ? [explained(error.problem.explanation)] : []).filter(Boolean));
    } finally {
      busy(false);
    }
  };
  apply.onclick = async () => {
    if (!tried) return;
    apply.disabled = true;
    busy(true);
    if (who.length) localStorage.setItem(ACTOR, tried.actor ?? "");
    try {
      const { found } = await send(tried);
      dialog.close();
      say(`Done: ${operation} ${tried.quantity}, event ${found.eventId}.`);
      onDone();
    } catch (error) {
      const again = error.isInDoubt && make("p", {}, "Whether it was done is not known. It has an id of its own: to apply it again is safe, and tells.");
      apply.disabled = !again;
      showResult(complaint(error), ...(again ? [again] : []));
    } finally {
      busy(false);
    }
  };
  byId("command-close").onclick = () => dialog.close();
  forget();
  dialog.showModal();
  (form.querySelector("[name='quantity']")).focus();
}

/** What an answer says of the balances afterwards. */
function outcome({ balance, sourceBalance, availableToAllocate, explanation }) {
  const left = (of) => of && `${shown(decimal(of.allocated))} left of ${shown(decimal(of.cumulativeAllocated))}`;
  const table = explained(explanation);
  return make("div", {}, facts([["Source afterwards", left(sourceBalance)], ["Balance afterwards", left(balance)], ["Available to allocate afterwards", availableToAllocate && shown(decimal(availableToAllocate))]]), table ?? "");
}

/** How what is available came about, along the chain. */
function explained(explanation) {
  if (!explanation?.chain) return null;
  const steps = explanation.chain.map(({ dimensions, terms, available }) => {
    const place = Object.values(dimensions).filter(Boolean).join(" / ") || "Everywhere";
    const sum = (terms ?? []).map(({ measure, amount }) => `${measure} ${shown(decimal(amount))}`).join(", ");
    return make("li", {}, make("strong", {}, `${place}: ${shown(decimal(available))}`), ` (${sum})`);
  });
  return make("details", {}, make("summary", {}, "How what is available comes about"), make("p", {}, explanation.rule ?? ""), make("ul", {}, steps));
}
