"""Writes a file that changes all the time: not too often, and soon after the last change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from firelift.errors import FireliftError

EVERY = 0.5
"""Seconds between two writes of a file that people watch."""


class PeriodicWriter:
    """Calls `write` from a thread of its own: after changes every half second, else every `heartbeat` seconds.

    A write that fails there is tried again at the next turn: the run itself must not fail because of its status
    file. `now()`, which phases call, raises.
    """

    def __init__(self, write: Callable[[], None], heartbeat: float | None = None, every: float = EVERY) -> None:
        self._write, self._heartbeat, self._every = write, heartbeat, every
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._written = time.monotonic()
        self._took = 0.0
        self._thread = threading.Thread(target=self._run, name="firelift-periodic-writer", daemon=True)
        self._thread.start()

    def soon(self) -> None:
        """There is something new to write."""
        self._changed.set()

    def now(self) -> None:
        """Write before returning."""
        with self._one_at_a_time:
            self._changed.clear()
            started = time.monotonic()
            try:
                self._write()
            except BaseException:
                self._changed.set()
                raise
            finally:
                self._written = time.monotonic()
                self._took = self._written - started

    def close(self) -> None:
        """Write what is left and end the thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._thread.join()
            if self._changed.is_set():
                self.now()

    def _run(self) -> None:
        # At most a tenth of the time goes into writing, even with ten thousand collections.
        while not self._closed.wait(max(self._every, 10 * self._took)):
            if self._changed.is_set() or self._is_quiet():
                with suppress(FireliftError):
                    self.now()

    def _is_quiet(self) -> bool:
        return self._heartbeat is not None and time.monotonic() - self._written >= self._heartbeat
