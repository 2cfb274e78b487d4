"""A key-value client of Prism Edge: typed calls, errors, deadlines, retries, and a watch that is opened again.

From the repository's folder:

    pip install -r examples/python/requirements.txt
    mkdir -p stubs
    python -m grpc_tools.protoc -I proto --python_out=stubs --grpc_python_out=stubs $(cd proto && find prism -name '*.proto')
    PYTHONPATH=stubs python examples/python/kv.py

Without a command it shows everything once; `--help` lists the commands.
"""

import argparse
import json
import sys
import threading
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prism.kv.v1 import kv_pb2, kv_pb2_grpc

# Reads are made again when what serves them is away for a moment. `Set` is not in the list: of a call that got no
# answer nobody knows whether it was carried out, and its condition would fail the second time. All pauses together stay below a call's time, or its caller would hear of the deadline
# and not of what is wrong.
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": "prism.kv.v1.KeyValueService", "method": method}
                for method in ("Get", "Exists", "MultiGet", "Scan", "Watch")
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.5s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}

# A stream without a deadline waits for good when its server vanishes without a word. This long, then a new one.
WATCH_SECONDS = 600
# Between two tries to open a watch again.
PAUSE_SECONDS = 1


class Client:
    """The keys of one namespace."""

    def __init__(self, channel, namespace, timeout):
        self.stub = kv_pb2_grpc.KeyValueServiceStub(channel)
        # What every call gets: where it goes, and how long it may take, all of its attempts together.
        self.call = {"metadata": [("x-prism-namespace", namespace)], "timeout": timeout}

    def set(self, key, value):
        return self.stub.Set(kv_pb2.SetRequest(key=key, value=value), **self.call).applied

    def get(self, key):
        """The value, or None: an absent key is no error."""
        answer = self.stub.Get(kv_pb2.GetRequest(key=key), **self.call)
        return answer.value if answer.found else None

    def delete(self, *keys):
        return self.stub.Delete(kv_pb2.DeleteRequest(keys=keys), **self.call).deleted

    def watch(self, prefix, timeout):
        """What happens to keys with this prefix from now on."""
        events = self.stub.Watch(kv_pb2.WatchRequest(prefix=prefix), **{**self.call, "timeout": timeout})
        # It is open when its headers are here: whatever is written from now on is reported.
        events.initial_metadata()
        return events

    def follow(self, prefix):
        """The same for good. What happens between two streams is not reported: read again what must not be missed."""
        while True:
            try:
                yield from self.watch(prefix, WATCH_SECONDS)
            except grpc.RpcError as error:
                # The proxy or the plugin is replaced or away (RELOADED, DRAINING, PLUGIN_UNAVAILABLE), or the stream's
                # time is over. Anything else would be the same again.
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                print(f"watch ended, opening it again: {explain(error)}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_SECONDS)


def explain(error):
    """The code and the message, and what the details say of where it went wrong and when to call again."""
    said = f"{error.code().name}: {error.details()}"
    status = rpc_status.from_call(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details if status else []:
        # Each takes its own; they come in any order.
        detail.Unpack(info) or detail.Unpack(retry)
    if info.reason:
        places = [f"{name} {info.metadata[name]}" for name in ("plugin", "namespace") if name in info.metadata]
        said += f" ({', '.join([info.reason, *places])})"
    if retry.HasField("retry_delay"):
        said += f", may be called again after {retry.retry_delay.ToTimedelta().total_seconds():g}s"
    return said


def text(value):
    return "no such key" if value is None else value.decode(errors="replace")


def show(event):
    print(kv_pb2.WatchEvent.Kind.Name(event.kind), event.key, text(event.value), flush=True)


def tour(client):
    """Everything once."""
    print("set: applied" if client.set("tour/greeting", b"hello") else "set: not applied")
    print("get:", text(client.get("tour/greeting")))
    print("get an absent key:", text(client.get("tour/absent")))

    # A watch in the background sees what the foreground does.
    events = client.watch("tour/", timeout=60)
    watcher = threading.Thread(target=lambda: [show(next(events)) for _ in range(2)])
    watcher.start()
    client.set("tour/greeting", b"hello again")
    client.delete("tour/greeting")
    watcher.join()
    events.cancel()

    try:
        client.set("", b"no key")
    except grpc.RpcError as error:
        print("error:", explain(error))

    try:
        for event in client.watch("tour/", timeout=0.5):
            show(event)
    except grpc.RpcError as error:
        print("deadline:", error.code().name)


def main():
    parser = argparse.ArgumentParser(description="A key-value client of Prism Edge.")
    parser.add_argument("--address", default="127.0.0.1:50051", help="of the proxy (%(default)s)")
    parser.add_argument("--namespace", default="demo", help="whose keys (%(default)s)")
    parser.add_argument("--timeout", type=float, default=5, help="seconds a call may take (%(default)s)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("tour", help="show everything once (the default)")
    command = commands.add_parser("set", help="store a value")
    command.add_argument("key")
    command.add_argument("value")
    commands.add_parser("get", help="print a value").add_argument("key")
    commands.add_parser("watch", help="print what happens, until Ctrl-C").add_argument("prefix")
    options = parser.parse_args()

    with grpc.insecure_channel(
        options.address, options=[("grpc.service_config", json.dumps(SERVICE_CONFIG))]
    ) as channel:
        client = Client(channel, options.namespace, options.timeout)
        match options.command:
            case "set":
                print("applied" if client.set(options.key, options.value.encode()) else "not applied")
            case "get":
                value = client.get(options.key)
                if value is None:
                    sys.exit(text(value))
                print(text(value))
            case "watch":
                for event in client.follow(options.prefix):
                    show(event)
            case _:
                tour(client)


if __name__ == "__main__":
    try:
        main()
    except grpc.RpcError as error:
        sys.exit(explain(error))
    except KeyboardInterrupt:
        pass
