// What the console promises, each as a test of its own against one service with its demo.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { BASE, DESKTOP, NARROW, PHONE, assertAccessible, assertFits, browser, close, done, open, send, until } from "./browser.mjs";
import { act, clickRow, figuresOf, fill, focused, press, tabTo, untilLive, untilOpen, untilRow } from "./page.mjs";
import { start } from "./service.mjs";
import { ORGANIZATION, RED, REGULAR, STORE, VIP, of, stockBy } from "./stock.mjs";

const PRODUCT = "GravelBike";
const HOSTILE = `<img src=x onerror="window.harmed=1"> '"&</script>`;
const { allocate, consume, left, prepare, stock } = stockBy(done);

after(() => browser.close());

test("a sale moves the bars, an alert appears, and a reallocation made in the page clears it", async () => {
  await prepare(PRODUCT);
  await done("PUT", "watches/low", { organizationId: ORGANIZATION, productId: PRODUCT, groups: VIP, rule: { balanceAtOrBelow: 12, clearAbove: 20 } });
  const page = await open(of(PRODUCT));
  await untilRow(page, "VIP", "left", "120");
  await untilLive(page);
  assert.equal(await page.$eval("#no-alerts", (none) => none.hidden), false);
  const before = await figuresOf(page, "VIP");
  assert.deepEqual([before.consumed, before.allocated, before.bars.consumed], ["0", "120", 0]);

  for (let sold = 0; sold < 108; sold += 4) {
    await consume(PRODUCT, RED, VIP, 4, { reference: `SO-${1000 + sold / 4}/1`, actor: "web-shop" });
    if (sold % 12 === 0) await consume(PRODUCT, RED, REGULAR, 2, { reference: `SO-${2000 + sold / 12}/1`, actor: "web-shop" });
    // The page follows the sale while it goes on.
    if (sold === 52) await untilRow(page, "VIP", "consumed", "56");
  }
  await untilRow(page, "VIP", "consumed", "108");
  await untilRow(page, "red", "consumed", "126");
  await until(page, "the bar shows it", () => {
    const bar = [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === "VIP").querySelector(".bar");
    const [consumed, left] = [...bar.children].map((part) => part.getBoundingClientRect().width);
    return Math.abs(consumed / (consumed + left) - 0.9) < 0.02;
  });
  // What is said is gone again after a while.
  await until(page, "the alert is said", () => document.getElementById("said").textContent.includes("Alert low"));
  await until(page, "the alert is listed", () => document.querySelector("#alerts .alert strong")?.textContent === "low");
  await until(page, "the alert is at its row", () => [...document.querySelectorAll("#rows tr")].some((row) => row.querySelector(".label").textContent === "VIP" && !row.querySelector(".badge").hidden));
  await until(page, "the rate of the last hour is shown", () => Number(document.getElementById("total-rate").textContent) > 100);
  await until(page, "the sparkline is drawn", () => document.querySelector("#spark-rate .line").getAttribute("d").startsWith("M"));
  await until(page, "it is told when the stock runs out", () => /^in \d|^in under/.test([...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === "VIP").querySelector(".runsout").textContent));
  await assertAccessible(page);

  await page.click("#alerts .alert button:not(.link)");
  await untilOpen(page, "command");
  await fill(page, "sourceGroups.channel", "Store");
  await fill(page, "quantity", "30");
  await fill(page, "reason", "the VIPs sell faster");
  assert.equal(await page.$eval("#command-apply", (apply) => apply.disabled), true);
  await page.click("#command-form [type=submit]");
  await until(page, "the dry run is answered", () => document.querySelector("#command-result .granted"));
  assert.match(await page.$eval("#command-result", (result) => result.textContent), /42 left of 150/);
  assert.equal(await left(PRODUCT, RED, VIP), 12, "a dry run does nothing");
  await assertAccessible(page);
  // What is tried is what is done: another quantity has to be tried again.
  await page.type('#command [name="quantity"]', "0");
  assert.equal(await page.$eval("#command-apply", (apply) => apply.disabled), true);
  await fill(page, "quantity", "30");
  await page.click("#command-form [type=submit]");
  await until(page, "it can be applied", () => !document.getElementById("command-apply").disabled);
  await page.click("#command-apply");
  await until(page, "the dialog is closed", () => !document.getElementById("command").open);

  await untilRow(page, "VIP", "left", "42");
  await untilRow(page, "Store", "left", "10");
  assert.deepEqual([await left(PRODUCT, RED, VIP), await left(PRODUCT, RED, STORE)], [42, 10]);
  await until(page, "the alert is cleared", () => document.getElementById("alerts").children.length === 0 && !document.getElementById("no-alerts").hidden);
  await until(page, "the history has it", () => document.querySelector("#history tr td:nth-child(2)").textContent === "reallocate");
  await close(page);
});

test("the tree and a dialog are used by the keyboard alone", async () => {
  const page = await open(of("CityBike"));
  await untilRow(page, "Store", "left", "10");
  for (let tries = 0; tries < 20 && !(await page.evaluate(() => document.activeElement.closest("#rows"))); tries++) await press(page, "Tab");
  assert.equal(await focused(page), "1 / 11");
  assert.equal(await page.$$eval('#rows tr[tabindex="0"]', (rows) => rows.length), 1);
  const rows = () => page.$$eval("#rows tr", (all) => all.length);
  const all = await rows();
  await press(page, "ArrowLeft");
  assert.ok((await rows()) < all, "what is closed is not there");
  assert.equal(await page.$eval("#rows tr", (row) => row.getAttribute("aria-expanded")), "false");
  await press(page, "ArrowRight", "ArrowRight");
  assert.equal(await rows(), all);
  assert.equal(await focused(page), "green");
  await press(page, "ArrowDown");
  assert.equal(await focused(page), "Store");
  await press(page, "ArrowUp");
  assert.equal(await focused(page), "green");
  await press(page, "ArrowDown", "ArrowLeft");
  assert.equal(await focused(page), "green");
  assert.equal(await page.$$eval('#rows tr[tabindex="0"]', (rows) => rows.length), 1);
  await press(page, "End");
  assert.equal(await focused(page), await page.$$eval("#rows .label", (all) => all.at(-1).textContent));
  await press(page, "Home", "ArrowDown", "ArrowDown", "Enter");
  await untilOpen(page, "details");
  await tabTo(page, "Allocate…");
  await press(page, "Enter");
  await untilOpen(page, "command");
  assert.equal(await page.evaluate(() => document.activeElement.name), "quantity");
  await page.keyboard.type("1.000001");
  await press(page, "Enter");
  await until(page, "the dry run is answered", () => document.querySelector("#command-result .granted"));
  await tabTo(page, "Apply");
  await press(page, "Enter");
  await until(page, "the dialog is closed", () => !document.getElementById("command").open);
  await untilRow(page, "Store", "left", "11.000001");
  await until(page, "the focus is where it was", () => document.activeElement.querySelector?.(".label")?.textContent === "Store");
  await press(page, "Enter");
  await untilOpen(page, "details");
  await press(page, "Escape");
  await until(page, "the dialog is closed", () => !document.getElementById("details").open);
  await close(page);
});

test("a refusal is told in the service's words, and cannot be applied", async () => {
  const page = await open(of("CityBike"));
  await untilRow(page, "Store", "allocated", "11.000001");
  await clickRow(page, "Store");
  await act(page, "Unallocate…");
  await untilOpen(page, "command");
  await page.keyboard.type("99999");
  await press(page, "Enter");
  await until(page, "the refusal is shown", () => document.querySelector("#command-result .complaint")?.textContent.includes("99999 asked for, 11.000001 allocated"));
  assert.equal(await page.$eval("#command-apply", (apply) => apply.disabled), true);
  // The browser itself says of a 409 that something failed.
  page.faults = page.faults.filter((fault) => !fault.includes("409"));
  await close(page);
});

test("no digit of a quantity is lost", async () => {
  await stock("Bolt", RED, "999999999999999.123456");
  await allocate("Bolt", RED, STORE, "900719925474099.300001");
  const page = await open(of("Bolt"));
  await untilRow(page, "Store", "left", "900,719,925,474,099.300001");
  await untilRow(page, "red", "onhand", "999,999,999,999,999.123456");
  await untilRow(page, "red", "available", "99,280,074,525,899.823455");
  await page.setViewport(NARROW);
  await assertFits(page, NARROW);
  await close(page);
});

test("names are text, whatever they say", async () => {
  await stock(HOSTILE, { ...RED, colorId: HOSTILE }, 5);
  await allocate(HOSTILE, { ...RED, colorId: HOSTILE }, { channel: HOSTILE }, 3);
  const page = await open(of(HOSTILE));
  await until(page, "the names are shown", (name) => [...document.querySelectorAll("#rows .label")].filter((label) => label.textContent === name).length === 2, HOSTILE);
  await until(page, "the history is shown", (name) => document.getElementById("history").textContent.includes(name), HOSTILE);
  await page.$$eval("#rows tr", (rows) => rows.at(-1).click());
  await untilOpen(page, "details");
  assert.equal(await page.evaluate(() => window.harmed), undefined);
  assert.equal(await page.$$eval("main img, dialog img, main script", (found) => found.length), 0);
  await assertAccessible(page);
  await close(page);
});

test("the address has the view, and the history its filters", async () => {
  const page = await open(of(PRODUCT));
  await until(page, "the history is shown", () => document.getElementById("history").children.length > 10);
  // Until the tree is there, which is above, what is clicked at may move away.
  await untilRow(page, "VIP", "left", "42");
  await untilLive(page);
  await page.click(".filters summary");
  await page.select('#filters [name="operation"]', "consume");
  await page.type('#filters [name="group.channel"]', "Web");
  await page.type('#filters [name="group.region"]', "London");
  await page.type('#filters [name="group.customerGroup"]', "Regular");
  await page.click("#filters [type=submit]");
  const isFiltered = () => {
    const rows = [...document.querySelectorAll("#history tr")];
    return rows.length === 9 && rows.every((row) => row.children[1].textContent === "consume" && row.children[3].textContent.endsWith("Regular"));
  };
  await until(page, "only what was asked for is shown", isFiltered);
  const shared = await browser.newPage();
  await shared.goto(page.url());
  await until(shared, "the address shows the same", isFiltered);
  assert.equal(await shared.$eval('#filters [name="operation"]', (input) => input.value), "consume");
  await shared.close();
  await page.bringToFront();
  await page.goBack();
  const untilAll = (what) => until(page, what, () => document.getElementById("history").children.length === 49);
  await untilAll("the step before is back");
  const filter = (given) => page.$eval("#filters", (form, values) => {
    for (const { name } of form.elements) if (name) form.elements[name].value = values[name] ?? "";
    form.requestSubmit();
  }, given);
  const untilNone = () => until(page, "nothing is shown", () => document.getElementById("history").children.length === 0 && document.getElementById("history-note").textContent.startsWith("Nothing happened"));
  await filter({ reference: "SO-2001/1" });
  await until(page, "only the one with the reference is shown", () => document.querySelector("#history tr:only-child td:nth-child(7)")?.textContent === "SO-2001/1");
  await filter({ actor: "web-shop" });
  await until(page, "only those of the actor are shown", () => document.getElementById("history").children.length === 36);
  await filter({ from: "2100-05-01T12:00:00" });
  await untilNone();
  await page.reload();
  await until(page, "the form has the time", () => document.querySelector('#filters [name="from"]').value.startsWith("2100-05-01T12:00"));
  await untilNone();
  await page.$eval("#filters [type=reset]", (button) => button.click());
  await untilAll("all is back");
  await filter({ to: "2000-05-01T12:00:00" });
  await untilNone();
  await filter({ from: "2000-05-01T12:00:00", to: "2100-05-01T12:00:00" });
  await untilAll("all is within");
  await page.select("#place", JSON.stringify({ siteId: "2", locationId: "21" }));
  await until(page, "only that place is shown", () => document.querySelector("#rows .label")?.textContent === "2 / 21");
  assert.match(page.url(), /place\.locationId=21/);
  await page.$eval("#product", (input) => (input.value = ""));
  await page.type("#product", "usmf/Helm");
  await until(page, "products are offered while one is typed", () => document.querySelector("#products option")?.value === "usmf/Helmet");
  await page.type("#product", "et\n");
  await until(page, "the other product is shown", () => new URLSearchParams(location.search).get("productId") === "Helmet" && document.querySelector("#rows .label"));
  await close(page);
});

/** The answers to a page that has read its history so often. */
async function untilRead(page, count) {
  const reads = page.asked.filter((request) => request.url().includes("/events?"));
  const missing = Array.from({ length: count - reads.length }, () => page.waitForResponse((answer) => answer.url().includes("/events?")));
  await Promise.all([...missing, ...reads.map((request) => request.response() ?? page.waitForResponse((answer) => answer.request() === request))]);
  return page.asked.filter((request) => request.url().includes("/events?")).map((request) => request.response());
}

test("older events are read at request", async () => {
  for (let number = 0; number < 60; number++) await stock("Spoke", RED, 1);
  const page = await open(of("Spoke"));
  const untilRows = (count) => until(page, `there are ${count} events`, (wanted) => new Set([...document.querySelectorAll("#history tr")].map((row) => row.dataset.event)).size === wanted, count);
  await untilRows(50);
  await page.focus("#older");
  await press(page, "Enter");
  await untilRows(60);
  // The newest are read once more after a second, which says nothing of what was read since.
  for (const read of await untilRead(page, 3)) assert.ok((await read.text()).startsWith("["));
  await page.evaluate(() => new Promise((done) => setTimeout(done, 100)));
  assert.equal(await page.$eval("#older", (older) => older.hidden), true);
  assert.equal(await page.$$eval("#history tr", (rows) => rows.length), 60);
  assert.equal(await page.evaluate(() => document.activeElement.closest("tr")?.rowIndex), 51);
  await close(page);
});

test("what is proposed is listed with its reason, and done in the dialog of its command", async () => {
  const product = "Trike";
  await stock(product, RED, 100);
  await allocate(product, RED, VIP, 20);
  await allocate(product, RED, STORE, 40);
  await consume(product, RED, VIP, 10);
  const asked = { organizationId: ORGANIZATION, productId: product, dimensions: RED };
  const page = await open(of(product));
  await until(page, "the consumption is counted", () => Number(document.getElementById("total-rate").textContent) > 0);
  const listed = () => page.$$eval("#proposals li strong", (all) => all.map((one) => one.textContent));
  const untilListed = (count) => until(page, `${count} are proposed`, (wanted) => document.querySelectorAll("#proposals li").length === wanted, count);

  // What the page was answered: for how long something is enough is another a second later.
  const answer = page.waitForResponse((response) => response.url().endsWith("/allocation/proposals"));
  await tabTo(page, "Proposals…");
  await press(page, "Enter");
  await untilOpen(page, "proposals");
  const { proposals } = await (await answer).json();
  assert.deepEqual(proposals.map(({ path }) => path), ["allocation/allocate", "allocation/reallocate"]);
  await untilListed(2);
  assert.deepEqual(await listed(), ["Allocate 40: Web / London / VIP", "Reallocate 40: Store → Web / London / VIP"]);
  const text = await page.$eval("#proposals", (dialog) => dialog.textContent);
  for (const { reason } of proposals) assert.ok(text.includes(reason), `${reason} is in ${text}`);
  assert.match(text, /2 are proposed/);
  for (const [viewport, scheme] of [[DESKTOP, "dark"], [NARROW, "dark"], [NARROW, "light"], [DESKTOP, "light"]]) {
    await page.setViewport(viewport);
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await assertFits(page, viewport);
    await assertAccessible(page);
  }

  await tabTo(page, "Reallocate…");
  await press(page, "Enter");
  await untilOpen(page, "command");
  assert.equal(await page.$eval("#command-apply", (apply) => apply.disabled), true);
  await press(page, "Enter");
  await until(page, "the dry run is answered", () => document.querySelector("#command-result .granted")?.nextSibling.textContent.includes("50 left of 60"));
  assert.equal(await left(product, RED, VIP), 10, "a dry run does nothing");
  await tabTo(page, "Apply");
  await press(page, "Enter");
  await until(page, "the dialog is closed", () => !document.getElementById("command").open);
  // What is left is proposed anew, of the state that there is now.
  await untilListed(1);
  assert.deepEqual(await listed(), ["Allocate 40: Web / London / VIP"]);
  assert.deepEqual([await left(product, RED, VIP), await left(product, RED, STORE)], [50, 0]);
  const [event] = await done("GET", `events?productId=${product}&order=newest&limit=1`);
  assert.deepEqual([event.id, event.operation, event.reason], [proposals[1].body.id, "reallocate", proposals[1].body.reason]);

  // What is changed has an id of its own, so that the proposal can still be done as it was.
  const { proposals: [first] } = await done("POST", "allocation/proposals", asked);
  await tabTo(page, "Allocate…");
  await press(page, "Enter");
  await untilOpen(page, "command");
  await fill(page, "quantity", "5");
  await press(page, "Enter");
  await until(page, "it can be applied", () => !document.getElementById("command-apply").disabled);
  await page.click("#command-apply");
  await until(page, "what is left is proposed", () => document.querySelector("#proposals li strong")?.textContent.startsWith("Allocate 35"));
  const [changed] = await done("GET", `events?productId=${product}&order=newest&limit=1`);
  assert.equal(changed.operation, "allocate");
  assert.notEqual(changed.id, first.body.id);
  await press(page, "Escape");
  await until(page, "the dialog is closed", () => !document.getElementById("proposals").open);
  await close(page);

  // From a row, it is asked for that place alone.
  const several = await open(of(PRODUCT));
  const untilPlaces = (...wanted) => until(several, `it is asked for ${wanted}`, (places) => JSON.stringify([...document.querySelectorAll("#proposals h3")].map((title) => title.textContent)) === places, JSON.stringify(wanted));
  await untilRow(several, "Leeds", "left", "30");
  await several.click("#propose");
  await untilPlaces("1 / 11 / black", "1 / 11 / red", "2 / 21 / red");
  await press(several, "Escape");
  await clickRow(several, "Leeds");
  await act(several, "Proposals…");
  await untilPlaces("1 / 11 / black");
  await close(several);
});

test("it is accessible in light, in dark and on a phone, where nothing scrolls sideways", async () => {
  for (const [viewport, scheme] of [[DESKTOP, "light"], [DESKTOP, "dark"], [PHONE, "light"], [PHONE, "dark"]]) {
    const page = await open(of(PRODUCT), { viewport, scheme });
    await untilRow(page, "VIP", "left", "42");
    await until(page, "the history is shown", () => document.getElementById("history").children.length > 10);
    await assertFits(page, viewport);
    await assertAccessible(page);
    await clickRow(page, "VIP");
    if (viewport === DESKTOP) await assertAccessible(page);
    await act(page, "Reallocate to it…");
    await untilOpen(page, "command");
    await assertFits(page, viewport);
    await assertAccessible(page);
    await close(page);
  }
});

test("the page takes nothing but what the service serves", async () => {
  const answer = await fetch(`${BASE}/console`);
  assert.match(answer.headers.get("content-security-policy"), /^default-src 'self';/);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  const tag = answer.headers.get("etag");
  assert.equal((await fetch(`${BASE}/console`, { headers: { "if-none-match": tag } })).status, 304);
  assert.equal((await fetch(`${BASE}/console/nothing.js`)).status, 404);
  const page = await open(of(PRODUCT));
  const broken = await page.evaluate(async () => {
    const violation = new Promise((resolve) => document.addEventListener("securitypolicyviolation", ({ violatedDirective }) => resolve(violatedDirective), { once: true }));
    const script = document.createElement("script");
    script.textContent = "window.harmed = 1";
    document.body.append(script);
    return [await violation, Boolean(window.harmed)];
  });
  assert.deepEqual(broken, ["script-src-elem", false]);
  await page.close();
});

test("an environment that is not there is told", async () => {
  const page = await open({ environment: "nowhere" });
  await until(page, "it is told", () => document.getElementById("trouble").textContent.includes("nowhere"));
  assert.equal((await send("GET", "configuration")).status, 200);
  await page.$eval("#environment", (input) => (input.value = ""));
  await page.type("#environment", "demo\n");
  await until(page, "the other is shown, and the trouble gone", () => document.querySelector("#rows .label") && !document.getElementById("trouble").textContent);
  await page.close();
});

test("a page goes on by itself when the service was away", async () => {
  const directory = `${process.env.HOME}/second`;
  let service = await start(directory);
  const page = await open(of("CityBike"), { base: service.base });
  try {
    await untilLive(page);
    await untilRow(page, "Store", "left", "10");
    await service.stop();
    await until(page, "it is not live", () => document.getElementById("live").dataset.state !== "live");
    service = await start(directory, { port: service.port });
    const more = { id: "while-away", organizationId: ORGANIZATION, productId: "CityBike", dimensions: { ...RED, colorId: "green" }, groups: STORE, quantity: 7 };
    await done("POST", "allocation/allocate", more, { base: service.base });
    await untilRow(page, "Store", "left", "17");
    await untilLive(page);
    await until(page, "no trouble is left", () => document.getElementById("trouble").textContent === "");
    await until(page, "the history has it", () => document.querySelector("#history tr td:nth-child(2)").textContent === "allocate");
  } finally {
    await page.close();
    await service.stop();
  }
});

test("of more alerts than are listed none is said to be cleared that is open", async () => {
  const product = "Many", count = 130, more = 230;
  await stock(product, RED, 1_000);
  for (let number = 0; number < count; number++) await allocate(product, RED, { channel: `C${number}` }, 1);
  await done("PUT", "watches/many", { organizationId: ORGANIZATION, productId: product, rule: { balanceAtOrBelow: 2, clearAbove: 3 } });
  const own = await open(of(product));
  await until(own, "each row has its alert", (wanted) => document.querySelectorAll("#rows .badge:not([hidden])").length === wanted, count);
  await until(own, "the latest are listed", () => document.querySelectorAll("#alerts .alert").length === 100);
  assert.equal(await own.$eval("#more-alerts", (more) => more.textContent), "30 more are open.");
  await assertAccessible(own);
  await allocate(product, RED, { channel: "C7" }, 9);
  await until(own, "the one that is cleared is said", () => /^Cleared: many: Many, .*C7\.$/.test(document.getElementById("said").textContent));
  assert.equal(await own.$eval("#more-alerts", (more) => more.textContent), "29 more are open.");
  await close(own);

  for (let number = count; number < more; number++) await allocate(product, RED, { channel: `C${number}` }, 1);
  // The page asks for those of other products now and then.
  const openAlerts = async () => JSON.parse((await send("GET", "alerts?state=open&limit=1000")).text).filter((alert) => alert.productId === product);
  while ((await openAlerts()).length < more - 1) await new Promise((resolve) => setTimeout(resolve, 200));
  const other = await open(of("CityBike"));
  await until(other, "there are more than are read", () => document.getElementById("more-alerts").textContent === "More are open than are listed here.");
  assert.equal(await other.$$eval("#alerts .alert", (all) => all.length), 100);
  await allocate(product, RED, { channel: "Latest" }, 1);
  // The page hears of its own product; of others it asks now and then.
  await allocate("CityBike", { ...RED, colorId: "green" }, STORE, 1);
  await until(other, "the new one is said, and nothing else", () => /^Alert many: Many, [^.]*Latest\. [^]*$/.test(document.getElementById("said").textContent));
  assert.doesNotMatch(await other.$eval("#said", (said) => said.textContent), /Cleared/);
  await close(other);
  // Of the product that is shown they are known all the same, however many are later.
  const again = await open(of(product));
  await until(again, "each row has its alert", (wanted) => document.querySelectorAll("#rows .badge:not([hidden])").length === wanted, more);
  await close(again);
});
