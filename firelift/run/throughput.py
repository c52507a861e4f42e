"""How fast a run got on, over its whole time: a bounded series of samples, kept in the run's directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from firelift.run.timestamps import now, seconds_between
from firelift.run.workspace import Workspace

THROUGHPUT = "throughput.json"
MOST = 600
"""Samples that are kept; when there are more, every second one goes and they are taken half as often."""


class Sample(TypedDict):
    """At this time the running phase had done so many documents and rows, counted from its own beginning."""

    at: str
    phase: str
    documents: int
    rows: int


class Throughput:
    """Gathers samples about once a second. Not for several threads at a time: its caller holds the status's lock."""

    def __init__(self, kept: dict[str, Any] | None = None, most: int = MOST, clock: Callable[[], str] = now) -> None:
        self._samples: list[Sample] = list((kept or {}).get("samples", ()))
        self._every: float = (kept or {}).get("everySeconds", 1.0)
        self._most, self._clock = most, clock
        # What an earlier attempt had done is counted again by the next one: only what is beyond it is new.
        self._done: dict[str, tuple[int, int]] = {sample["phase"]: (sample["documents"], sample["rows"]) for sample in self._samples}

    @classmethod
    def of(cls, workspace: Workspace) -> Throughput:
        """The samples of the run's earlier attempts; none where their file is damaged."""
        try:
            return cls(workspace.read_json(THROUGHPUT))
        except (ValueError, OSError, AttributeError, TypeError, KeyError):
            return cls()

    def take(self, phase: str, documents: int, rows: int, *, is_edge: bool = False) -> None:
        """How far the phase is now; left out where the last sample is too young, unless it is the beginning or the end of the phase."""
        at = self._clock()
        before = self._done.get(phase, (0, 0))
        done = self._done[phase] = (max(before[0], documents), max(before[1], rows))
        last = self._samples[-1] if self._samples else None
        if last is None or is_edge or last["phase"] != phase or (seconds_between(last["at"], at) or 0.0) >= self._every:
            self._samples.append(Sample(at=at, phase=phase, documents=done[0], rows=done[1]))
            self._thin()

    def render(self) -> dict[str, Any]:
        return {"everySeconds": self._every, "samples": list(self._samples)}

    def _thin(self) -> None:
        if len(self._samples) <= self._most:
            return
        self._every *= 2
        # The first and last sample of a phase say how long it took and what it got done.
        phases = ["", *(sample["phase"] for sample in self._samples), ""]
        edges = {at for at in range(len(self._samples)) if not phases[at] == phases[at + 1] == phases[at + 2]}
        self._samples = [sample for at, sample in enumerate(self._samples) if at in edges or at % 2]
