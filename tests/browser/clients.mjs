// Two stock gRPC-Web clients behind one interface: Connect's, on `fetch`, and Google's, on `XMLHttpRequest`. Neither has a
// word of ours; what a service has is read from its descriptors.

import { create, createFileRegistry, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const SERVICE = "prism.kv.v1.KeyValueService";

/** How a call failed: the gRPC code's number, and the details' bytes as text. */
export class Failed extends Error {
  constructor(code, message, details) {
    super(`code ${code}: ${message}`);
    Object.assign(this, { code, details });
  }
}

/** The key-value service of a `google.protobuf.FileDescriptorSet`. */
export function service(descriptors) {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors)).getService(SERVICE);
}

/** Connect's client. `call(method, request, headers)` answers a message, `stream(...)` an async iterable of them. */
export async function connect(baseUrl, kv) {
  const { ConnectError, createClient } = await import("@connectrpc/connect");
  const { createGrpcWebTransport } = await import("@connectrpc/connect-web");
  const client = createClient(kv, createGrpcWebTransport({ baseUrl }));
  const failed = (error) => {
    const { code, rawMessage, details } = ConnectError.from(error);
    const values = details.map((detail) => new TextDecoder().decode(detail.value));
    return new Failed(code, rawMessage, values.join(" "));
  };
  return {
    name: "connect",
    streams: true,
    async call(method, request, headers) {
      try {
        return await client[method](request, { headers });
      } catch (error) {
        throw failed(error);
      }
    },
    async *stream(method, request, headers) {
      try {
        yield* client[method](request, { headers });
      } catch (error) {
        throw failed(error);
      }
    },
  };
}

/** Google's client, in its form `text` (base64) or `binary`, in which it does not read streams before their end. */
export async function google(baseUrl, kv, form) {
  const { GrpcWebClientBase, MethodDescriptor } = await import("grpc-web");
  const client = new GrpcWebClientBase({ format: form === "text" ? "text" : "binary" });
  const prepared = (name, request) => {
    const { input, output, name: method, methodKind } = kv.method[name];
    const path = `/${SERVICE}/${method}`;
    const descriptor = new MethodDescriptor(
      path,
      methodKind,
      Object,
      Object,
      (message) => toBinary(input, message),
      (bytes) => fromBinary(output, bytes),
    );
    return [baseUrl + path, create(input, request), descriptor];
  };
  const failed = ({ code, message, metadata }) => {
    const details = metadata?.["grpc-status-details-bin"];
    return new Failed(code, message, details ? atob(details) : "");
  };
  return {
    name: `google ${form}`,
    streams: form === "text",
    async call(name, request, headers) {
      const [url, message, descriptor] = prepared(name, request);
      try {
        return await client.unaryCall(url, message, headers, descriptor);
      } catch (error) {
        throw failed(error);
      }
    },
    async *stream(name, request, headers) {
      const [url, message, descriptor] = prepared(name, request);
      const call = client.serverStreaming(url, message, headers, descriptor);
      const queue = [];
      let wake = () => {};
      const push = (item) => {
        queue.push(item);
        wake();
      };
      call.on("data", (value) => push({ value }));
      call.on("error", (error) => push({ error: failed(error) }));
      call.on("end", () => push({ done: true }));
      try {
        for (;;) {
          const item = queue.shift();
          if (item === undefined) {
            await new Promise((resolve) => {
              wake = resolve;
            });
          } else if (item.error) {
            throw item.error;
          } else if (item.done) {
            return;
          } else {
            yield item.value;
          }
        }
      } finally {
        call.cancel();
      }
    },
  };
}
