// The live feed: told of every event and alert of a product as it comes. The browser itself connects
// again behind the last one that it heard of. Where there is no feed, it is asked every few seconds.

import { addressOf, ofProduct } from "./api.js";

const POLL_MS = 5_000;
const AGAIN_MS = 15_000;

/** Follows a product until the function that it answers is called. */
export function follow(choice, { onEvent, onAlert, onState }) {
  let source, poll, again;
  const connect = () => {
    source = new EventSource(addressOf(choice.environment, "events/stream", ofProduct(choice)));
    source.onopen = () => {
      clearInterval(poll);
      onState("live");
      // What happened before it was open is read once.
      onEvent();
      onAlert();
    };
    source.addEventListener("ledger", onEvent);
    source.addEventListener("alert", onAlert);
    source.onerror = () => {
      clearInterval(poll);
      poll = setInterval(onEvent, POLL_MS);
      onState("polling");
      if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, AGAIN_MS);
    };
  };
  connect();
  return () => {
    source.close();
    clearInterval(poll);
    clearTimeout(again);
  };
}
