"""What the tests ask of workers; a worker imports this."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import count
from typing import Any

from firelift.workers import CallReport

_calls = count(1)


def numbered(said: str, report: Callable[[Any], None]) -> tuple[str, int]:
    """What was said, and how many calls the worker has had so far."""
    return said, next(_calls)


def failed(path: str, report: Callable[[Any], None]) -> None:
    raise ValueError(f"{path} cannot be")


def slept(seconds: float, report: Callable[[Any], None]) -> None:
    time.sleep(seconds)


def counted_down(first: int, end: int, report: Callable[[Any], None]) -> tuple[int, list[int]]:
    """The process, and the numbers from `first` to `end` that it did not give away; it gives away the second half, unless that is small."""
    done = []
    while first < end:
        done.append(first)
        first += 1
        time.sleep(0.02)
        if isinstance(report, CallReport) and report.is_asked_to_divide():
            middle = (first + end) // 2
            report.give_away((middle, end) if end - first > 5 else None)
            end = middle if end - first > 5 else end
    return os.getpid(), done


def asked(looks: int, report: Callable[[Any], None]) -> int:
    """How often it was asked to divide, in so many looks; it keeps its work. Without a look it fails."""
    if not looks:
        raise ValueError("nothing to look at")
    number = 0
    for _ in range(looks):
        time.sleep(0.02)
        if isinstance(report, CallReport) and report.is_asked_to_divide():
            number += 1
            report.give_away(None)
    return number


def told(report: Callable[[Any], None]) -> str:
    """Tells something, and goes on for a while."""
    report("something")
    time.sleep(1)
    return "told"
