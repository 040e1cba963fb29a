// Serves one of emulate's imitations on loopback, such as `stripe` or `github`, to judge ours by.
//
//     node emulate_server.mjs NODE_MODULES SERVICE [SEED]
//
// SEED is what it holds in addition, as JSON. The first line on stdout is `listening on http://127.0.0.1:PORT`, at a free port. The server ends when its standard input
// does, so it never outlives the process that started it.

import { once } from "node:events";
import { Server } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, service, seed] = process.argv.slice(2);
const { createEmulator } = await import(pathToFileURL(join(modules, "emulate/dist/api.js")));

// It would otherwise listen on all addresses of the machine, and on one port.
let server;
const { listen } = Server.prototype;
Server.prototype.listen = function (...given) {
  server = this;
  return listen.call(this, 0, "127.0.0.1", given.find((one) => typeof one === "function"));
};

const emulator = await createEmulator({ service, seed: { [service]: JSON.parse(seed ?? "null") ?? undefined } });
if (!server.listening) await once(server, "listening");
console.log(`listening on http://127.0.0.1:${server.address().port}`);
process.stdin.resume();
await once(process.stdin, "end");
await emulator.close();
