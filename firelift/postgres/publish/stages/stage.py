"""A stage: one effect in the target, which can be described before it happens. One evaluator runs a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from psycopg import sql

from firelift.formatting import count
from firelift.postgres.inspect.digest import Digest
from firelift.postgres.load.constraints import CheckedRelation
from firelift.postgres.publish.backups import BackedUp, Changes
from firelift.postgres.session.connect import Connection
from firelift.receipts import LeftIndex

MOST_NAMES = 10


@dataclass
class Done:
    """What the stages of one publication, or of one rollback, have found out and changed so far. Tables go by name."""

    kept: dict[str, BackedUp] = field(default_factory=dict)
    """The old rows of tables that were there before."""
    changes: dict[str, Changes] = field(default_factory=dict)
    """Of the same tables, what else was changed."""
    contents: dict[str, Digest] = field(default_factory=dict)
    """The rows of new tables."""
    relations: tuple[CheckedRelation, ...] = ()
    indexes_left: tuple[LeftIndex, ...] = ()
    """Of a rollback: indexes that cannot be made again yet."""

    def note(self, table: str, **changed: object) -> None:
        """Adds to what was changed in a table."""
        self.changes[table] = self.changes.get(table, Changes()).model_copy(update=changed)


class Stage(Protocol):
    """Built without effects, from facts; frozen, so that what was described is what runs."""

    def describe(self) -> Sequence[str]:
        """What it does to the target, in plain English, a line for each thing."""
        ...

    def run(self, connection: Connection, done: Done) -> None:
        """Does it, within the caller's transaction."""
        ...


def evaluate(connection: Connection, stages: Iterable[Stage], done: Done) -> None:
    """Runs the stages one after the other. Call it in a transaction: an error leaves the rest undone and says nothing of what was done."""
    for stage in stages:
        stage.run(connection, done)


def described(stages: Iterable[Stage]) -> tuple[str, ...]:
    """What these stages would do, line by line."""
    return tuple(line for stage in stages for line in stage.describe())


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; of many the first ten, `… and 480 others`."""
    shown = [*names] if len(names) <= MOST_NAMES + 1 else [*names[:MOST_NAMES], f"{count(len(names) - MOST_NAMES)} others"]
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


@dataclass(frozen=True)
class LockTables:
    """Locks tables in one order, at once as strongly as will be needed, for a lock made stronger later deadlocks."""

    tables: tuple[tuple[str, str], ...]
    """Schema and name."""
    readers_wait: bool
    """Readers wait for the commit as well; else they see the old rows until then."""

    def describe(self) -> Sequence[str]:
        who = "readers and writers wait" if self.readers_wait else "writers wait, readers see the old rows"
        return [f"lock {listed([f'{schema}.{table}' for schema, table in self.tables])}: {who} until the commit"]

    def run(self, connection: Connection, done: Done) -> None:
        mode = "ACCESS EXCLUSIVE" if self.readers_wait else "EXCLUSIVE"
        names = sql.SQL(", ").join(sql.Identifier(*table) for table in self.tables)
        connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(names, sql.SQL(mode)))
