"""Loads, while data still flows, the slow libraries that a run needs at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from expectations import warm
from firelift.run.reports.page import template
from tasks.world import World

_begun: set[Callable[[], object]] = set()
_lock = threading.Lock()


def warm_up(here: World) -> None:
    """What every run needs; an increment has something to verify only where it finds that something differs."""
    if not (here.settings.dry_run or here.is_increment):
        warm_up_verification(here)
    _load(template)


def warm_up_verification(here: World) -> None:
    """What a run needs that has something to verify, unless it is not to be verified."""
    if here.verifies:
        _load(warm)


def _load(load: Callable[[], object]) -> None:
    """In a thread, once a process."""
    with _lock:
        if load not in _begun:
            _begun.add(load)
            threading.Thread(target=load, name="firelift-warm", daemon=True).start()
