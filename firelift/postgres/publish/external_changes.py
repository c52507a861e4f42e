"""Which of a run's tables something else has written to after the run published them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from firelift.formatting import counted
from firelift.planning.model import Frozen
from firelift.postgres.inspect.digest import digest
from firelift.postgres.inspect.key_filter import KeyFilter, columns_in
from firelift.postgres.publish.backups import KeptTable
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.postgres.session.connect import Connection

MOST_EXAMPLES = 5


class ChangedTable(Frozen):
    """A table that is no longer as it was published, as far as that can be determined.

    Written rows are those whose last writer (`xmin`) came after the run: inserted or updated, which PostgreSQL does not distinguish. Of
    deleted rows only their number is known. Of a table into which the run merged rows only those are compared.
    """

    table: str
    rows_then: int
    rows_now: int
    written: int = 0
    written_keys: tuple[str, ...] = ()
    """The first few."""
    columns_gone: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = [f"{self.table}: {counted(self.rows_then, 'row')} published, {self.rows_now} now"]
        if self.written:
            said.append(f"{self.written} inserted or updated, such as {', '.join(self.written_keys)}")
        missing = self.rows_then - self.rows_now
        if missing > 0:
            said.append(f"at least {missing} deleted")
        if self.columns_gone:
            said.append(f"without the columns {', '.join(self.columns_gone)}")
        return ", ".join(said)


def changed_tables(connection: Connection, kept: Sequence[KeptTable], existing: Mapping[str, ExistingTable]) -> list[ChangedTable]:
    """Those of the tables, all of which must exist, whose digest is no longer the one from after publishing."""
    found = (_change(connection, published, existing[published.name]) for published in kept)
    return [change for change in found if change]


def _change(connection: Connection, published: KeptTable, table: ExistingTable) -> ChangedTable | None:
    if missing := tuple(name for name in published.columns_after if name not in table.columns):
        rows = digest(connection, published.target_schema, published.table, table.primary_key).rows
        return ChangedTable(table=published.name, rows_then=published.rows_after, rows_now=rows, columns_gone=missing)
    now = digest(connection, published.target_schema, published.table, published.columns_after, _looked_at(published))
    if (now.rows, now.value) == (published.rows_after, published.digest_after):
        return None
    written, keys = _written(connection, published, table)
    return ChangedTable(table=published.name, rows_then=published.rows_after, rows_now=now.rows, written=written, written_keys=keys)


def _looked_at(published: KeptTable) -> KeyFilter | None:
    """Where a column got another type every row was changed, and one that was inserted later would lose its value there."""
    return None if published.changes.columns_retyped else published.changed_rows


def _written(connection: Connection, published: KeptTable, table: ExistingTable) -> tuple[int, tuple[str, ...]]:
    key = sql.SQL(", ").join(map(sql.Identifier, table.primary_key or ("ctid",)))
    source: sql.Composable = sql.Identifier(published.target_schema, published.table)
    if among := _looked_at(published):
        listed = sql.SQL(", ").join([sql.SQL("target.xmin"), columns_in("target", table.primary_key)])
        source = sql.SQL("({}) AS target").format(among.rows_query(published.target_schema, published.table, listed))
    query = sql.SQL(
        "SELECT pg_catalog.count(*) OVER (), pg_catalog.concat_ws('/', {}) FROM {} "
        "WHERE pg_catalog.age(xmin) < pg_catalog.age({}::xid) ORDER BY 2 LIMIT {}"
    ).format(key, source, sql.Literal(published.last_transaction), sql.Literal(MOST_EXAMPLES))
    rows = connection.execute(query).fetchall()
    return (rows[0][0] if rows else 0), tuple(str(found) for _, found in rows)
