"""The scratch schema of a test run: what its tables weigh, and its end."""

from __future__ import annotations

from collections.abc import Sequence

from firelift.planning.model import Frozen, TablePlan
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.schema.control_schema import forget_run, migration
from firelift.postgres.schema.names import scratch_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.lock_capacity import explaining_locks, tables_in
from firelift.postgres.session.queries import QUERY
from firelift.receipts import RolledBack


class Weight(Frozen):
    """Bytes of a table with its indexes."""

    bytes: int
    empty: int
    """Of these, what the table would take up without a row."""

    def of(self, rows: int, wanted: int) -> int:
        """The bytes of a table of so many rows more or fewer, given those of this one."""
        return self.bytes if rows == wanted else self.empty + round((self.bytes - self.empty) * wanted / rows) if rows else self.empty


def weigh(connection: Connection, migration_id: str, tables: Sequence[TablePlan]) -> dict[str, Weight]:
    """What the published tables of a test run weigh, by name."""
    given = {"schema": scratch_schema(migration_id), "tables": [table.table for table in tables]}
    with translated("weighing the tables"):
        rows = connection.execute(QUERY["table_weights"], given).fetchall()
    return {name: Weight(bytes=total, empty=empty) for name, total, empty in rows}


def drop_scratch(connection: Connection, migration_id: str) -> RolledBack:
    """Removes whatever a test run has in the target, in whatever state it is, and its record; call it under the target's lock.

    Changes that others made to its tables are lost with them: they were made to be thrown away. Raises DependentObjects.
    """
    many = explaining_locks(connection, lambda: tables_in(connection, scratch_schema(migration_id)))
    with many, translated("dropping the test run's tables"), connection.transaction():
        done = rollback(connection, migration_id, force=True)
        forget_test(connection, migration_id)
    return done


def forget_test(connection: Connection, migration_id: str) -> None:
    """Removes the record of a test run after its rollback, so that the run before it is the latest again. Other runs stay."""
    if (migration(connection, migration_id) or {}).get("mode") == "test":
        with translated("forgetting the test run"), connection.transaction():
            connection.execute(QUERY["forget_chunks"], {"migration_id": migration_id})
            forget_run(connection, migration_id)
