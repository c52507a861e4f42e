"""Loads, while data still flows, the slow libraries that a run needs at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

from firelift.migration.context import Migration
from firelift.run.reports.page import template

_begun: set[Callable[[], object]] = set()
_lock = threading.Lock()


def preload(migration: Migration) -> None:
    """What every run needs; an increment has something to verify only where it finds that something differs."""
    if not (migration.settings.dry_run or migration.is_increment):
        preload_verification(migration)
    _load(template)


def preload_verification(migration: Migration) -> None:
    """What a run needs that has something to verify, unless it is not to be verified."""
    if migration.verifies:
        _load(migration.surroundings.suites.preload)


def _load(load: Callable[[], object]) -> None:
    """In a thread, once a process."""
    with _lock:
        if load not in _begun:
            _begun.add(load)
            threading.Thread(target=load, name="firelift-preload", daemon=True).start()
