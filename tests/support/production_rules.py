"""What production answers and the emulator does not: PartitionQuery, in pages that have no order among one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import grpc

from firelift.firestore.lazy_protobuf import types
from tests.support.gateway import Answer

PAGES = 3
Bent = Callable[[str, list[str]], list[str]]
"""Makes other cursors of those that are right; hears the path that all documents' names begin with, too."""

_Request: Any = types.PartitionQueryRequest.pb()
_Response: Any = types.PartitionQueryResponse.pb()
_RunRequest: Any = types.RunQueryRequest.pb()
_RunResponse: Any = types.RunQueryResponse.pb()


def partitions(upstream: str, bend: Bent = lambda _, cursors: cursors) -> Answer:
    """Cursors that cut the keys of the collection group evenly, dealt out to pages, one of which is empty."""

    def answer(given: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = _Request.FromString(given)
        names = _names(upstream, request)
        many = min(request.partition_count, max(0, len(names) - 1))
        cursors = bend(request.parent, [names[len(names) * part // (many + 1)] for part in range(1, many + 1)])
        # Each call draws the same order, as one scan of the server's would.
        Random(many).shuffle(cursors)
        page = int(request.page_token or 0)
        response = _Response(next_page_token=str(page + 1) if page < PAGES else "")
        for cursor in cursors[page - 1 :: PAGES] if page else ():
            response.partitions.add(before=True).values.add(reference_value=cursor)
        yield response.SerializeToString()

    return answer


def _names(upstream: str, request: Any) -> list[str]:
    query = types.StructuredQuery.pb(types.StructuredQuery())
    query.CopyFrom(request.structured_query)
    query.select.fields.add(field_path="__name__")
    asked = _RunRequest(parent=request.parent, structured_query=query, read_time=request.read_time)
    with grpc.insecure_channel(upstream, options=[("grpc.enable_http_proxy", 0)]) as channel:
        ask = channel.unary_stream("/google.firestore.v1.Firestore/RunQuery", request_serializer=None, response_deserializer=None)
        answers = ask(asked.SerializeToString(), metadata=[("authorization", "Bearer owner")])
        return [name for each in answers if (name := _RunResponse.FromString(each).document.name)]


def without(upstream: str, path: str) -> Answer:
    """Answers RunQuery as the emulator does, but for the fields of one document, whose keys come with the others: a stream that lost it."""

    def answer(given: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = _RunRequest.FromString(given)
        with grpc.insecure_channel(upstream, options=[("grpc.enable_http_proxy", 0)]) as channel:
            ask = channel.unary_stream("/google.firestore.v1.Firestore/RunQuery", request_serializer=None, response_deserializer=None)
            for each in ask(given, metadata=[("authorization", "Bearer owner")]):
                is_lost = _RunResponse.FromString(each).document.name.endswith(f"/documents/{path}")
                if request.structured_query.select.fields or not is_lost:
                    yield each

    return answer


def refusing(code: grpc.StatusCode) -> Answer:
    def answer(given: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.abort(code, "refused on purpose")
        yield b""

    return answer
