// The pictures of the README: the console behind an hour of a sale. The service's clock is made to run
// 25 times as fast, from an hour ago to about now, so that it takes two minutes.

import { once } from "node:events";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const MINUTES = 54, SPEED = 25, VIPS = 109;
const directory = process.env.CONSOLE_PICTURES;
const program = spawn("faketime", ["-m", "-f", `-${MINUTES}m x${SPEED}`, process.env.CONSOLE_PROGRAM, "serve", "--demo", "--listen", "127.0.0.1:0", "--data-dir", `${process.env.HOME}/hour`], {
  env: { ...process.env, FAKETIME_DONT_FAKE_MONOTONIC: "1" },
  stdio: ["ignore", "pipe", "ignore"],
  // faketime starts another process: both are ended as a group.
  detached: true,
});
const began = Date.now();
const [line] = await once(createInterface({ input: program.stdout }), "line");
process.env.CONSOLE_BASE = line.replace("listening on ", "");
const { DESKTOP, PHONE, browser, done, open, until } = await import("./browser.mjs");
const { ORGANIZATION, RED, REGULAR, STORE, VIP, stockBy } = await import("./stock.mjs");
const { consume, prepare } = stockBy(done);

const PRODUCT = "GravelBike", LONDON = { channel: "Web", region: "London" };
const BLACK = { ...RED, colorId: "black" }, SOUTH = { siteId: "2", locationId: "21", colorId: "red" };
let orders = 1000, vips = 0;

/** One order, unless the group has no more. */
const order = (place, groups, quantity, actor = "web-shop") => consume(PRODUCT, place, groups, quantity, { reference: `SO-${++orders}/1`, actor }).catch(() => {});
async function orderOfVips(wanted) {
  const quantity = Math.min(wanted, VIPS - vips);
  if (quantity > 0) await order(RED, VIP, quantity);
  vips += quantity;
}
/** How much of the hour is over. */
const over = () => ((Date.now() - began) * (SPEED - 1)) / (MINUTES * 60_000);

await prepare(PRODUCT);
await done("PUT", "watches/low", { organizationId: ORGANIZATION, productId: PRODUCT, groups: VIP, rule: { balanceAtOrBelow: 12, clearAbove: 20 } });
while (over() < 0.98) {
  await orderOfVips(Math.round(0.7 + over() + 0.6 * Math.sin(over() * 21) + Math.random() / 2));
  if (Math.random() < 0.35) await order(RED, REGULAR, 1);
  if (Math.random() < 0.2) await order(RED, STORE, 1, "till-4");
  if (Math.random() < 0.25) await order(BLACK, LONDON, 1);
  if (Math.random() < 0.12) await order(SOUTH, { channel: "Partner" }, 1, "partner-portal");
  await new Promise((resolve) => setTimeout(resolve, 1_100));
}
await orderOfVips(VIPS);

for (const [name, viewport, scheme] of [["light", DESKTOP, "light"], ["dark", DESKTOP, "dark"], ["phone", PHONE, "light"]]) {
  const page = await open({ environment: "demo", organizationId: ORGANIZATION, productId: PRODUCT }, { viewport, scheme });
  await until(page, "the alert is listed", () => document.querySelector("#alerts .alert"));
  await until(page, "it is told when the stock runs out", () => /^in/.test(document.getElementById("total-runsout").textContent));
  await page.evaluate(() => Promise.all(document.getAnimations().map((animation) => animation.finished)));
  await page.screenshot({ path: `${directory}/console-${name}.png` });
  await page.close();
}
await browser.close();
process.kill(-program.pid, "SIGTERM");
await once(program.stdout, "close");
