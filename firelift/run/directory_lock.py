"""The lock of a run's directory, for one process: the operating system releases it when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from firelift.errors import FireliftError
from firelift.files import storage_errors
from firelift.run.workspace import Workspace

LOCK_FILE = ".held"


class RunAtWork(FireliftError):
    """Another process is already carrying out this run."""

    remedy = "`firelift status --watch` follows it, `firelift stop` stops it."


@contextmanager
def locked(workspace: Workspace) -> Iterator[None]:
    """Locks the run's directory; raises RunAtWork. The target's lock is not enough: a plan has none, and a broken connection loses it."""
    workspace.create()
    file = workspace.run / LOCK_FILE
    with storage_errors(file):
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(descriptor, workspace)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, workspace: Workspace) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise RunAtWork(migration_id=workspace.migration_id) from error
        # Some network file systems have no locks; the target's lock remains.
