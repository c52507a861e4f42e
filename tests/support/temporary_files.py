"""Temporary files in memory, where there is room: among them are the databases of a thousand tests.

On ext4 without a journal every new file looks through all inodes that were deleted lately (`recently_deleted` in fs/ext4/ialloc.c): it took
two fifths of the CPU in a sample, where tests make and drop databases.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")
ENOUGH: Final = 8 << 30
"""Bytes. A whole run of the tests leaves about 2 GB until it ends."""
_PREFIX: Final = "firelift-tests-"
_OURS: Final = "FIRELIFT_TEST_FILES"


def keep_in_memory() -> None:
    """From now on this process, and those that inherit its environment, have their temporary files there, until `forget`."""
    if _OURS in os.environ or "TMPDIR" in os.environ or not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ENOUGH:
        return
    _remove_left_behind()
    directory = MEMORY / f"{_PREFIX}{os.getpid()}"
    directory.mkdir(mode=0o711)
    os.environ["TMPDIR"] = os.environ[_OURS] = str(directory)
    tempfile.tempdir = None


def forget() -> None:
    """Removes the files, in the process that has chosen their place."""
    ours = os.environ.get(_OURS, "")
    if ours.endswith(f"{_PREFIX}{os.getpid()}"):
        shutil.rmtree(ours, ignore_errors=True)


def _remove_left_behind() -> None:
    """What runs have left that were killed."""
    for directory in MEMORY.glob(f"{_PREFIX}*"):
        with suppress(ValueError):
            if not Path("/proc", str(int(directory.name.removeprefix(_PREFIX)))).exists():
                shutil.rmtree(directory, ignore_errors=True)
