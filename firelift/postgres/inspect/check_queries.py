"""Queries about published tables as SQL text, for Great Expectations and for people who repeat a check by hand."""

from __future__ import annotations

from psycopg import sql

from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.target_table import TargetTable


def row_count(table: TargetTable) -> str:
    return sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(table.identifier).as_string()


def null_keys(table: TargetTable, key: str) -> str:
    """Lists the rows that miss this part of their key."""
    query = sql.SQL("SELECT {} FROM {} WHERE {} IS NULL")
    return query.format(columns_of(table.keys), table.identifier, sql.Identifier(key)).as_string()


def repeated_keys(table: TargetTable) -> str:
    """Lists keys that more than one row has."""
    query = sql.SQL("SELECT {keys} FROM {table} GROUP BY {keys} HAVING pg_catalog.count(*) > 1")
    return query.format(keys=columns_of(table.keys), table=table.identifier).as_string()


def column_types(table: TargetTable) -> str:
    """Lists the columns of a table with their types."""
    query = sql.SQL(
        "SELECT attname, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute"
        " WHERE attrelid = {}::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    return query.format(sql.Literal(table.identifier.as_string())).as_string()
