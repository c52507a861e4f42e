"""What the processes of one test run share: servers that take long to start, and things that take long to make.

The first process that needs one makes it, while the others wait, and ends it when all that used any are done.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

_PLACE: Final = "FIRELIFT_TEST_SHARED"
_made: list[tempfile.TemporaryDirectory[str]] = []


def begin() -> None:
    """In the first process, before others are started from it, which inherit its environment."""
    if _PLACE not in os.environ:
        _made.append(tempfile.TemporaryDirectory(prefix="firelift-shared-", ignore_cleanup_errors=True))
        os.environ[_PLACE] = _made[0].name


class Shared:
    """What this process has a part in."""

    def __init__(self) -> None:
        self._directory = Path(os.environ[_PLACE])
        self._ours = ExitStack()
        self._used: int | None = None
        """Locked, shared with others, as long as this process uses anything."""
        self._has_made_some = False

    def get(self, name: str, make: Callable[[], AbstractContextManager[str]]) -> str:
        """What `make` yields, in whichever process has called it."""
        if self._used is None:
            self._used = os.open(self._directory / "used", os.O_RDWR | os.O_CREAT)
            fcntl.flock(self._used, fcntl.LOCK_SH)
        known = self._directory / name
        with _locked(self._directory / f"{name}.lock"):
            if not known.exists():
                known.write_text(self._ours.enter_context(make()))
                self._ours.callback(known.unlink)
                self._has_made_some = True
            return known.read_text()

    def close(self) -> None:
        """Ends what this process has made, as soon as no other one uses anything."""
        if self._used is None:
            return
        if self._has_made_some:
            fcntl.flock(self._used, fcntl.LOCK_UN)
            fcntl.flock(self._used, fcntl.LOCK_EX)
            self._ours.close()
        os.close(self._used)
        self._used = None


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
