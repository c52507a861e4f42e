"""Streams that end early, fail, crawl or hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, Final, Literal

import grpc

from firelift.local.firestore_server.calls import SEND_NOW, Answer, Call, Cut, Refused, Responses

TIMED_OUT: Final = "Query timed out. Please try either limiting the entities scanned, or run with an updated index configuration."

End = Literal["error", "ok", "hang", "cut"]


@dataclass(frozen=True)
class StreamLimit:
    """A stream of documents ends after so many seconds, whatever is still to come.

    `error` is what production does; `ok` ends it as if it were complete, `hang` says nothing any more, `cut` ends the whole connection.
    """

    documented: ClassVar[str] = (
        "seen: https://github.com/googleapis/nodejs-firestore/issues/2200 (UNAVAILABLE after some 60 s and documents), "
        "https://github.com/googleapis/nodejs-firestore/issues/964 (stalls at 60 s without any error)"
    )
    seconds: float = 60
    end: End = "error"
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    """Or DEADLINE_EXCEEDED: https://cloud.google.com/firestore/native/docs/understand-error-codes."""

    def around(self, call: Call, answer: Answer) -> Responses:
        if call.method != "RunQuery":
            return answer(call)
        started = time.monotonic()
        # Each stream gets somewhere, also where the limit of a test is shorter than the way to the first document.
        return _until(lambda sent: sent > 0 and time.monotonic() - started > self.seconds, answer(call), self.end, self.code)


@dataclass(frozen=True)
class StreamsOf:
    """A stream of documents ends after so many of them, as in `StreamLimit`: the same wherever it runs."""

    documented: ClassVar[str] = StreamLimit.documented
    documents: int
    end: End = "error"
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE

    def around(self, call: Call, answer: Answer) -> Responses:
        return _until(lambda sent: sent >= self.documents, answer(call), self.end, self.code) if call.method == "RunQuery" else answer(call)


async def _until(is_over: Callable[[int], bool], responses: Responses, end: End, code: grpc.StatusCode) -> Responses:
    """The responses until it is over, which is asked with how many were sent before each of them."""
    sent = 0
    async for response in responses:
        if is_over(sent):
            if end == "hang":
                yield SEND_NOW
            await _end(end, code)
            return
        sent += response is not None
        yield response


async def _end(how: End, code: grpc.StatusCode) -> None:
    match how:
        case "error":
            raise Refused(code, TIMED_OUT)
        case "cut":
            raise Cut
        case "hang":
            await asyncio.Event().wait()
        case "ok":
            return


@dataclass(frozen=True)
class Failing:
    """A share of all calls fails: half of these before their first response, the others behind some."""

    documented: ClassVar[str] = "https://firebase.google.com/docs/firestore/use-rest-api#error_codes: UNAVAILABLE, to be tried again"
    share: float = 0.01
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    seed: int = 1
    _random: Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_random", Random(self.seed))

    def around(self, call: Call, answer: Answer) -> Responses:
        fails = self._random.random() < self.share
        return self._failing(call, answer, self._random.choice([0, self._random.randrange(1, 100)])) if fails else answer(call)

    async def _failing(self, call: Call, answer: Answer, after: int) -> Responses:
        sent = 0
        async for response in answer(call):
            if sent == after:
                raise Refused(self.code, "The service is currently unavailable.")
            sent += response is not None
            yield response


@dataclass(frozen=True)
class Distance:
    """So many seconds until the first response comes, and so many documents a second in each stream."""

    documented: ClassVar[str] = "none: what lies between a database and who reads it"
    round_trip: float = 0.02
    documents_per_second: float = 10_000

    async def around(self, call: Call, answer: Answer) -> Responses:
        await asyncio.sleep(self.round_trip)
        started, sent = time.monotonic(), 0
        async for response in answer(call):
            ahead = sent / self.documents_per_second - (time.monotonic() - started)
            if ahead > 0.01:
                yield SEND_NOW
                await asyncio.sleep(ahead)
            sent += response is not None
            yield response
