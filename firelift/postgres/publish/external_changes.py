"""Which of a run's tables something else has written to after the run published them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from psycopg import sql

from firelift.formatting import counted
from firelift.postgres.inspect.digest import digest
from firelift.postgres.inspect.key_filter import KeyFilter, columns_in
from firelift.postgres.publish.backups import KeptTable
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.postgres.session.connect import Connection
from firelift.receipts import ChangedTable

MOST_EXAMPLES = 5


def described_change(change: ChangedTable) -> str:
    """`public.users: 3 rows published, 2 now, at least 1 deleted`."""
    said = [f"{change.table}: {counted(change.rows_then, 'row')} published, {change.rows_now} now"]
    if change.written:
        said.append(f"{change.written} inserted or updated, such as {', '.join(change.written_keys)}")
    missing = change.rows_then - change.rows_now
    if missing > 0:
        said.append(f"at least {missing} deleted")
    if change.columns_gone:
        said.append(f"without the columns {', '.join(change.columns_gone)}")
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
