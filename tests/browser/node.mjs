// A gRPC-Web client in Node. Usage: node.mjs URL DESCRIPTORS PREFIX

import { readFileSync } from "node:fs";
import { connect, service } from "./clients.mjs";
import { learns, works } from "./suite.mjs";

const [url, descriptors, prefix] = process.argv.slice(2);
const client = await connect(url, service(readFileSync(descriptors)));
await works(client, prefix);
await learns(client, prefix);
console.log("done");
process.exit(0);
