"""PartitionQuery, which the emulator does not have."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, Final

import grpc

from firelift.firestore.lazy_protobuf import types
from firelift.local.firestore_server.answers import path_below
from firelift.local.firestore_server.calls import Answer, Call, Refused, Responses

REFERENCE: Final = "https://firebase.google.com/docs/firestore/reference/rpc/google.firestore.v1#partitionqueryrequest"

_Response: Any = types.PartitionQueryResponse.pb()
_RunRequest: Any = types.RunQueryRequest.pb()
_RunResponse: Any = types.RunQueryResponse.pb()


@dataclass(frozen=True)
class PartitionPages:
    """Cursors of collection groups only, fewer than asked for, in pages without order between them, one of which is empty.

    "There are no ordering guarantees between sets of results."
    """

    documented: ClassVar[str] = REFERENCE
    pages: int = 3
    share: float = 1.0
    """Of the cursors asked for, how many are given; 0 for none."""

    def around(self, call: Call, answer: Answer) -> Responses:
        return self._page(call, answer) if call.method == "PartitionQuery" else answer(call)

    async def _page(self, call: Call, answer: Answer) -> Responses:
        _refuse_other_queries(call.request)
        most = round(call.request.partition_count * self.share)
        # Each call draws the same order, as one scan of the server's would.
        cursors = Random(most).sample(found := await _cursors(call, answer, most), len(found))
        page = int(call.request.page_token or 0)
        # "The partition cursors will be ordered according to same ordering as the results of the query": within one page.
        chosen = sorted(cursors[page - 1 :: self.pages]) if page else []
        response = _Response(next_page_token=str(page + 1) if page < self.pages else "")
        for cursor in chosen:
            response.partitions.add(before=True).values.add(reference_value=cursor)
        yield response.SerializeToString()


@dataclass(frozen=True)
class PartitionsRefused:
    """No cursors at all, as the emulator answers."""

    documented: ClassVar[str] = "the emulator of the Cloud SDK, as it answers here: UNIMPLEMENTED"
    code: grpc.StatusCode = grpc.StatusCode.UNIMPLEMENTED

    def around(self, call: Call, answer: Answer) -> Responses:
        if call.method == "PartitionQuery":
            raise Refused(self.code, "PartitionQuery is refused")
        return answer(call)


def _refuse_other_queries(request: Any) -> None:
    """ "Query must specify collection with all descendants and be ordered by name ascending."""
    if path_below(request.parent):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "only database resource names can be specified as parent")
    query = request.structured_query
    (selector,) = query.from_
    others = query.HasField("where") or query.HasField("limit") or query.HasField("start_at") or query.HasField("end_at") or query.offset
    ordered = [order.field.field_path for order in query.order_by]
    if not selector.collection_id or not selector.all_descendants or others or ordered != ["__name__"]:
        problem = "the query must name a collection with all descendants, be ordered by name and have nothing else"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, problem)
    if request.partition_count <= 0:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "partition_count must be positive")


async def _cursors(call: Call, answer: Answer, most: int) -> list[str]:
    """What the database says, or else cut from the keys that it has."""
    try:
        responses = [_Response.FromString(response) async for response in answer(call) if response is not None]
        return [partition.values[0].reference_value for response in responses for partition in response.partitions][:most]
    except Refused as refused:
        if refused.code is not grpc.StatusCode.UNIMPLEMENTED:
            raise
    request = _RunRequest(parent=call.request.parent, structured_query=call.request.structured_query)
    request.structured_query.select.fields.add(field_path="__name__")
    if call.request.HasField("read_time"):
        request.read_time.CopyFrom(call.request.read_time)
    found = [_RunResponse.FromString(response) async for response in answer(call.asking("RunQuery", request)) if response is not None]
    names = [response.document.name for response in found if response.document.name]
    many = min(most, max(0, len(names) - 1))
    return [names[len(names) * part // (many + 1)] for part in range(1, many + 1)]
