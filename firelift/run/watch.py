"""Looks out for a request to stop, wherever it may come from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

Look = Callable[[], bool]

# Between a request and the last chunk at most 3 s are to pass.
EVERY = 1.0


class Watch:
    """A thread a look, which calls `stop` when its look says so. A look that fails has seen nothing; one that hangs keeps no other."""

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
