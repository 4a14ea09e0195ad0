// A service of a test's own, to be stopped and started again.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** Starts the program over a directory; `stop` ends it in order. */
export async function start(directory, port = 0) {
  const program = spawn(process.env.CONSOLE_PROGRAM, ["serve", "--demo", "--listen", `127.0.0.1:${port}`, "--data-dir", directory], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = await once(createInterface({ input: program.stdout }), "line");
  const base = line.replace("listening on ", "");
  const stop = async () => {
    program.kill("SIGTERM");
    await once(program, "exit");
  };
  return { base, port: new URL(base).port, stop };
}
