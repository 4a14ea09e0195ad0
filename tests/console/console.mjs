// What the console promises, each as a test of its own against one service with its demo.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { BASE, DESKTOP, PHONE, assertAccessible, browser, close, done, open, send, until } from "./browser.mjs";
import { start } from "./service.mjs";
import { ORGANIZATION, RED, REGULAR, STORE, VIP, allocate, consume, left, prepare, stock } from "./stock.mjs";

const PRODUCT = "GravelBike";
const HOSTILE = `<img src=x onerror="window.harmed=1"> '"&</script>`;
const of = (product, more = {}) => ({ environment: "demo", organizationId: ORGANIZATION, productId: product, ...more });

after(() => browser.close());

/** A row's figures as they stand in the page, found by the label and kind of its place. */
const figuresOf = (page, label) => page.evaluate((wanted) => {
  const row = [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === wanted);
  if (!row) return null;
  const text = (name) => row.querySelector(`td.${name}`).textContent;
  const part = (name) => row.querySelector(`.bar .${name}`).getBoundingClientRect().width;
  return { left: text("left"), consumed: text("consumed"), allocated: text("allocated"), bars: { consumed: part("consumed"), left: part("left") } };
}, label);

const untilRow = (page, label, name, text) =>
  until(page, `${name} of ${label} is ${text}`, (wanted, column, value) => {
    const row = [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === wanted);
    return row?.querySelector(`td.${column}`).textContent === value;
  }, label, name, text);

const focused = (page) => page.evaluate(() => document.activeElement.querySelector?.(".label")?.textContent ?? document.activeElement.textContent.trim());
const untilOpen = (page, id) => until(page, `the dialog ${id} is open`, (dialog) => document.getElementById(dialog).open, id);
const untilLive = (page) => until(page, "it is live", () => document.getElementById("live").dataset.state === "live");
const press = async (page, ...keys) => {
  for (const key of keys) await page.keyboard.press(key);
};
/** Tabs until a button or field with this text or name has the focus. */
async function tabTo(page, wanted) {
  for (let tries = 0; tries < 40; tries++) {
    if (await page.evaluate((name) => [document.activeElement.textContent.trim(), document.activeElement.name].includes(name), wanted)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${wanted} is not reached by the keyboard`);
}
const fill = async (page, name, text) => {
  await page.$eval(`#command [name="${name}"]`, (input) => input.select());
  await page.type(`#command [name="${name}"]`, text);
};

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
  await until(page, "the rate of the last hour is shown", () => Number(document.getElementById("total-rate").textContent) > 100);
  await until(page, "the sparkline is drawn", () => document.querySelector("#spark-rate .line").getAttribute("d").startsWith("M"));
  await until(page, "it is told when the stock runs out", () => /^in \d|^in under/.test([...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === "VIP").querySelector(".runsout").textContent));

  await until(page, "the alert is listed", () => document.querySelector("#alerts .alert strong")?.textContent === "low");
  await until(page, "the alert is at its row", () => [...document.querySelectorAll("#rows tr")].some((row) => row.querySelector(".label").textContent === "VIP" && !row.querySelector(".badge").hidden));
  await until(page, "the alert is said", () => document.getElementById("said").textContent.includes("Alert low"));
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
  await press(page, "ArrowLeft");
  assert.equal(await focused(page), "green");
  await press(page, "End", "Home", "ArrowDown", "ArrowDown", "Enter");
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
  await page.evaluate(() => [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === "Store").click());
  await untilOpen(page, "details");
  await page.evaluate(() => [...document.querySelectorAll("#details-actions button")].find((button) => button.textContent === "Unallocate…").click());
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
  await page.setViewport(PHONE);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width);
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
  await until(page, "the step before is back", () => document.getElementById("history").children.length > 10);
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

test("it is accessible in light, in dark and on a phone, where nothing scrolls sideways", async () => {
  for (const [viewport, scheme] of [[DESKTOP, "light"], [DESKTOP, "dark"], [PHONE, "light"], [PHONE, "dark"]]) {
    const page = await open(of(PRODUCT), { viewport, scheme });
    await untilRow(page, "VIP", "left", "42");
    await until(page, "the history is shown", () => document.getElementById("history").children.length > 10);
    const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok((await wide()) <= viewport.width, `${await wide()} px wide of ${viewport.width}`);
    await assertAccessible(page);
    await page.evaluate(() => [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === "VIP").click());
    await untilOpen(page, "details");
    if (viewport === DESKTOP) await assertAccessible(page);
    await page.evaluate(() => [...document.querySelectorAll("#details-actions button")].find((button) => button.textContent === "Reallocate to it…").click());
    await untilOpen(page, "command");
    assert.ok(await page.$eval("#command", (dialog) => dialog.scrollWidth <= dialog.clientWidth), "the dialog does not scroll sideways");
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
    service = await start(directory, service.port);
    const more = { id: "while-away", organizationId: ORGANIZATION, productId: "CityBike", dimensions: { ...RED, colorId: "green" }, groups: STORE, quantity: 7 };
    await done("POST", "allocation/allocate", more, service.base);
    await untilRow(page, "Store", "left", "17");
    await untilLive(page);
    await until(page, "no trouble is left", () => document.getElementById("trouble").textContent === "");
    await until(page, "the history has it", () => document.querySelector("#history tr td:nth-child(2)").textContent === "allocate");
  } finally {
    await page.close();
    await service.stop();
  }
});
