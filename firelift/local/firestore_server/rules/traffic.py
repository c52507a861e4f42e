"""What happens when traffic grows faster than Firestore can follow."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

import grpc

from firelift.local.firestore_server.calls import SEND_NOW, Answer, Call, Refused, Responses


class RampUp:
    """Documents a second above what traffic may have grown to are delivered late, and new calls are refused meanwhile."""

    documented: ClassVar[str] = (
        'https://firebase.google.com/docs/firestore/best-practices#ramping_up_traffic: "starting with a maximum of 500 '
        'operations per second to a new collection and then increasing traffic by 50% every 5 minutes" (a recommendation: '
        "what happens otherwise is not said)"
    )

    def __init__(self, start: float = 500, growth: float = 1.5, period: float = 300, patience: float = 1) -> None:
        """`patience`: behind by more seconds than these, new calls are refused."""
        self._start, self._growth, self._period, self._patience = start, growth, period, patience
        self._began: float | None = None
        self._free_at = 0.0

    def _per_second(self, now: float) -> float:
        self._began = now if self._began is None else self._began
        return self._start * self._growth ** int((now - self._began) / self._period)

    async def around(self, call: Call, answer: Answer) -> Responses:
        if self._free_at - time.monotonic() > self._patience:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "Some resource has been exhausted, perhaps a per-user quota.")
        async for response in answer(call):
            if response is not None:
                now = time.monotonic()
                self._free_at = max(self._free_at, now) + 1 / self._per_second(now)
                if self._free_at - now > self._patience / 10:
                    yield SEND_NOW
                    await asyncio.sleep(self._free_at - now)
            yield response
