"""A gRPC server in front of the emulator that passes everything on, but ends or breaks its response streams."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc


@dataclass
class Breaking:
    """After `after` messages a stream ends: with `code`, or, with None, as if it were complete; `times` times, then no more."""

    upstream: str
    code: grpc.StatusCode | None
    after: int
    times: int
    address: str = ""
    streams: list[int] = field(default_factory=list)
    """How many messages each RunQuery stream has passed on."""

    def answer(self, method: str, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        with grpc.insecure_channel(self.upstream) as channel:
            stream = channel.unary_stream(method, request_serializer=None, response_deserializer=None)
            breaks = method.endswith("/RunQuery") and self.times > 0
            if breaks:
                self.times -= 1
                self.streams.append(0)
            for passed, message in enumerate(stream(request, metadata=[("authorization", "Bearer owner")])):
                if breaks and passed >= self.after:
                    if self.code is not None:
                        context.abort(self.code, "broken on purpose")
                    return
                if breaks:
                    self.streams[-1] += 1
                yield message


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, breaking: Breaking) -> None:
        self._breaking = breaking

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_stream_rpc_method_handler(lambda request, context: self._breaking.answer(call.method, request, context))


@contextmanager
def breaking(upstream: str, code: grpc.StatusCode | None, after: int, times: int) -> Iterator[Breaking]:
    server = grpc.server(ThreadPoolExecutor(8), handlers=[])
    broken = Breaking(upstream, code, after, times)
    server.add_generic_rpc_handlers((_Handler(broken),))
    broken.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield broken
    finally:
        server.stop(None)
