// The browser, a page that is watched, and the service by plain HTTP, as any other client has it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

export const BASE = process.env.CONSOLE_BASE;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/** Longest that anything may take to be seen. */
const WAIT_MS = 15_000;

export const DESKTOP = { width: 1280, height: 860 };
/** As narrow as a phone, without being one: a page that is shown becomes it without being loaded anew. */
export const NARROW = { width: 360, height: 760 };
export const PHONE = { width: 360, height: 760, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

// The sandbox needs rights that root in a container has not; nothing but the service is opened.
export const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--lang=en-GB"] });

/**
 * Opens the console; `page.faults` is all that should not have been, `page.asked` all requests. The page
 * is given a key where it wants one, and `before` runs in it before anything of its own.
 */
export async function open(parameters, { viewport = DESKTOP, scheme = "light", base = BASE, key, before = () => {} } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.faults = [];
  page.asked = [];
  page.on("pageerror", (error) => page.faults.push(`error: ${error.message}`));
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && page.faults.push(`console: ${message.text()} ${message.location().url ?? ""}`));
  // The browser has pictures of its own for what a date is chosen by.
  const isOwn = (url) => url.startsWith(`${base}/`) || url.startsWith("data:");
  page.on("request", (request) => page.asked.push(request));
  page.on("request", (request) => isOwn(request.url()) || page.faults.push(`request to ${request.url()}`));
  page.on("dialog", async (dialog) => {
    if (key && dialog.type() === "prompt") {
      // The browser itself says of the request without one that it failed.
      page.faults = page.faults.filter((fault) => !fault.includes(" 401 "));
      return dialog.accept(key);
    }
    page.faults.push(`dialog: ${dialog.message()}`);
    return dialog.dismiss();
  });
  await page.evaluateOnNewDocument(before);
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(`${base}/console?${new URLSearchParams(parameters)}`);
  return page;
}

/** Closes a page, and fails where there was a fault. */
export async function close(page) {
  assert.deepEqual(page.faults, []);
  await page.close();
}

/** Waits until a function says so in the page; it gets the further arguments. */
export async function until(page, what, isSo, ...given) {
  await page.waitForFunction(isSo, { polling: 50 }, ...given).catch(() => {
    throw new Error(`not in time: ${what}`);
  });
}

/** The accessibility of the page as it is, by the rules of a tool that many use. */
export async function assertAccessible(page) {
  // In the page's own world the policy would not let it in; what is evaluated from here it does.
  await page.evaluate(AXE);
  const { violations } = await page.evaluate((values) => globalThis.axe.run({ runOnly: { type: "tag", values } }), RULES);
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("; ")}`);
  assert.deepEqual(found, []);
}

/** Nothing scrolls sideways, neither the page nor a part of it, and a dialog is seen whole. */
export async function assertFits(page, { width }) {
  const found = await page.evaluate((most) => {
    const scrolls = (element) => element.scrollWidth > element.clientWidth && ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
    const nameOf = ({ tagName, id, className }) => `${tagName}#${id}.${className}`;
    const isOut = ({ left, right }) => left < 0 || right > most;
    return {
      page: Math.max(document.documentElement.scrollWidth - most, 0),
      scrolling: [...document.body.querySelectorAll("*")].filter(scrolls).map(nameOf),
      out: [...document.querySelectorAll("dialog[open]")].filter((dialog) => isOut(dialog.getBoundingClientRect())).map(nameOf),
    };
  }, width);
  assert.deepEqual(found, { page: 0, scrolling: [], out: [] });
}

/** Sends to the API; answers status, headers and text. */
export async function send(method, path, body, { base = BASE, key } = {}) {
  const headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
  const answer = await fetch(`${base}/api/environment/demo/${path}`, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

/** Sends what must be done. */
export async function done(method, path, body, whom) {
  const { status, text } = await send(method, path, body, whom);
  assert.ok(status < 300, `${method} ${path}: ${status} ${text}`);
  return JSON.parse(text);
}
