"""Finds which object of the user's made PostgreSQL refuse rows, also where its error names none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import psycopg
from psycopg import sql

from firelift.postgres.session.as_owner import execute_as
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

VALUES = ("20", "21", "22", "23", "2F", "38", "39", "54", "P0")
"""Classes of SQLSTATE for errors about values, or from a function of the user's."""
CODE = ("0A", "42")
"""Classes for errors about a statement, which may be one in a function that an index calls."""


class Expression(NamedTuple):
    """What PostgreSQL evaluates for each row: a CHECK, an index, a generated column or a default."""

    described: str
    terms: tuple[str, ...]
    condition: str | None
    """The rows for which it does; None: all."""

    def over(self, rows: sql.Composable, table: str) -> sql.Composed:
        """A query that evaluates it for these rows."""
        terms = sql.SQL(", ").join(sql.SQL("pg_catalog.count(({}))").format(sql.SQL(term)) for term in self.terms)
        query = sql.SQL("SELECT {} FROM {} AS {}").format(terms, rows, sql.Identifier(table))
        return query + sql.SQL(" WHERE {}").format(sql.SQL(self.condition)) if self.condition else query


class TableToWrite(NamedTuple):
    """A table's rows as they are to be."""

    table: str
    rows: sql.Composed
    owner: str | None
    """The role that evaluates its expressions."""


def named_by(error: psycopg.Error) -> dict[str, str]:
    """What PostgreSQL itself names."""
    diag = error.diag
    table = f"{diag.schema_name}.{diag.table_name}" if diag.schema_name and diag.table_name else diag.table_name
    said = {"table": table, "column": diag.column_name, "constraint": diag.constraint_name}
    return {name: value for name, value in said.items() if value}


def said_by(error: psycopg.Error) -> str:
    """Its words, without the value that some of them end with."""
    return str(error.diag.message_primary).partition(': "')[0]


def culprit(connection: Connection, schema: str, error: psycopg.Error, tables: Sequence[TableToWrite]) -> dict[str, str]:
    """The table and the object that made this error, found by evaluating one after the other; else all candidates.

    Call it after the failed statement was rolled back.
    """
    suspects = []
    for table in tables:
        for expression in expressions_of(connection, schema, table.table):
            described = expression.described
            suspects.append(described if " table " in described else f"{described} of table {schema}.{table.table}")
            if _fails_as(connection, table, expression, error):
                return {"table": f"{schema}.{table.table}", "object": described}
    return {"one_of": "; ".join(suspects)} if suspects and str(error.sqlstate)[:2] in VALUES else {}


def expressions_of(connection: Connection, schema: str, table: str) -> Iterator[Expression]:
    rows = connection.execute(QUERY["evaluated_expressions"], {"schema": schema, "table": table}).fetchall()
    yield from (Expression(described, tuple(terms), condition) for described, terms, condition in rows)


def _fails_as(connection: Connection, table: TableToWrite, expression: Expression, error: psycopg.Error) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            execute_as(connection, table.owner, expression.over(table.rows, table.table))
    except psycopg.Error as again:
        return again.sqlstate == error.sqlstate
    return False
