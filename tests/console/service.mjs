// A service of a test's own, to be stopped and started again.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** Makes the first key of the environment, before there is a service. */
export function makeKey(directory) {
  const run = (...words) => execFileSync(process.env.CONSOLE_PROGRAM, [...words, "--data-dir", directory], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  run("migrate");
  return run("key", "create", "--environment", "demo", "--role", "admin", "--name", "root").trim();
}

/** Starts the program over a directory; `stop` ends it in order, `signal` sends it another. */
export async function start(directory, { port = 0, flags = [] } = {}) {
  const program = spawn(process.env.CONSOLE_PROGRAM, ["serve", "--demo", "--listen", `127.0.0.1:${port}`, "--data-dir", directory, ...flags], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(createInterface({ input: program.stdout }), "line");
  const base = line.replace("listening on ", "");
  const stop = async () => {
    program.kill("SIGTERM");
    await once(program, "exit");
  };
  return { base, port: new URL(base).port, stop, signal: (name) => program.kill(name) };
}
