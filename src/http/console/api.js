// The API, from where the page is. Every number of an answer stays the text that it was, so that no
// digit of a quantity is lost.

const ROOT = new URL("api/environment/", document.baseURI);
const TIME_MAX_MS = 20_000;

/** Reads JSON with all numbers as texts. */
export function exact(text) {
  const numbers = /("(?:[^"\\]|\\.)*")|-?\d[\d.eE+-]*/g;
  return JSON.parse(text.replace(numbers, (found, string) => string ?? `"${found}"`));
}

/** What the service refused, or that it did not answer. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
  /** Whether it may have been done all the same. */
  get isInDoubt() {
    const status = Number(this.problem.status ?? 0);
    return status === 0 || status >= 500;
  }
}

export const addressOf = (environment, path, parameters = []) => {
  const address = new URL(`${encodeURIComponent(environment)}/${path}`, ROOT);
  address.search = new URLSearchParams(parameters.filter(([, value]) => value !== "" && value != null));
  return address;
};

// A key, where the service wants one: asked for once, and kept as long as the tab is open.
const KEY = "ringfence-key";
let declined = false;
const keyKept = () => sessionStorage.getItem(KEY);

/** Whether there is another key now than the one that was refused. */
function otherKey(refused) {
  if (keyKept() === refused && !declined) {
    const given = prompt("This service wants a key of the environment (rf_…):")?.trim();
    if (given) sessionStorage.setItem(KEY, given);
    else declined = true;
    // What is shown is what the key before might see.
    if (given && refused) location.reload();
  }
  return keyKept() !== refused;
}

/** Fetches with the key that there is; `made` makes the request anew where another key is tried. */
export async function reach(address, made) {
  const key = keyKept(), request = made();
  const headers = { ...request.headers, ...(key && { authorization: `Bearer ${key}` }) };
  const answer = await fetch(address, { ...request, headers, cache: "no-store" });
  return answer.status === 401 && otherKey(key) ? reach(address, made) : answer;
}

/** Asks; answers what came, and the address of the next page where there is one. */
export async function ask(address, body) {
  const asked = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
  let answer, text;
  try {
    answer = await reach(address, () => ({ ...asked, signal: AbortSignal.timeout(TIME_MAX_MS) }));
    text = await answer.text();
  } catch {
    throw new Refusal({ title: "The service did not answer." });
  }
  let found;
  try {
    found = exact(text);
  } catch {
    throw new Refusal({ title: `The service answered ${answer.status}, and nothing that can be read.`, status: answer.status });
  }
  if (!answer.ok) throw new Refusal({ status: answer.status, ...found });
  const next = /<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("link") ?? "")?.[1];
  return { found, next: next && new URL(next, address) };
}

/** The groups that the caller is narrowed to: whoever is has to say so. */
export const ofGroups = ({ groups }) => Object.entries(groups).map(([name, value]) => [`group.${name}`, value]);
/** What a product is asked for by. */
export const ofProduct = ({ organization, product, caller }) => [["organizationId", organization], ["productId", product], ...ofGroups(caller)];
/** What all is asked for by, as far as the caller may. */
export const ofScope = ({ organization, caller }) => [...(caller.organizationIds.length ? [["organizationId", organization]] : []), ...ofGroups(caller)];

/** How long until what failed is tried again. */
const AGAIN_MS = 3_000;

/** Runs a task when it is triggered: one at a time, not too often, and once more when it was
 *  triggered in between, or answered that it failed. */
export function refresher(task, pauseMs) {
  let running = false, wanted = false;
  const run = async () => {
    if (running) return (wanted = true);
    running = true;
    wanted = false;
    const failed = (await task()) === false;
    const next = () => {
      running = false;
      if (wanted || failed) run();
    };
    setTimeout(next, failed ? AGAIN_MS : pauseMs);
  };
  return run;
}
