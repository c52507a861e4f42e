"""A gRPC server in front of the emulator: it counts the documents that pass, holds calls back, and refuses them when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from firelift.firestore.stream import document_in


@dataclass
class Passed:
    """Documents that passed in answer to RunQuery, which only extraction asks."""

    documents: int = 0


Answer = Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]
"""Answers a request in the emulator's place."""


@dataclass
class Gateway:
    """Everything passes, unless something is held or refused, or one of `answers` has another answer."""

    upstream: str
    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By method: `PartitionQuery`, ..."""
    passed: Passed = field(default_factory=Passed)
    _too_old: bool = False
    _held: str | None = None
    _after: int = 0
    _missing: int = 0
    _open: threading.Event = field(default_factory=threading.Event)
    _reached: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self) -> Passed:
        """Counts anew. Streams that are open go on in their old count: whoever reads them is dead or dying."""
        self.passed = Passed()
        return self.passed

    @contextmanager
    def held(self, method: str, after: int = 0, calls: int = 1) -> Iterator[threading.Event]:
        """Calls of this method stall behind so many messages until the block ends; yields the event that so many calls have come so far."""
        self._open.clear()
        self._reached.clear()
        self._held, self._after, self._missing = method, after, calls
        try:
            yield self._reached
        finally:
            self._held = None
            self._open.set()

    @contextmanager
    def without_snapshot(self) -> Iterator[None]:
        """Firestore keeps the read time of every request no longer."""
        self._too_old = True
        try:
            yield
        finally:
            self._too_old = False

    def answer(self, method: str, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        name = method.rpartition("/")[2]
        if self._too_old and name in ("RunQuery", "RunAggregationQuery"):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "The requested snapshot version is too old.")
        if name in self.answers:
            yield from self.answers[name](request, context)
            return
        counted = self.passed
        with grpc.insecure_channel(self.upstream, options=[("grpc.enable_http_proxy", 0)]) as channel:
            stream = channel.unary_stream(method, request_serializer=None, response_deserializer=None)
            try:
                for passed, message in enumerate(stream(request, metadata=[("authorization", "Bearer owner")])):
                    self._wait(name, passed, context)
                    if name == "RunQuery" and document_in(message) is not None:
                        with self._lock:
                            counted.documents += 1
                    yield message
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

    def _wait(self, method: str, passed: int, context: grpc.ServicerContext) -> None:
        if method == self._held and passed >= self._after:
            if passed == self._after:
                self._come()
            while not self._open.wait(0.05) and context.is_active():
                pass

    def _come(self) -> None:
        with self._lock:
            self._missing -= 1
            if not self._missing:
                self._reached.set()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_stream_rpc_method_handler(lambda request, context: self._gateway.answer(call.method, request, context))


@contextmanager
def gateway(upstream: str, answers: dict[str, Answer] | None = None) -> Iterator[Gateway]:
    made = Gateway(upstream, answers=answers or {})
    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((_Handler(made),))
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield made
    finally:
        server.stop(None)
