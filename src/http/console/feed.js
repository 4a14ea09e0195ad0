// The live feed: told of every event and alert of a product as it comes. The stream is read by hand,
// because the browser's own reader of such streams sends no key. Whoever is cut off goes on behind
// the last that was heard of; as long as there is no stream, the page is asked to look now and then.

import { addressOf, ofProduct, reach } from "./api.js";

const POLL_MS = 5_000;
/** A stream says every 15 seconds that it is there, unless the service was told otherwise. */
const SILENCE_MAX_MS = 45_000;
const AGAIN_MIN_MS = 1_000;
const AGAIN_MAX_MS = 30_000;
/** Longest that one message may be. */
const MESSAGE_MAX = 8_000_000;

/** What a stream says, as it comes: its `event`, and the `id` up to which there was nothing else. */
async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    if (rest.length > MESSAGE_MAX) throw new Error("a message without end");
    for (const text of whole) yield Object.fromEntries(text.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
  }
}

/** Follows a product until the function that it answers is called. */
export function follow(choice, { onEvent, onAlert, onState }) {
  const address = addressOf(choice.environment, "events/stream", ofProduct(choice));
  let isStopped = false, failures = 0, last, stream, silence, poll, again;

  async function read() {
    stream = new AbortController();
    const { signal } = stream;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => stream.abort(), SILENCE_MAX_MS);
    };
    heard();
    const answer = await reach(address, () => ({ signal, headers: last ? { "last-event-id": last } : {} }));
    // A service that was put back to an earlier state does not know what was last.
    if (answer.status === 400) last = undefined;
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    clearInterval(poll);
    onState("live");
    // What happened before it was open is read once.
    onEvent();
    onAlert();
    for await (const { id, event } of messages(answer.body)) {
      heard();
      if (id) [last, failures] = [id, 0];
      if (event === "ledger") onEvent();
      if (event === "alert") onAlert();
    }
  }

  async function connect() {
    // Whatever ended it, it is begun again.
    await read().catch(() => {});
    clearTimeout(silence);
    stream.abort();
    if (isStopped) return;
    clearInterval(poll);
    poll = setInterval(onEvent, POLL_MS);
    onState("polling");
    // Not all pages at once, when a service comes back.
    const pause = Math.min(AGAIN_MIN_MS * 2 ** failures++, AGAIN_MAX_MS);
    again = setTimeout(connect, pause * (0.5 + Math.random() / 2));
  }

  connect();
  return () => {
    isStopped = true;
    stream.abort();
    for (const timer of [silence, poll, again]) clearTimeout(timer);
  };
}
