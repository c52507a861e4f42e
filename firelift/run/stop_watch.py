"""Watches for a request to stop, wherever it may come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

Look = Callable[[], bool]

# At most 3 s should pass between a request and the last chunk.
EVERY = 1.0


class Watch:
    """A thread per look, which calls `stop` when the look is true. A look that fails counts as false; one that hangs blocks no other."""

    def __init__(self, looks: Sequence[Look], stop: Callable[[], None]) -> None:
        self._stop = stop
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(look,), name="firelift-watch", daemon=True) for look in looks]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()

    def _run(self, look: Look) -> None:
        while not self._over.wait(EVERY):
            if _seen(look):
                self._stop()
                return


def _seen(look: Look) -> bool:
    with suppress(Exception):  # a server that restarts has not asked for anything
        return look()
    return False
