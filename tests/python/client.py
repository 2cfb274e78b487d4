"""A stock grpcio client of prism.data.v1: sets, gets, and sees a change. Usage: client.py PORT PREFIX"""

import sys

import grpc
from google.protobuf import any_pb2
from prism.data.v1 import data_pb2_grpc
from prism.kv.v1 import kv_pb2
from prism.plugin import plugin_pb2

NAMESPACE = [("x-prism-namespace", "demo")]
# Only keeps a broken run from hanging.
GUARD_SECONDS = 30


def pack(message):
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def execute(stub, operation, parameters, result):
    request = plugin_pb2.ExecuteRequest(operation=operation, typed_params=pack(parameters))
    answer = stub.Execute(request, metadata=NAMESPACE, timeout=GUARD_SECONDS)
    assert answer.success, answer
    assert answer.typed_result.Unpack(result), answer
    return result


def main(port, prefix):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = data_pb2_grpc.DataServiceStub(channel)
        key = prefix + "greeting"

        first = plugin_pb2.StreamRequest(
            operation="watch", typed_params=pack(kv_pb2.WatchRequest(prefix=prefix))
        )
        events = stub.ExecuteStream(iter([first]), metadata=NAMESPACE, timeout=GUARD_SECONDS)
        # What happens after the response headers is reported.
        events.initial_metadata()

        applied = execute(
            stub, "set", kv_pb2.SetRequest(key=key, value=b"hello"), kv_pb2.SetResponse()
        )
        assert applied.applied, applied
        found = execute(stub, "get", kv_pb2.GetRequest(key=key), kv_pb2.GetResponse())
        assert found.found and found.value == b"hello", found
        absent = execute(
            stub, "get", kv_pb2.GetRequest(key=prefix + "absent"), kv_pb2.GetResponse()
        )
        assert not absent.found, absent

        event = kv_pb2.WatchEvent()
        assert next(events).typed_result.Unpack(event)
        assert (event.kind, event.key, event.value) == (kv_pb2.WatchEvent.PUT, key, b"hello"), event
        events.cancel()

        try:
            stub.Execute(
                plugin_pb2.ExecuteRequest(operation="get"),
                metadata=[("x-prism-namespace", "nobody")],
                timeout=GUARD_SECONDS,
            )
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
        else:
            raise AssertionError("an unknown namespace answered")
    print("done")


main(sys.argv[1], sys.argv[2])
