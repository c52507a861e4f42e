"""The rows of a table that a merge changes, found by keys that are in other tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from firelift.postgres.schema.names import columns_of


class KeyFilter(NamedTuple):
    """Keys of one table, kept in some tables of another schema; several of them may have the same key."""

    schema: str
    tables: tuple[str, ...]
    keys: tuple[str, ...]

    def keys_query(self) -> sql.Composed:
        """A query for the keys, each once."""
        select = sql.SQL("SELECT {} FROM {}")
        listed = (select.format(columns_of(self.keys), sql.Identifier(self.schema, table)) for table in self.tables)
        return sql.SQL(" UNION ").join(listed)

    def rows_query(self, schema: str, table: str, columns: sql.Composable) -> sql.Composed:
        """A query for these rows of the table: a join, so that few keys are looked up by the index."""
        query = sql.SQL("SELECT {} FROM ONLY {} AS target JOIN ({}) AS wanted ON {}")
        return query.format(columns, sql.Identifier(schema, table), self.keys_query(), same_key(self.keys, "target", "wanted"))


def same_key(keys: Sequence[str], left: str, right: str) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(left, key), sql.Identifier(right, key)) for key in keys)


def columns_in(alias: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, column) for column in columns)
