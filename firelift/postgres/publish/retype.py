"""Gives columns another type while every row is rewritten, and takes that back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from firelift.errors import FireliftError
from firelift.planning.model import PgType, TablePlan
from firelift.postgres.inspect.key_filter import KeyFilter, same_key
from firelift.postgres.publish.backups import Retyped
from firelift.postgres.schema.trial import HINDRANCES, hanging_on
from firelift.postgres.session.as_owner import execute_as, foreign_owners
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY


class CannotRetype(FireliftError):
    """A column must get another type, and something of yours that depends on it prevents that."""

    recovery = "after_fix"
    remedy = (
        "Drop what is named, continue with --resume, and make it anew for the new type; an incremental run with --schema-changes freeze "
        "leaves the columns as they are."
    )


class NotRewritten(FireliftError):
    """A column must get another type, and the target has rows that this run has not rewritten."""

    remedy = "Nothing was changed. Start a new run: something else wrote to the target while this run was under way."


def retype(connection: Connection, schema: str, plan: TablePlan, columns: Sequence[str], staged: KeyFilter) -> tuple[Retyped, ...]:
    """Gives the columns the plan's types; returns what is needed to take that back. Call it in a transaction that has locked the table.

    The converted values are only placeholders: all rows must be among the staged ones, which are written next.
    """
    table = sql.Identifier(schema, plan.table)
    others = sql.SQL("SELECT pg_catalog.count(*) FROM {} AS target WHERE NOT EXISTS (SELECT FROM ({}) AS staged WHERE {})")
    left = connection.execute(others.format(table, staged.keys_query(), same_key(plan.keys, "target", "staged"))).fetchone()
    if left and left[0]:
        raise NotRewritten(table=f"{schema}.{plan.table}", rows=left[0], columns=", ".join(columns))
    types = dict(plan.target_columns())
    before = tuple(_retyped(connection, schema, plan.table, column) for column in columns)
    for column in columns:
        with hindered(f"{schema}.{plan.table}", column, types[column], _hanging(connection, schema, plan.table, column)):
            _alter(connection, schema, plan.table, column, sql.SQL(types[column]), _converted(column, types[column]))
    return before


def empty_as(connection: Connection, schema: str, plan: TablePlan, columns: Sequence[str]) -> tuple[Retyped, ...]:
    """Gives the columns the plan's types, and NULL in every row: all rows are to be replaced. Returns what takes that back."""
    types = dict(plan.target_columns())
    before = tuple(_retyped(connection, schema, plan.table, column) for column in columns)
    for retyped in before:
        _empty(connection, schema, plan.table, retyped, types[retyped.column])
    return before


def retype_back(connection: Connection, schema: str, table: str, columns: Sequence[Retyped]) -> None:
    """Gives the columns their old types, and NULL in every row: the old values come from the backup."""
    for retyped in columns:
        _empty(connection, schema, table, retyped, retyped.before)


def _empty(connection: Connection, schema: str, table: str, retyped: Retyped, wanted: str) -> None:
    name = sql.Identifier(schema, table)
    with hindered(f"{schema}.{table}", retyped.column, wanted, _hanging(connection, schema, table, retyped.column)):
        if retyped.required:
            connection.execute(sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(name, sql.Identifier(retyped.column)))
        bare = sql.SQL(wanted.split(" COLLATE ")[0])
        _alter(connection, schema, table, retyped.column, sql.SQL(wanted), sql.SQL("NULL::{}").format(bare))


def require_again(connection: Connection, schema: str, table: str, columns: Sequence[Retyped]) -> None:
    """Makes the columns NOT NULL again that were, once there are values."""
    for retyped in columns:
        if retyped.required:
            alter = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL")
            with hindered(f"{schema}.{table}", retyped.column, "NOT NULL"):
                owner = foreign_owners(connection, schema, [table]).get(table)
                execute_as(connection, owner, alter.format(sql.Identifier(schema, table), sql.Identifier(retyped.column)))


@contextmanager
def hindered(table: str, column: str, wanted: str, hanging: Sequence[str] = ()) -> Iterator[None]:
    """Turns what PostgreSQL says of views, policies, constraints and defaults that depend on a column into CannotRetype.

    For a CHECK, an index or a default it gives no name: the error then names all of `hanging`, which depend on the column.
    """
    try:
        yield
    except HINDRANCES as error:
        # The detail names the view or policy; that of a constraint quotes a row.
        detail = error.diag.message_detail if isinstance(error, psycopg.errors.FeatureNotSupported) else None
        said = "; ".join(filter(None, [error.diag.message_primary, detail]))
        named = error.diag.constraint_name or not hanging
        suspects = {} if named else {"one_of": "; ".join(hanging)}
        raise CannotRetype(table=table, column=column, type=wanted, hindrance=said, **suspects) from error


def _hanging(connection: Connection, schema: str, table: str, column: str) -> list[str]:
    return [hanging.described for hanging in hanging_on(connection, schema, table, [column])]


def _retyped(connection: Connection, schema: str, table: str, column: str) -> Retyped:
    row = connection.execute(QUERY["column_type"], {"schema": schema, "table": table, "column": column}).fetchone()
    assert row is not None, "the table was looked at under its lock"
    return Retyped(column=column, before=row[0], required=row[1])


def _converted(column: str, wanted: PgType) -> sql.Composed:
    convert = sql.SQL("pg_catalog.to_jsonb({})") if wanted == "jsonb" else sql.SQL("{}::" + wanted)
    return convert.format(sql.Identifier(column))


def _alter(connection: Connection, schema: str, table: str, column: str, wanted: sql.SQL, using: sql.Composed) -> None:
    alter = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE {} USING {}")
    owner = foreign_owners(connection, schema, [table]).get(table)
    execute_as(connection, owner, alter.format(sql.Identifier(schema, table), sql.Identifier(column), wanted, using))
