"""Where Firelift keeps what it can make again, such as a prepared database: a private directory of the user's, or nowhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory() -> Path | None:
    """`firelift` in the user's cache directory, made where need be.

    None where there is no home, where it cannot be written, or where others could put something there.
    """
    base = _base()
    if base is None:
        return None
    directory = base / "firelift"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError:
        return None
    ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022 and not directory.is_symlink()
    return directory if ours and os.access(directory, os.W_OK) else None


def _base() -> Path | None:
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named
    try:
        home = Path(os.environ["HOME"]) if "HOME" in os.environ else Path.home()
    except RuntimeError:
        return None
    if not home.is_absolute() or home == Path("/"):
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
