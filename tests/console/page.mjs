// What a hand does in the page, and what an eye sees of it.

import assert from "node:assert/strict";
import { until } from "./browser.mjs";

/** A row's figures as they stand in the page, found by the label and kind of its place. */
export const figuresOf = (page, label) => page.evaluate((wanted) => {
  const row = [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === wanted);
  if (!row) return null;
  const text = (name) => row.querySelector(`td.${name}`).textContent;
  const part = (name) => row.querySelector(`.bar .${name}`).getBoundingClientRect().width;
  return { left: text("left"), consumed: text("consumed"), allocated: text("allocated"), bars: { consumed: part("consumed"), left: part("left") } };
}, label);

export const untilRow = (page, label, name, text) =>
  until(page, `${name} of ${label} is ${text}`, (wanted, column, value) => {
    const row = [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === wanted);
    return row?.querySelector(`td.${column}`).textContent === value;
  }, label, name, text);

export const focused = (page) => page.evaluate(() => document.activeElement.querySelector?.(".label")?.textContent ?? document.activeElement.textContent.trim());
export const untilOpen = (page, id) => until(page, `the dialog ${id} is open`, (dialog) => document.getElementById(dialog).open, id);
export const untilLive = (page) => until(page, "it is live", () => document.getElementById("live").dataset.state === "live");
export const press = async (page, ...keys) => {
  for (const key of keys) await page.keyboard.press(key);
};
/** Tabs until a button or field with this text or name has the focus. */
export async function tabTo(page, wanted) {
  for (let tries = 0; tries < 40; tries++) {
    if (await page.evaluate((name) => [document.activeElement.textContent.trim(), document.activeElement.name].includes(name), wanted)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${wanted} is not reached by the keyboard`);
}
export const fill = async (page, name, text) => {
  await page.$eval(`#command [name="${name}"]`, (input) => input.select());
  await page.type(`#command [name="${name}"]`, text);
};

/** Opens the details of a row. */
export async function clickRow(page, label) {
  await page.evaluate((wanted) => [...document.querySelectorAll("#rows tr")].find((row) => row.querySelector(".label").textContent === wanted).click(), label);
  await untilOpen(page, "details");
}

/** Chooses one of the actions of the details. */
export const act = (page, name) => page.evaluate((wanted) => [...document.querySelectorAll("#details-actions button")].find((button) => button.textContent === wanted).click(), name);
