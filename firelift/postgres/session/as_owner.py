"""Has a statement carried out as the owner of the table that it writes to, whose code then never has our rights.

`SET ROLE` would not do: code that the statement runs may say RESET ROLE. In a function with SECURITY DEFINER PostgreSQL allows neither, so
the statement is put into one that belongs to the owner, made for this one call: its owner could replace it in the middle of the call.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from psycopg import sql

from firelift.errors import FireliftError
from firelift.postgres.session.connect import SEARCH_PATH, Connection
from firelift.postgres.session.foreign_owners import refuse_foreign
from firelift.postgres.session.queries import QUERY


class RunsAtTheEnd(FireliftError):
    """A table that is to be written as its owner has deferred triggers, which would run with our rights when the transaction ends."""

    recovery = "after_fix"
    remedy = "Drop what is named, or make it NOT DEFERRABLE; nothing was changed."


def foreign_owners(connection: Connection, schema: str, tables: Sequence[str]) -> dict[str, str]:
    """By table the role it belongs to, of those that are not ours."""
    return dict(connection.execute(QUERY["foreign_owners"], {"schema": schema, "tables": list(tables)}).fetchall())


def execute_as(connection: Connection, owner: str | None, statement: sql.Composed) -> None:
    """Carries out a statement that returns nothing: as we are, or as this owner. Call it in a transaction."""
    if owner is None:
        connection.execute(statement)
        return
    function = sql.Identifier("pg_temp", f"firelift_{uuid4().hex}")
    connection.execute(_AS_OWNER.format(function=function, owner=sql.Identifier(owner)))
    try:
        connection.execute(sql.SQL("SELECT {}(%s)").format(function), [statement.as_string(connection)])
    finally:
        if connection.info.transaction_status.name == "INTRANS":
            restore_session(connection)
    connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}(text)").format(function))


def restore_session(connection: Connection) -> None:
    """What the owner's code has set would be in force for what we do next."""
    connection.execute(SEARCH_PATH)
    connection.execute(QUERY["prepare_session"])


_AS_OWNER = sql.SQL(
    "CREATE FUNCTION {function}(statement text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp"
    " AS 'BEGIN EXECUTE statement; END'; ALTER FUNCTION {function}(text) OWNER TO {owner}"
)


def lend(connection: Connection, owner: str, schema: str, tables: Sequence[str]) -> None:
    """Lets the owner read what is to be written to its table, within this transaction: the schema is dropped at its end."""
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(owner)))
    listed = sql.SQL(", ").join(sql.Identifier(schema, table) for table in tables)
    connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(listed, sql.Identifier(owner)))


def refuse_left_over(connection: Connection, schema: str, tables: Sequence[str]) -> None:
    """For after the owners' code has run, and before anything of theirs is read again: it may have prepared what would run in our name.

    Before PostgreSQL 18 a trigger that waits for the end of the transaction runs with the rights of whoever ends it.
    """
    refuse_foreign(connection, schema=schema, tables=tables)
    if found := [name for (name,) in connection.execute(QUERY["foreign_and_deferrable"])]:
        raise RunsAtTheEnd(objects="; ".join(found))
