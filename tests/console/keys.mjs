// The console where keys are needed: the live stream, and what a narrowed key sees.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { NARROW, assertAccessible, assertFits, browser, close, done, open, send, until } from "./browser.mjs";
import { act, clickRow, fill, press, untilLive, untilOpen, untilRow } from "./page.mjs";
import { makeKey, start } from "./service.mjs";
import { ORGANIZATION, RED, STORE, VIP, of, stockBy } from "./stock.mjs";

const directory = `${process.env.HOME}/keys`;
const admin = makeKey(directory);
const service = await start(directory, { flags: ["--auth", "--heartbeat-time-ms", "500"] });
const { base } = service;
const asAdmin = (method, path, body) => done(method, path, body, { base, key: admin });
const { allocate, consume, left, prepare, stock } = stockBy(asAdmin);
const keyOf = async (asked) => (await asAdmin("POST", "keys", asked)).key;

after(() => Promise.all([browser.close(), service.stop()]));

/** Waits until all that happened is counted. */
const counted = async () => {
  const ask = (path) => send("GET", path, undefined, { base, key: admin });
  const [{ eventId }] = JSON.parse((await ask("events?order=newest&limit=1")).text);
  while (Number((await ask("allocation/analytics?limit=1")).headers.get("ringfence-reached")) < eventId) await new Promise((resolve) => setTimeout(resolve, 50));
};

const streams = (page) => page.asked.filter((request) => request.url().includes("/events/stream?"));
const labels = (page) => page.$$eval("#rows .label", (all) => all.map((label) => label.textContent));

test("with a key the bars move from the live stream, and nothing is asked for while nothing happens", async () => {
  const product = "Roadster";
  await stock(product, RED, 50);
  await allocate(product, RED, STORE, 40);
  const key = await keyOf({ name: "till-4", role: "planner" });
  const before = () => {
    window.states = [];
    const note = () => {
      const state = document.getElementById("live")?.dataset.state;
      if (state && state !== window.states.at(-1)) window.states.push(state);
    };
    new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true });
  };
  const page = await open(of(product), { base, key, before });
  await untilLive(page);
  await untilRow(page, "Store", "left", "40");
  await until(page, "all is read", () => document.getElementById("history").children.length === 2 && document.getElementById("total-rate").textContent === "0");

  // Longer than the page would wait before it asked by itself, by the beats of the stream, when a few of them went by
  // without anything begun or under way: all has been read that is to be read when the stream opens.
  const network = await page.createCDPSession();
  const begun = new Map(), underWay = new Set();
  let beats = 0, told = () => {};
  network.on("Network.requestWillBeSent", ({ requestId, request }) => (begun.set(requestId, request.url), underWay.add(requestId)));
  for (const end of ["loadingFinished", "loadingFailed"]) network.on(`Network.${end}`, ({ requestId }) => underWay.delete(requestId));
  network.on("Network.dataReceived", ({ requestId }) => begun.has(requestId) || (++beats, told()));
  const beat = (more) => new Promise((resolve) => {
    const goal = beats + more;
    told = () => beats >= goal && resolve();
  });
  const asked = () => [...begun.values()].filter((url) => !/alerts|analytics/.test(url));
  await network.send("Network.enable");
  let settled = -1;
  for (let round = 0; round < 10 && (settled !== asked().length || underWay.size > 0); round++) {
    settled = asked().length;
    await beat(6);
  }
  await beat(13);
  assert.deepEqual(asked().slice(settled), [], "only what also changes when nothing happens is asked for");

  for (const consumed of ["3", "6", "9"]) {
    await consume(product, RED, STORE, 3);
    await untilRow(page, "Store", "consumed", consumed);
  }
  assert.deepEqual(await page.evaluate(() => window.states), ["off", "live"]);
  assert.deepEqual(streams(page).map((request) => request.headers().authorization), [`Bearer ${key}`]);
  assert.equal(await page.$eval("#caller", (caller) => caller.textContent), "till-4 (planner)");
  // Who asks is known by the key; nobody is asked for a name that would not count.
  await clickRow(page, "Store");
  await act(page, "Allocate…");
  await untilOpen(page, "command");
  assert.equal(await page.$('#command [name="actor"]'), null);
  await page.keyboard.type("1");
  await press(page, "Enter");
  await until(page, "it can be applied", () => !document.getElementById("command-apply").disabled);
  await page.click("#command-apply");
  await until(page, "the history has who it was", () => document.querySelector("#history tr td:last-child").textContent === "till-4");
  await close(page);
});

test("a stream that falls silent is begun again, behind the last that was heard of", async () => {
  const product = "Unicycle";
  await stock(product, RED, 50);
  await allocate(product, RED, STORE, 40);
  // The page's patience, made short.
  const before = () => {
    const own = window.setTimeout;
    window.setTimeout = (task, time, ...given) => own(task, Math.min(time, 3_000), ...given);
  };
  const page = await open(of(product), { base, key: admin, before });
  await untilLive(page);
  await consume(product, RED, STORE, 1);
  await untilRow(page, "Store", "consumed", "1");
  service.signal("SIGSTOP");
  try {
    await until(page, "it is not live", () => document.getElementById("live").dataset.state === "polling");
  } finally {
    service.signal("SIGCONT");
  }
  await untilLive(page);
  const [first, ...again] = streams(page);
  assert.equal(first.headers()["last-event-id"], undefined);
  assert.ok(again.length > 0 && again.every((request) => /^\d+(-\d+)?$/.test(request.headers()["last-event-id"])), "it says what it heard of last");
  await consume(product, RED, STORE, 1);
  await untilRow(page, "Store", "consumed", "2");
  await close(page);
});

test("a key that is narrowed to a group path shows that path, and nothing of others", async () => {
  const product = "GravelBike";
  await prepare(product);
  await asAdmin("PUT", "watches/low", { organizationId: ORGANIZATION, productId: product, rule: { balanceAtOrBelow: 45, clearAbove: 46 } });
  const key = await keyOf({ name: "web-manager", role: "planner", groups: { channel: "Web" } });
  // Where its places are is known when they are counted.
  await counted();
  const page = await open(of(product), { base, key });
  await untilRow(page, "VIP", "left", "120");
  await untilRow(page, "Leeds", "left", "30");
  await untilLive(page);
  assert.equal(await page.$eval("#caller", (caller) => caller.textContent), "web-manager (planner: Web)");
  // Leeds has 30; Store has 40 and Partner 45, and they are no matter of this key.
  await until(page, "its alert is listed", () => document.querySelector("#alerts .alert .link")?.textContent.endsWith("Web / Leeds"));
  assert.equal(await page.$$eval("#alerts .alert", (all) => all.length), 1);
  const shown = await labels(page);
  assert.ok(["Web", "London", "Leeds", "VIP", "Regular"].every((label) => shown.includes(label)), `${shown}`);
  assert.ok(!["Store", "Partner"].some((label) => shown.includes(label)), `${shown}`);
  await untilRow(page, "red", "left", "180");
  await untilRow(page, "red", "onhand", "–");
  assert.equal(await page.$eval("#total-left", (total) => total.textContent), "260");
  assert.equal(await page.$eval("#propose", (propose) => propose.hidden), true);
  await until(page, "the history is shown", () => document.getElementById("history").children.length === 4);
  assert.doesNotMatch(await page.$eval("#history", (history) => history.textContent), /Store|Partner/);

  // The stock that others consume is not told; its own is, live.
  await consume(product, RED, STORE, 5);
  await consume(product, RED, VIP, 80);
  await untilRow(page, "VIP", "consumed", "80");
  await until(page, "the alert is at its row", () => [...document.querySelectorAll("#rows tr")].some((row) => row.querySelector(".label").textContent === "VIP" && !row.querySelector(".badge").hidden));
  await until(page, "the rate is shown", () => Number(document.getElementById("total-rate").textContent) > 70);
  await assertAccessible(page);
  await clickRow(page, "VIP");
  await act(page, "Reallocate to it…");
  await untilOpen(page, "command");
  assert.equal(await page.$eval('#command [name="sourceGroups.channel"]', (input) => input.value), "Web");
  await fill(page, "sourceGroups.region", "London");
  await fill(page, "sourceGroups.customerGroup", "Regular");
  await fill(page, "quantity", "20");
  await press(page, "Enter");
  await until(page, "it can be applied", () => !document.getElementById("command-apply").disabled);
  await page.click("#command-apply");
  await untilRow(page, "VIP", "left", "60");
  assert.equal(await left(product, RED, VIP), 60);
  await until(page, "the alert is cleared", () => /Cleared: low: GravelBike, .*VIP/.test(document.getElementById("said").textContent));
  const places = await page.$$eval("#place option", (all) => all.map((option) => option.textContent));
  assert.deepEqual(places, ["All places", "1 / 11"], "the other place is of another channel");
  await page.setViewport(NARROW);
  await assertFits(page, NARROW);
  await assertAccessible(page);
  await close(page);

  // Without a product in the address, one is shown that the key holds something of.
  const alone = await open({ environment: "demo" }, { base, key });
  await until(alone, "a product is offered and shown", (wanted) => [...document.querySelectorAll("#products option")].some(({ value }) => value === wanted) && document.querySelector("#rows .label"), `${ORGANIZATION}/${product}`);
  await close(alone);
});

test("a reader of one organization sees all of it, and is offered nothing to do", async () => {
  const key = await keyOf({ name: "auditor", role: "reader", organizationIds: [ORGANIZATION] });
  const page = await open(of("CityBike"), { base, key });
  await untilRow(page, "Store", "left", "10");
  await untilLive(page);
  assert.notEqual(await page.$eval("#total-onHand", (total) => total.textContent), "–");
  await until(page, "alerts of the organization are listed", () => document.querySelectorAll("#alerts .alert").length > 0);
  assert.equal(await page.$("#alerts button:not(.link)"), null);
  await clickRow(page, "Store");
  assert.deepEqual(await page.$$eval("#details-actions button", (all) => all.map((button) => button.textContent)), ["Proposals…", "Its history"]);
  await close(page);
});
