"""A directory for as long as this process lives: what a killed one has left is removed by the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "firelift-server-"
HELD = ".held"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new private directory, removed at the end."""
    place = Path(tempfile.gettempdir())
    _remove_what_is_left(place)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    # Before it has its name nobody can find it unheld.
    unnamed = directory / f"{HELD}.new"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unnamed.rename(directory / HELD)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _remove_what_is_left(place: Path) -> None:
    for directory in place.glob(f"{PREFIX}*"):
        # Another command may be removing it just now.
        with suppress(OSError):
            if directory.lstat().st_uid == os.geteuid() and not directory.is_symlink() and _is_left(directory / HELD):
                shutil.rmtree(directory, ignore_errors=True)


def _is_left(held: Path) -> bool:
    """Whether the process that held it has ended: the operating system lets go of a lock then, however it ended."""
    descriptor = os.open(held, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
