"""For how long Firestore knows what a database was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import grpc

from firelift.local.firestore_server.answers import microseconds_now
from firelift.local.firestore_server.calls import Answer, Call, Refused, Responses

HOUR, WEEK = 3600, 7 * 86_400


@dataclass(frozen=True)
class ReadTimes:
    """Read times of the last hour; with point-in-time recovery also whole minutes of the last seven days."""

    documented: ClassVar[str] = (
        "https://firebase.google.com/docs/firestore/reference/rest/v1/TransactionOptions, https://firebase.google.com/docs/firestore/pitr: "
        '"a microsecond precision timestamp within the past one hour, or if Point-in-Time Recovery is enabled, can additionally be a whole '
        'minute timestamp within the past 7 days"; texts and codes as seen at https://github.com/t-k/fireemu'
    )
    point_in_time_recovery: bool = False
    window: float = HOUR
    minutes_window: float = WEEK
    code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION
    """Or INVALID_ARGUMENT: https://github.com/googleapis/nodejs-firestore/issues/1877."""
    ends_streams: bool = False
    """Whether a stream fails when its read time leaves the window while it is read. Nothing says so, nor that it goes on."""
    now: Callable[[], int] = microseconds_now

    def around(self, call: Call, answer: Answer) -> Responses:
        moment = _read_time(call)
        if moment is None:
            return answer(call)
        self._refuse(moment)
        return self._watched(moment, call, answer) if self.ends_streams else answer(call)

    async def _watched(self, moment: int, call: Call, answer: Answer) -> Responses:
        async for response in answer(call):
            self._refuse(moment)
            yield response

    def _refuse(self, moment: int) -> None:
        age = (self.now() - moment) / 1e6
        if age < 0:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "The requested 'read_time' cannot be in the future.")
        is_kept = age <= self.window or (self.point_in_time_recovery and age <= self.minutes_window and moment % 60_000_000 == 0)
        if not is_kept:
            raise Refused(self.code, "The requested 'read_time' is too old.")


def _read_time(call: Call) -> int | None:
    """Microseconds since 1970."""
    request: Any = call.request if call.method != "Commit" else None
    if request is None or not request.HasField("read_time"):
        return None
    return int(request.read_time.seconds * 1_000_000 + request.read_time.nanos // 1000)
