"""How far a run is: its six phases, and in each of them the documents, rows and bytes done, at what rate, until when."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal["pre_validation", "extraction", "transformation", "import", "verification", "post_migration"]
State = Literal["pending", "running", "completed", "skipped", "failed"]

PHASES: tuple[Phase, ...] = ("pre_validation", "extraction", "transformation", "import", "verification", "post_migration")

# Share of a run's time a phase usually takes, for the percentage of the whole.
WEIGHT: Mapping[Phase, int] = {
    "pre_validation": 2,
    "extraction": 45,
    "transformation": 15,
    "import": 30,
    "verification": 6,
    "post_migration": 2,
}

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
    """Units per second, once the work has ended."""
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
        """As the status file shows it."""
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
        """The counts that a status file shows."""
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


@dataclass
class PhaseStatus:
    """One phase: its state, and how far each collection is in it."""

    state: State = "pending"
    started_at: str | None = None
    finished_at: str | None = None
    total: Progress = field(default_factory=Progress)
    collections: dict[str, Progress] = field(default_factory=dict)
    uncounted: set[str] = field(default_factory=set)
    """Collections whose number of documents is unknown."""
    expected_of_several: dict[str, int] = field(default_factory=dict)
    """Documents of collections that were only counted together, by the name of the group."""
    is_total_expected: bool = False
    """The expectation of the whole was given; else it is the sum of the collections'."""

    def percent(self) -> float:
        if self.state in ("completed", "skipped"):
            return 100.0
        return self.total.percent() or 0.0

    def render(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            **self.total.render(),
            "percent": self.percent(),
            "collections": {name: progress.render() for name, progress in self.collections.items()},
        }

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> PhaseStatus:
        state: State = shown["state"] if shown["state"] in ("completed", "skipped") else "pending"
        collections = {name: Progress.from_json(progress) for name, progress in shown["collections"].items()}
        return cls(state, shown["startedAt"], shown["finishedAt"], Progress.from_json(shown), collections)


def percent_of_run(phases: Mapping[Phase, PhaseStatus]) -> float:
    """How much of a run is done, by the time its phases usually take."""
    return round(sum(WEIGHT[name] * phase.percent() for name, phase in phases.items()) / sum(WEIGHT.values()), 1)
