"""The rows of a published table that are soft-deleted: `firestore_deleted_at` says when their documents were deleted."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from firelift.planning.model import DELETED_AT
from firelift.postgres.inspect.rows import MOST_ROWS
from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated

_SOFT_DELETED = sql.SQL("SELECT {keys} FROM {table} WHERE {deleted} IS NOT NULL")


def read_soft_deleted(connection: Connection, table: TargetTable) -> Iterator[tuple[str, ...]]:
    """The keys of the soft-deleted rows, in no particular order; none where the plan says that the table has none.

    Holds a transaction on the connection until the last is taken.
    """
    if not table.plan.marks_deleted:
        return
    query = _SOFT_DELETED.format(keys=columns_of(table.keys), table=table.identifier, deleted=sql.Identifier(DELETED_AT))
    with (
        translated(f"reading {table.name}"),
        connection.transaction(),
        connection.cursor(name="firelift_soft_deleted", binary=True) as cursor,
    ):
        cursor.itersize = MOST_ROWS
        yield from cursor.execute(query)
