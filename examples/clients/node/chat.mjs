// Asks a model over the Dynabus bus (proto/03-CLIENT.md). usage: node chat.mjs chat|stream|cancel MODEL TEXT
// The router is at DYNABUS_BUS (tcp://127.0.0.1:7400); DYNABUS_API_KEY is sent along. For an encrypted connection:
// DYNABUS_PUBLIC_KEY, DYNABUS_SECRET_KEY and DYNABUS_SERVER, 40 characters each.

import { randomBytes } from "node:crypto";
import { decode, encode } from "@msgpack/msgpack";
import { Dealer } from "zeromq";

const WINDOW = 65536; // bytes that may come before more is granted
const env = process.env;

class Refused extends Error {}

function send(socket, kind, id, members, body) {
  const header = encode({ v: [1, 1], kind, id, ...members });
  return socket.send(body ? [header, body] : [header]);
}

// Header and body of each CHUNK, and of the END.
async function* answer(socket, id) {
  let taken = 0;
  let expected = 0;
  for await (const [head, body = Buffer.alloc(0)] of socket) {
    const header = decode(head);
    const seq = header.seq ?? 0;
    if (header.kind === "goodbye" && header.reason !== "drain") {
      throw new Refused(`the router told us to go: ${header.reason}`);
    }
    if (!["chunk", "end"].includes(header.kind) || Buffer.compare(header.id, id) !== 0) {
      continue;
    }
    if (header.kind === "end" && header.outcome !== "ok") {
      throw new Refused(header.err_text || header.error || header.outcome);
    }
    if (header.kind === "chunk" && seq !== 0 && seq !== expected) {
      throw new Refused("a piece of the answer is missing");
    }
    yield [header, body];
    if (header.kind === "end") {
      return;
    }
    expected = seq + 1;
    taken += body.length;
    if (taken >= WINDOW / 2) {
      await send(socket, "credit", id, { credit: taken });
      taken = 0;
    }
  }
  throw new Refused("no answer within a minute");
}

// The text of an answer, which may start over until its end: with a CHUNK of seq 0, or an END with a body.
async function plain(pieces) {
  let held = [];
  for await (const [header, body] of pieces) {
    if (!header.seq && (header.kind === "chunk" || body.length > 0)) {
      held = [];
    }
    held.push(body);
  }
  return JSON.parse(Buffer.concat(held).toString()).choices[0].message.content;
}

// The text of a stream as it comes. An event may be spread over CHUNKs, and so may a character.
async function* words(pieces) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const [, body] of pieces) {
    const events = (rest + decoder.decode(body, { stream: true })).split("\n\n");
    rest = events.pop();
    for (const event of events.filter((text) => text.startsWith("data: {"))) {
      for (const choice of JSON.parse(event.slice(6)).choices) {
        yield choice.delta.content ?? "";
      }
    }
  }
}

async function main(mode, model, text) {
  const socket = new Dealer({ heartbeatInterval: 1000, linger: 500, receiveTimeout: 60000, receiveHighWaterMark: 0 });
  if (env.DYNABUS_SERVER) {
    socket.curvePublicKey = env.DYNABUS_PUBLIC_KEY;
    socket.curveSecretKey = env.DYNABUS_SECRET_KEY;
    socket.curveServerKey = env.DYNABUS_SERVER;
  }
  socket.connect(env.DYNABUS_BUS ?? "tcp://127.0.0.1:7400");
  const id = randomBytes(16);
  const stream = mode !== "chat";
  const body = JSON.stringify({ model, stream, messages: [{ role: "user", content: text }] });
  const cred = Buffer.from(env.DYNABUS_API_KEY ?? "");
  await send(socket, "request", id, { surface: "chat", stream, dialect: "openai_chat", cred, credit: WINDOW }, body);
  try {
    if (!stream) {
      console.log(await plain(answer(socket, id)));
      return;
    }
    let cancelling = mode === "cancel";
    for await (const word of words(answer(socket, id))) {
      process.stdout.write(word);
      if (cancelling && word) {
        await send(socket, "cancel", id, { reason: "user" }); // its END says `cancelled`
        cancelling = false;
      }
    }
    console.log();
  } finally {
    socket.close();
  }
}

const [mode, ...rest] = process.argv.slice(2);
if (rest.length !== 2 || !["chat", "stream", "cancel"].includes(mode)) {
  console.error("usage: node chat.mjs chat|stream|cancel MODEL TEXT");
  process.exit(2);
}
try {
  await main(mode, ...rest);
} catch (error) {
  console.error(error instanceof Refused || error.code === "EAGAIN" ? error.message : error);
  process.exitCode = 1;
}
