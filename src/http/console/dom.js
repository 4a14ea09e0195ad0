// Making elements. What the service says only ever becomes text, so a product's name cannot be markup.

/** An element with attributes, handlers (`onclick`) and children, which are elements or texts. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child != null));
  return element;
}

/** Writes a text where it is another than before, so that nothing that stays is touched. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

export const byId = (id) => document.getElementById(id);

/** A list of terms with their descriptions; pairs without one are left out. */
export const facts = (pairs) =>
  make("dl", { class: "facts" }, pairs.filter(([, value]) => value != null && value !== "").map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));

const SAID_MS = 12_000;
let saidUntil;

/** Tells it for a while, also to who listens instead of looking. */
export function say(text) {
  clearTimeout(saidUntil);
  write(byId("said"), text);
  saidUntil = setTimeout(() => write(byId("said"), ""), SAID_MS);
}

/** What went wrong, and what the service says to do. */
export const complaint = (error) =>
  make("p", { class: "complaint", role: "alert" }, error.problem?.title ? make("strong", {}, error.problem.title) : "", error.problem?.title && error.problem.detail ? ": " : "", error.problem ? (error.problem.detail ?? "") : error.message);

const RELATIVE = [["d", 86_400], ["h", 3_600], ["min", 60]];

/** How long, in its two largest units: 2 h 10 min */
export function duration(seconds) {
  if (seconds < 60) return "under 1 min";
  const parts = [];
  for (const [unit, size] of RELATIVE) {
    const count = Math.floor(seconds / size);
    if (count && parts.length < 2) parts.push(`${count} ${unit}`);
    seconds -= count * size;
  }
  return parts.join(" ");
}

/** A time as this place has it; its exact text is the tooltip. */
export function clock(text) {
  const date = new Date(text), today = new Date().toDateString() === date.toDateString();
  const options = today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "medium" };
  return make("time", { datetime: text, title: text }, date.toLocaleString("en-GB", options));
}
