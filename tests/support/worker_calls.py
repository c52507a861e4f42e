"""What the tests ask of workers; a worker imports this."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any

_calls = count(1)


def numbered(said: str, report: Callable[[Any], None]) -> tuple[str, int]:
    """What was said, and how many calls the worker has had so far."""
    return said, next(_calls)


def failed(path: str, report: Callable[[Any], None]) -> None:
    raise ValueError(f"{path} cannot be")


def slept(seconds: float, report: Callable[[Any], None]) -> None:
    time.sleep(seconds)
