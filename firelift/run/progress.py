"""How much of something is done: documents, rows and bytes, at what rate, until when."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_WINDOW = 15.0
"""Seconds the rate looks back: long enough to be calm, short enough to show a stall."""


@dataclass
class Progress:
    """Counts of one collection in one phase, or of the whole phase."""

    documents: int = 0
    rows: int = 0
    bytes: int = 0
    expected_documents: int | None = None
    expected_rows: int | None = None
    rate: float | None = None
    """Units a second, once nothing moves any more."""
    started: float | None = None
    moved: float = 0.0
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def counts_documents(self) -> bool:
        """Whether documents are the unit; else rows are."""
        return self.expected_documents is not None or self.documents > 0 or self.expected_rows is None

    @property
    def done(self) -> int:
        return self.documents if self.counts_documents else self.rows

    @property
    def expected(self) -> int | None:
        return self.expected_documents if self.counts_documents else self.expected_rows

    def add(self, documents: int = 0, rows: int = 0, size: int = 0) -> None:
        self.documents += documents
        self.rows += rows
        self.bytes += size
        if documents < 0 or rows < 0:  # it is begun again: what was counted says nothing of the rate
            self.samples.clear()
            self.started = None
        self._sample(time.monotonic())

    def finish(self) -> None:
        """From here on the rate is the average of all."""
        self.rate = self._average(time.monotonic()) if self.started is not None else self.rate
        self.started = None
        self.samples.clear()

    def percent(self) -> float | None:
        if self.expected is None:
            return None
        return 100.0 if self.expected <= 0 else round(min(100.0, 100.0 * self.done / self.expected), 1)

    def render(self) -> dict[str, Any]:
        """As it stands in the status file."""
        rate = self.current_rate()
        left = None if self.expected is None else max(0, self.expected - self.done)
        return {
            "documents": {"done": self.documents, "expected": self.expected_documents},
            "rows": {"done": self.rows, "expected": self.expected_rows},
            "bytes": self.bytes,
            "percent": self.percent(),
            "rate": None if rate is None else round(rate, 1),
            "etaSeconds": round(left / rate, 1) if left is not None and rate else (0.0 if left == 0 else None),
        }

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Progress:
        """The counts as a status file held them."""
        return cls(
            documents=shown["documents"]["done"],
            rows=shown["rows"]["done"],
            bytes=shown["bytes"],
            expected_documents=shown["documents"]["expected"],
            expected_rows=shown["rows"]["expected"],
            rate=shown["rate"],
        )

    def current_rate(self) -> float | None:
        if self.started is None:
            return self.rate
        if self.percent() == 100.0:
            return self._average(self.moved)
        now = time.monotonic()
        recent = [sample for sample in self.samples if now - sample[0] <= _WINDOW]
        if len(recent) == len(self.samples):
            return self._average(now)
        # What was done before the window is the first sample's count; none in it: nothing moved.
        return max(0, self.done - recent[0][1]) / (now - recent[0][0]) if recent and now > recent[0][0] else 0.0

    def _average(self, now: float) -> float | None:
        if self.started is None or now <= self.started:
            return None
        return max(0.0, self.done / (now - self.started))

    def _sample(self, now: float) -> None:
        self.moved = now
        if self.started is None:
            self.started = now
        if not self.samples or now - self.samples[-1][0] >= 0.5:
            self.samples.append((now, self.done))
        # One sample older than the window stays: it says that there is a past.
        while len(self.samples) > 2 and now - self.samples[1][0] > _WINDOW:
            self.samples.popleft()
