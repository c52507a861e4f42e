"""Room for locks: a transaction needs several for every table that it creates, replaces or drops, and a server has only so many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import psycopg

from firelift.errors import FireliftError
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import TooManyLocks
from firelift.postgres.session.queries import QUERY

# Seen in pg_locks: the table, its TOAST, indexes, types and constraints; where rows are replaced, the backup and the staged table too.
CREATED: Final = (9, 6)
"""For a table that a run makes and may have to drop again: by itself, and for each of its foreign keys."""
REPLACED: Final = (15, 7)
MARGIN: Final = 1.25
"""For what others hold, and for indexes and triggers of the user's."""


class Room(NamedTuple):
    """What the server has."""

    setting: int
    """max_locks_per_transaction."""
    times: int
    """Connections and prepared transactions: together they share room for so many times the setting."""

    @property
    def locks(self) -> int:
        return self.setting * self.times

    def setting_for(self, locks: int) -> int:
        """What the setting should be so that a transaction can hold so many."""
        return math.ceil(locks * MARGIN / self.times)


def lock_room(connection: Connection) -> Room:
    row = connection.execute(QUERY["lock_room"]).fetchone()
    assert row is not None, "a SELECT without FROM has one row"
    return Room(*row)


def tables_in(connection: Connection, schema: str) -> int:
    """How many tables a schema has."""
    row = connection.execute(QUERY["count_tables"], {"schema": schema}).fetchone()
    return int(row[0]) if row else 0


def locks_for(tables: int, relations: int, of_one: tuple[int, int]) -> int:
    return tables * of_one[0] + relations * of_one[1]


@contextmanager
def explaining_locks(connection: Connection, tables: int | Callable[[], int]) -> Iterator[None]:
    """Has a TooManyLocks say how many tables the transaction was about and what to raise the setting to; put it around all else."""
    try:
        yield
    except TooManyLocks as error:
        told: dict[str, object] = {}
        # Within a transaction that has failed nothing can be queried: whoever began it does.
        with suppress(psycopg.Error, FireliftError):
            told = _needed(lock_room(connection), tables if isinstance(tables, int) else tables())
        raise TooManyLocks(**error.facts | told) from error


def _needed(room: Room, tables: int) -> dict[str, object]:
    # The estimate may be too low for the tables of this database: it was found to be, where the setting is that high already.
    enough = max(room.setting_for(locks_for(tables, tables, REPLACED)), 2 * room.setting)
    return {"tables": tables, "max_locks_per_transaction": room.setting, "raise_to": enough}
