"""The names of our schemas, of tables that go with others, and of keys and indexes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Sequence
from itertools import count

from psycopg import sql

STAGING = "firelift_staging_"
BACKUP = "firelift_backup_"
SCRATCH = "firelift_test_"
LONGEST_NAME = 63
# In the catalog and not in a table of ours: it goes with a foreign key or index through renaming, dump and restore.
MADE_BY_US = "Made by Firelift"


def staging_schema(migration_id: str) -> str:
    return _schema_of(STAGING, migration_id)


def backup_schema(migration_id: str) -> str:
    return _schema_of(BACKUP, migration_id)


def scratch_schema(migration_id: str) -> str:
    """Where a test run publishes its sample, in place of the target schema."""
    return _schema_of(SCRATCH, migration_id)


def _schema_of(prefix: str, migration_id: str) -> str:
    """Another name for every id: where it cannot be the id itself, a digest distinguishes it from similar ones."""
    suffix = re.sub(r"[^a-z0-9]+", "_", migration_id.lower())
    room = LONGEST_NAME - len(prefix)
    if suffix == migration_id and len(suffix) <= room:
        return prefix + suffix
    return f"{prefix}{suffix[: room - 9]}_{hashlib.sha256(migration_id.encode()).hexdigest()[:8]}"


def companion_name(what: str, table: str) -> str:
    """A name for a table that goes with another of ours: it has a slash, which no collection id and so no other table has."""
    name = f"{what}/{table}"
    return name if len(name.encode()) <= LONGEST_NAME else f"{what}/{hashlib.sha256(table.encode()).hexdigest()[:40]}"


def columns_of(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def default_name(table: str, columns: Sequence[str], ending: str, taken: Container[str]) -> str:
    """The name that PostgreSQL gives an index or a constraint for which none is chosen; `taken` are those that it must not have.

    `ending` is "pkey" (then there are no columns), "fkey" or "idx". This is makeObjectName in PostgreSQL's indexcmds.c.
    """
    labels = (f"{ending}{number or ''}" for number in count())
    return next(name for label in labels if (name := _default_name(table.encode(), _listed(columns), label)) not in taken)


def _listed(columns: Sequence[str]) -> bytes:
    """The columns as part of a name: PostgreSQL adds no more once there are enough for the longest name."""
    listed = b""
    for column in columns:
        if len(listed) > LONGEST_NAME:
            break
        listed += (b"_" if listed else b"") + column.encode()
    return listed


def _default_name(table: bytes, columns: bytes, label: str) -> str:
    room = LONGEST_NAME - len(label) - 1 - (1 if columns else 0)
    first, second = len(table), len(columns)
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    parts = [table[:first].decode(errors="ignore"), *([columns[:second].decode(errors="ignore")] if columns else []), label]
    return "_".join(parts)
