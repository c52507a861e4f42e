"""The numbers behind the pictures of the report: bounded, whatever the run was like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from firelift.run.timestamps import seconds_between

MOST_BARS: Final = 20
MOST_BUCKETS: Final = 60
_PAUSE: Final = 30.0
"""Seconds without a sample: nobody was at work then, the run had been stopped or had died."""
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class Bar:
    """One bar: `share` of the longest, from 0 to 100; `others` says how many it represents."""

    row: Mapping[str, Any]
    share: float
    others: int = 0


@dataclass(frozen=True)
class Curve:
    """What a phase did a second, as points of an area in a field of 100 by 100."""

    phase: str
    unit: str
    points: str
    highest: float
    mean: float


@dataclass(frozen=True)
class Tick:
    at: float
    value: float


@dataclass(frozen=True)
class Throughput:
    """The curves, one phase after the other, over the time that somebody was at work."""

    curves: tuple[Curve, ...]
    seconds: float
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    pauses: tuple[float, ...]
    """Where the run was stopped, or dead, and went on later."""


def bars(rows: Sequence[Mapping[str, Any]], summed: Sequence[str], first: str | None = None) -> list[Bar]:
    """The collections with most documents, then all others in one; `summed` names what is added up for these.

    Those with most of `first` come first: a difference must not hide among the others.
    """
    ordered = sorted(rows, key=lambda row: (-row[first] if first else 0, -row["documents"]))
    # One other is no longer than the bar that represents the others.
    kept = ordered if len(ordered) == MOST_BARS + 1 else ordered[:MOST_BARS]
    rest = ordered[len(kept) :]
    other = {name: sum(row[name] for row in rest) for name in summed}
    longest = max([row["documents"] for row in (*kept, *([other] if rest else []))], default=0) or 1
    drawn = [Bar(row, 100 * row["documents"] / longest) for row in kept]
    return [*drawn, *([Bar(other, 100 * other["documents"] / longest, len(rest))] if rest else [])]


@dataclass(frozen=True)
class _Stretch:
    """So much was done between two samples of a phase, in seconds of work since the beginning."""

    start: float
    end: float
    done: float


def throughput(kept: Mapping[str, Any]) -> Throughput | None:
    """From the samples of the report; None where nothing moved."""
    stretches, pauses, seconds = _stretches(kept)
    if not seconds or not any(stretch.done for listed in stretches.values() for stretch in listed):
        return None
    width = max(1.0, seconds / MOST_BUCKETS)
    rates = {key: list(_rates(listed, width)) for key, listed in stretches.items()}
    top = _nice(max(rate for listed in rates.values() for _, _, rate in listed))
    curves = [
        Curve(phase, unit, _area(listed, seconds, top), max(rate for *_, rate in listed), _mean(stretches[phase, unit]))
        for (phase, unit), listed in rates.items()
    ]
    step = next((step for step in _STEPS if seconds / step <= 6), 86_400 * math.ceil(seconds / 6 / 86_400))
    across = [Tick(100 * at / seconds, at) for at in range(0, int(seconds) + 1, step)]
    across += [Tick(100.0, seconds)] if across[-1].at < 80 else []
    up = [Tick(25.0 * line, top * line / 4) for line in range(5)]
    return Throughput(tuple(curves), seconds, tuple(across), tuple(up), tuple(100 * at / seconds for at in pauses))


def _stretches(kept: Mapping[str, Any]) -> tuple[dict[tuple[str, str], list[_Stretch]], list[float], float]:
    samples: Sequence[Mapping[str, Any]] = kept.get("samples") or ()
    pause = max(_PAUSE, 4 * float(kept.get("everySeconds") or 1.0))
    found: dict[tuple[str, str], list[_Stretch]] = {}
    pauses: list[float] = []
    at = 0.0
    for before, sample in pairwise(samples):
        took = max(0.0, seconds_between(before["at"], sample["at"]) or 0.0)
        if took > pause:
            pauses.append(at)
        elif before["phase"] == sample["phase"] and took > 0:
            unit = "documents" if sample["documents"] or not sample["rows"] else "rows"
            found.setdefault((sample["phase"], unit), []).append(_Stretch(at, at + took, max(0, sample[unit] - before[unit])))
        at += took if took <= pause else 0.0
    return {key: listed for key, listed in found.items() if any(stretch.done for stretch in listed)}, pauses, at


def _rates(stretches: Sequence[_Stretch], width: float) -> Iterator[tuple[float, float, float]]:
    """(start, end, units a second) in equal steps: documents arrive by the chunk, and one sample alone would only show that."""
    start, end = stretches[0].start, stretches[-1].end
    number = max(1, int((end - start) / width))
    step, first = (end - start) / number, 0
    for bucket in range(number):
        low, high = start + bucket * step, start + (bucket + 1) * step
        while first < len(stretches) - 1 and stretches[first].end <= low:
            first += 1
        done = 0.0
        for stretch in stretches[first:]:
            if stretch.start >= high:
                break
            shared = min(high, stretch.end) - max(low, stretch.start)
            done += stretch.done * max(0.0, shared) / (stretch.end - stretch.start)
        yield low, high, done / step


def _area(rates: Sequence[tuple[float, float, float]], seconds: float, top: float) -> str:
    points = [(rates[0][0], 0.0)]
    for low, high, rate in rates:
        points += [(low, rate), (high, rate)]
    points.append((rates[-1][1], 0.0))
    return " ".join(f"{100 * at / seconds:.2f},{100 - 100 * rate / top:.2f}" for at, rate in points)


def _mean(stretches: Sequence[_Stretch]) -> float:
    return sum(stretch.done for stretch in stretches) / (stretches[-1].end - stretches[0].start)


def _nice(most: float) -> float:
    """A round number not below it, that can be cut in four."""
    scale = 10 ** math.floor(math.log10(most)) if most > 0 else 1.0
    return next(scale * step for step in (1, 2, 4, 6, 8, 10) if scale * step >= most * 0.999)
