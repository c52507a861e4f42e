"""The rows of a table that a merge touches, told by keys that stand in other tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from firelift.postgres.schema.ddl import columns_of


class Touched(NamedTuple):
    """Keys of one table, as they stand in some tables of another schema; the same key may stand in several."""

    schema: str
    tables: tuple[str, ...]
    keys: tuple[str, ...]

    def all(self) -> sql.Composed:
        """A query for the keys, each once."""
        each = sql.SQL("SELECT {} FROM {}")
        listed = (each.format(columns_of(self.keys), sql.Identifier(self.schema, table)) for table in self.tables)
        return sql.SQL(" UNION ").join(listed)

    def of(self, schema: str, table: str, columns: sql.Composable) -> sql.Composed:
        """A query for these rows of the table: a join, so that few keys are looked up by the index."""
        query = sql.SQL("SELECT {} FROM ONLY {} AS target JOIN ({}) AS touched ON {}")
        return query.format(columns, sql.Identifier(schema, table), self.all(), same_key(self.keys, "target", "touched"))


def same_key(keys: Sequence[str], left: str, right: str) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(left, key), sql.Identifier(right, key)) for key in keys)


def columns_in(alias: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, column) for column in columns)
