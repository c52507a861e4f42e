"""Keeps a temporary Prefect server from standing still for a minute; Prefect imports this in each of its processes.

On SQLite, Prefect's transactions begin DEFERRED. Where two of them want to write, one is refused at once ("database is locked") and its
cursor stays behind in the error's traceback, until CPython's garbage collector frees it. In CPython 3.11 that waits for whatever the
cursor's connection is doing, which may be to wait for the lock's owner; and where the collector ran in the thread of the event loop, the
owner waits for the event loop before it can commit. So garbage is collected in a thread of its own, and transactions begin IMMEDIATE, so
that they wait for their turn before they have begun.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from importlib.metadata import version
from typing import Any

# Prefect sets it for a temporary server, and for nothing else.
EPHEMERAL = "PREFECT__SERVER_EPHEMERAL"
# Versions of Prefect whose transactions can be made to begin like this, as tests/integration/test_temporary_server.py shows.
TRIED = frozenset({"3.9.1"})
PAUSE = 0.1
THREAD = "firelift-garbage"


def collect_garbage_apart() -> None:
    """From here on garbage is collected as often as before, but never in the thread that happens to make it."""
    gc.disable()
    threading.Thread(target=_collect_forever, name=THREAD, daemon=True).start()


def _collect_forever() -> None:
    while True:
        time.sleep(PAUSE)
        full = [generation for generation, (count, most) in enumerate(zip(gc.get_count(), gc.get_threshold(), strict=True)) if count > most]
        if full:
            gc.collect(full[-1])


def begin_immediate() -> None:
    """Every transaction on SQLite begins like those that Prefect knows to write."""
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    def begin_transaction(self: AioSqliteConfiguration, session: Any, with_for_update: bool = False) -> Any:
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_transaction  # type: ignore[method-assign]


def steady() -> None:
    """Removes from this process what makes it stop for a minute."""
    if sys.version_info[:2] == (3, 11):
        collect_garbage_apart()
    if version("prefect") in TRIED:
        begin_immediate()


if os.environ.get(EPHEMERAL):
    steady()
