"""What passes between a connection and whoever answers: calls, their messages, and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import grpc

from firelift.firestore.lazy_protobuf import types

SERVICE: Final = "/google.firestore.v1.Firestore/"

REQUESTS: Final[Mapping[str, Any]] = {
    method: getattr(types, f"{method}Request").pb()
    for method in ("RunQuery", "RunAggregationQuery", "BatchGetDocuments", "ListCollectionIds", "PartitionQuery", "Commit")
}


@dataclass(frozen=True)
class Call:
    """One call of a client. `method` is the name alone, as in `RunQuery`; `body` the request as it was serialized."""

    method: str
    body: bytes
    metadata: Mapping[str, str]

    @cached_property
    def request(self) -> Any:
        """The request's message; it is shared by all who look at it. Raises Refused for methods of which nothing is known."""
        if self.method not in REQUESTS:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"{self.method} is not served here")
        return REQUESTS[self.method].FromString(self.body)

    def asking(self, method: str, request: Any) -> Call:
        """Another call of the same client."""
        return Call(method, request.SerializeToString(), self.metadata)


Responses = AsyncIterator[bytes | None]
"""Serialized responses, as they come. None is no response: it says that those before it shall be sent, for the next may take long."""

Answer = Callable[[Call], Responses]

SEND_NOW: Final = None


class Refused(Exception):
    """A call ends with this status of gRPC instead of OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code, self.message = code, message


class Cut(Exception):
    """The connection ends without a word."""
