"""Lets an emulator answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc

from firelift.local.firestore_server.calls import SEND_NOW, SERVICE, Call, Refused, Responses

# Each call under way has a thread of its own.
MOST_CALLS = 64
_DIRECT = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class EmulatorAnswers:
    """Answers of the emulator at `host:port`, message by message as they come."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._threads = ThreadPoolExecutor(MOST_CALLS, thread_name_prefix="firestore-server")

    async def __call__(self, call: Call) -> Responses:
        run = asyncio.get_running_loop().run_in_executor
        with closing(grpc.insecure_channel(self._upstream, options=_DIRECT)) as channel:
            ask = channel.unary_stream(SERVICE + call.method, request_serializer=None, response_deserializer=None)
            responses = ask(call.body, metadata=[("authorization", "Bearer owner")])
            try:
                while (response := await run(self._threads, _next, responses)) is not None:
                    yield response
                    yield SEND_NOW
            except grpc.RpcError as error:
                raise Refused(error.code(), error.details() or "") from error
            finally:
                responses.cancel()


def _next(responses: Iterator[bytes]) -> bytes | None:
    return next(responses, None)
