"""COUNT, which has limits of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc

from firelift.firestore.lazy_protobuf import types
from firelift.local.firestore_server.calls import Answer, Call, Refused, Responses

_Response: Any = types.RunAggregationQueryResponse.pb()


@dataclass(frozen=True)
class CountLimit:
    """A COUNT over more entries than these takes its time and then fails; `up_to` bounds what it looks at."""

    documented: ClassVar[str] = (
        "https://firebase.google.com/docs/firestore/query-data/aggregation-queries: "
        '"If an aggregation can\'t resolve within 60 seconds, it returns a DEADLINE_EXCEEDED error."'
    )
    entries: int
    seconds: float = 60

    def around(self, call: Call, answer: Answer) -> Responses:
        return self._limited(call, answer) if call.method == "RunAggregationQuery" else answer(call)

    async def _limited(self, call: Call, answer: Answer) -> Responses:
        async for response in answer(call):
            if response is not None and _largest(response) > self.entries:
                await asyncio.sleep(self.seconds)
                raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "A deadline was exceeded on the server.")
            yield response


def _largest(response: bytes) -> int:
    fields = _Response.FromString(response).result.aggregate_fields
    return max((value.integer_value for value in fields.values()), default=0)


@dataclass(frozen=True)
class CountRefused:
    """COUNT is not answered, or only not over all collections at once."""

    documented: ClassVar[str] = "nowhere: no page promises a COUNT without a collection id at the root; its code is that of other refusals"
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    only_without_collection: bool = False

    def around(self, call: Call, answer: Answer) -> Responses:
        if call.method == "RunAggregationQuery" and not (self.only_without_collection and _names_collection(call.request)):
            raise Refused(self.code, "kind is required for this aggregation")
        return answer(call)


def _names_collection(request: Any) -> bool:
    return any(selector.collection_id for selector in request.structured_aggregation_query.structured_query.from_)
