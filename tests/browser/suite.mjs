// What every gRPC-Web client does with a key-value namespace, and how it learns that a call was refused.

import { Failed } from "./clients.mjs";

const DEMO = { "x-prism-namespace": "demo" };
const bytes = (text) => new TextEncoder().encode(text);

function check(holds, what) {
  if (!holds) {
    throw new Error(what);
  }
}

/** The call must fail with this code, and its details must name this reason. */
async function refused(call, code, reason) {
  let answer;
  try {
    answer = await call();
  } catch (error) {
    check(error instanceof Failed, `${error.stack}`);
    check(error.code === code, `code ${code} expected: ${error.message}`);
    check(reason === undefined || error.details.includes(reason), `${reason} expected: ${error.details}`);
    return;
  }
  throw new Error(`a refusal with ${code} expected, not ${JSON.stringify(answer)}`);
}

/** Sets, gets and, where the client reads streams, watches keys that begin with `prefix`. */
export async function works(client, prefix) {
  const key = `${prefix}greeting`;
  const value = bytes("hello, \u0000wörld");
  check((await client.call("set", { key, value }, DEMO)).applied, "set");
  const found = await client.call("get", { key }, DEMO);
  check(found.found && `${found.value}` === `${value}`, "what was set is not what is there");
  check(!(await client.call("get", { key: `${prefix}absent` }, DEMO)).found, "an absent key");

  // Longer than one piece of anything, and no multiple of what base64 groups.
  const large = new Uint8Array(300_001).map((_, at) => at * 7 + (at >> 8));
  check((await client.call("set", { key: `${prefix}large`, value: large }, DEMO)).applied, "a large value");
  const back = await client.call("get", { key: `${prefix}large` }, DEMO);
  check(back.value.length === large.length && back.value.every((byte, at) => byte === large[at]), "it changed");

  if (client.streams) {
    await watches(client, prefix);
  }
}

async function watches(client, prefix) {
  const write = (name) => client.call("set", { key: `${prefix}w/${name}`, value: bytes(name) }, DEMO);
  const events = client.stream("watch", { prefix: `${prefix}w/` }, DEMO)[Symbol.asyncIterator]();
  const first = events.next();
  // Not every client tells when a stream is open: so it is written until it is seen.
  let seen;
  first.finally(() => {
    seen = true;
  });
  while (!seen) {
    await write("a");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  check((await first).value.key === `${prefix}w/a`, "watch saw something else");
  await write("b");
  let event;
  do {
    event = (await events.next()).value;
  } while (event.key === `${prefix}w/a`);
  check(event.key === `${prefix}w/b` && `${event.value}` === `${bytes("b")}`, "watch saw something else");
  await events.return();
}

/** Calls that fail, each in another place: the client must learn the code of each. */
export async function learns(client, prefix) {
  const get = (headers, request = { key: prefix }) => () => client.call("get", request, headers);
  // Before the namespace is known, by the plugin, by the route's absence, and by the size.
  await refused(get({ "x-prism-namespace": "nobody" }), 5, "UNKNOWN_NAMESPACE");
  await refused(get({}), 5, "MISSING_NAMESPACE");
  await refused(get({ "x-prism-namespace": "-" }), 3, "INVALID_NAMESPACE");
  await refused(get(DEMO, { key: "" }), 3, "OPERATION_FAILED");
  await refused(get({ ...DEMO, "grpc-timeout": "soon" }), 3, "MALFORMED_TIMEOUT");
  const value = new Uint8Array(2 << 20);
  await refused(() => client.call("set", { key: prefix, value }, DEMO), 8, "MESSAGE_TOO_LARGE");
  if (client.streams) {
    // When the headers are long out.
    const late = async () => {
      for await (const event of client.stream("watch", { prefix }, { ...DEMO, "grpc-timeout": "200m" })) {
        throw new Error(`an event that nobody made: ${event.key}`);
      }
    };
    await refused(late, 4, "DEADLINE_EXCEEDED");
  }
}

/** A page of an origin that may not call learns nothing at all. */
export async function isKeptOut(client, prefix) {
  for (const headers of [DEMO, { "x-prism-namespace": "nobody" }, {}]) {
    let answer;
    try {
      answer = await client.call("set", { key: prefix, value: bytes("x") }, headers);
    } catch (error) {
      check(error instanceof Failed, `${error.stack}`);
      check(![3, 5].includes(error.code) && !error.details, `it read a refusal: ${error.message}`);
      continue;
    }
    throw new Error(`it was let in: ${JSON.stringify(answer)}`);
  }
}
