"""The database of a temporary Prefect server whose version's tables are not written down: a copy of one that is kept.

So only the first is migrated from nothing.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from firelift.files import appearing


def copy_kept(kept: Path, database: Path) -> bool:
    """Makes `database` of the kept one; False where there is none that is whole and ours."""
    try:
        with open(os.open(kept, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
            if os.fstat(source.fileno()).st_uid != os.geteuid():
                return False
            with open(os.open(database, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
                shutil.copyfileobj(source, copy)
    except OSError:
        return False
    if _is_whole(database):
        return True
    database.unlink()
    return False


def _is_whole(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(database)) as connection:
            checked, migrated = ("PRAGMA quick_check", "SELECT count(*) FROM alembic_version")
            return [connection.execute(asked).fetchone() for asked in (checked, migrated)] == [("ok",), (1,)]
    except sqlite3.Error:
        return False


def keep(database: Path, kept: Path) -> None:
    """Keeps a copy of a database that a server has open, in one file."""
    with appearing(kept) as unfinished, closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


@contextmanager
def turn_to_make(kept: Path) -> Iterator[bool]:
    """Whether it is for us to make the kept one: of several first commands one does, and none waits for it."""
    descriptor = os.open(kept.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield _is_free(descriptor)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
