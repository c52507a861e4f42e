"""Files that appear whole under their name, readable by their owner only, and errors that say which place is full."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firelift.errors import ConfigurationError, FireliftError


class DiskFull(FireliftError):
    """The disk is full."""

    mendable = True
    remedy = "Free space there, then go on with --resume."


class WorkingDirUnusable(ConfigurationError):
    """The working directory cannot be used."""

    mendable = True
    remedy = "Choose another --working-dir or mend this one."


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise DiskFull or WorkingDirUnusable, naming the path, for what the operating system says inside."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=str(path)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise WorkingDirUnusable(path=str(path), reason="it cannot be written") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise WorkingDirUnusable(path=str(path), reason="a file is where a directory is needed") from error
        raise WorkingDirUnusable(path=str(path), reason=error.strerror or str(error)) from error


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name to write to; what was written there becomes `path` in one step when the block ends well."""
    unfinished = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.new")
    with storage_errors(path):
        try:
            yield unfinished
            unfinished.chmod(0o600)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """The text as a file, and the private directories it needs."""
    with storage_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with appearing(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        # A receipt that is there after a power cut must say something.
        os.fsync(file.fileno())
