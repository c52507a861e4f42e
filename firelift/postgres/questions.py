"""Questions about standing tables as SQL text, for whoever asks them by another way than psycopg or by hand, later."""

from __future__ import annotations

from psycopg import sql

from firelift.plan import TablePlan
from firelift.postgres.connect import Connection, connect_to_read
from firelift.postgres.ddl import columns_of
from firelift.postgres.errors import translated


def reading(url: str, application_name: str, schema: str) -> Connection:
    """A connection that can only read, and on which a bare name means a table of this schema."""
    connection = connect_to_read(url, application_name)
    try:
        with translated("preparing to read the tables"):
            # Named last, for a table called pg_class must not be taken for PostgreSQL's own.
            path = sql.SQL("{}, pg_catalog").format(sql.Identifier(schema)).as_string()
            connection.execute("SELECT set_config('search_path', %s, false)", [path])
    except BaseException:
        connection.close()
        raise
    return connection


def row_count(schema: str, table: TablePlan) -> str:
    return sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table.table)).as_string()


def null_keys(schema: str, table: TablePlan, key: str) -> str:
    """Lists the rows that miss this part of their key."""
    query = sql.SQL("SELECT {} FROM {} WHERE {} IS NULL")
    return query.format(columns_of(table.keys), sql.Identifier(schema, table.table), sql.Identifier(key)).as_string()


def repeated_keys(schema: str, table: TablePlan) -> str:
    """Lists keys that more than one row has."""
    query = sql.SQL("SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1")
    return query.format(keys=columns_of(table.keys), table=sql.Identifier(schema, table.table)).as_string()


def column_types(schema: str, table: str) -> str:
    """Lists the columns of a table with their types."""
    query = sql.SQL(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    return query.format(sql.Literal(sql.Identifier(schema, table).as_string())).as_string()
