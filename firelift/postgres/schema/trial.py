"""Tries on an empty copy of a table whether what depends on its columns accepts other types, or NULL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql

from firelift.planning.model import PgType
from firelift.postgres.schema.foreign_keys import ForeignKey, foreign_keys_of, is_ours
from firelift.postgres.schema.names import columns_of
from firelift.postgres.session.as_owner import foreign_owners
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

HINDRANCES = (
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.DatatypeMismatch,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.InvalidForeignKey,
    psycopg.errors.IndeterminateCollation,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.IntegrityError,
    psycopg.DataError,
)
"""The errors by which PostgreSQL says that something which depends on a column does not accept its new type."""

Types = Mapping[str, PgType]
"""The columns that are to get another type, each with that type."""


class Hanging(NamedTuple):
    """An object of the user's that names columns which are to get another type."""

    described: str
    statement: str
    columns: tuple[str, ...]


def hanging_on(connection: Connection, schema: str, table: str, columns: Sequence[str]) -> list[Hanging]:
    """The CHECKs, indexes, statistics and defaults that name some of these columns."""
    wanted = {"schema": schema, "table": table, "columns": list(columns)}
    return [Hanging(described, made, tuple(named)) for described, made, named in connection.execute(QUERY["hanging_objects"], wanted)]


def type_dependents(connection: Connection, schema: str, table: str, types: Types) -> Iterator[tuple[str, str]]:
    """Columns with what does not accept their new type, found by trying; nothing of it remains.

    Nothing is tried for a table of another role, whose code would run as ours, nor where the transaction may only read.
    """
    if connection.read_only or foreign_owners(connection, schema, [table]):
        return
    for hanging in hanging_on(connection, schema, table, list(types)):
        for column in _not_taken(connection, schema, table, hanging, types):
            yield column, hanging.described
    for key in foreign_keys_of(connection, schema, [table]):
        for column in _foreign_key_dependents(connection, schema, table, key, types):
            yield column, f"constraint {key.name} on table {key.source_schema}.{key.source}"


def _not_taken(connection: Connection, schema: str, table: str, hanging: Hanging, types: Types) -> list[str]:
    """The columns of this object that cannot get their type while it exists. An object that cannot be recreated is left out."""
    copy = sql.SQL("CREATE TEMPORARY TABLE firelift_trial (LIKE {})").format(sql.Identifier(schema, table))
    refused: list[str] = []
    with _undone(connection):
        if _works(connection, copy) and _works(connection, sql.SQL("{}").format(sql.SQL(hanging.statement))):
            refused = [column for column in hanging.columns if not _taken(connection, column, types[column])]
    return refused


def _works(connection: Connection, statement: sql.Composed) -> bool:
    try:
        with connection.transaction():
            connection.execute(statement)
    except psycopg.Error:
        return False
    return True


def _taken(connection: Connection, column: str, wanted: PgType) -> bool:
    alter = sql.SQL("ALTER TABLE pg_temp.firelift_trial ALTER COLUMN {} TYPE {type} USING NULL::{type}")
    return _possible(connection, alter.format(sql.Identifier(column), type=sql.SQL(wanted)))


def _foreign_key_dependents(connection: Connection, schema: str, table: str, key: ForeignKey, types: Types) -> tuple[str, ...]:
    """The columns at either end of a foreign key that cannot be its columns with their new types. Ours goes where it is in the way."""
    source = [*types] if (key.source_schema, key.source) == (schema, table) else []
    referenced = [*types] if (key.references_schema, key.references) == (schema, table) else []
    affected = tuple(
        column for column in types if (column in source and column in key.columns) or (column in referenced and column in key.referenced)
    )
    if not affected or is_ours(key):
        return ()
    left = [_type(connection, key.source_schema, key.source, column, types if source else {}) for column in key.columns]
    right = [_type(connection, key.references_schema, key.references, column, types if referenced else {}) for column in key.referenced]
    made = sql.SQL("CREATE TEMPORARY TABLE firelift_to ({}, UNIQUE ({}))").format(
        _listed(key.referenced, right), columns_of(key.referenced)
    )
    refers = sql.SQL("CREATE TEMPORARY TABLE firelift_from ({}, FOREIGN KEY ({}) REFERENCES pg_temp.firelift_to ({}))").format(
        _listed(key.columns, left), columns_of(key.columns), columns_of(key.referenced)
    )
    return () if _possible(connection, made, refers) else affected


def _type(connection: Connection, schema: str, table: str, column: str, types: Types) -> str:
    if column in types:
        return types[column]
    row = connection.execute(QUERY["column_type"], {"schema": schema, "table": table, "column": column}).fetchone()
    assert row is not None, "a foreign key's columns are there"
    return str(row[0])


def _listed(columns: Sequence[str], types: Sequence[str]) -> sql.Composed:
    listed = [sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type_)) for column, type_ in zip(columns, types, strict=True)]
    return sql.SQL(", ").join(listed)


def _possible(connection: Connection, *statements: sql.Composed) -> bool:
    """False where PostgreSQL refuses it because of types; what else goes wrong with the trial says nothing."""
    try:
        with _undone(connection):
            for statement in statements:
                connection.execute(statement)
    except HINDRANCES:
        return False
    except psycopg.errors.InsufficientPrivilege:
        return True
    return True


def refusing_null(connection: Connection, schema: str, table: str, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Columns with the CHECKs that look at nothing else and refuse NULL."""
    if foreign_owners(connection, schema, [table]):
        return
    wanted = {"schema": schema, "table": table, "columns": list(columns)}
    for column, name, asks, of_type in connection.execute(QUERY["checks_of_one_column"], wanted).fetchall():
        query = sql.SQL("SELECT ({}) IS FALSE FROM (SELECT NULL::{} AS {}) AS {}").format(
            sql.SQL(asks), sql.SQL(of_type), sql.Identifier(column), sql.Identifier(table)
        )
        if _says_yes(connection, query):
            yield column, name


def _says_yes(connection: Connection, query: sql.Composed) -> bool:
    said = None
    try:
        with _undone(connection):
            # A CHECK may call a function, which must not write here.
            connection.execute("SET LOCAL transaction_read_only TO on")
            said = connection.execute(query).fetchone()
    except psycopg.Error:
        return False
    return said == (True,)


@contextmanager
def _undone(connection: Connection) -> Iterator[None]:
    """A transaction within the caller's, or one of its own, that is always rolled back."""
    with connection.transaction(force_rollback=True):
        yield
