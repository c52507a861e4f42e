"""Which names in a schema are taken, by what."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from firelift.errors import ConfigurationError
from firelift.plan import Frozen
from firelift.postgres.connect import Connection
from firelift.postgres.queries import QUERY


class NamesTaken(ConfigurationError):
    """The target schema already has something other than a table under the name of one to be made."""

    remedy = "Drop or rename it, or choose another schema with --target-schema."


class TakenName(Frozen):
    """A name in a schema and what bears it."""

    name: str
    kind: str
    """`table`, `view`, `index`, `enum type`, …"""
    has_rows: bool | None = None
    """None for what is not a table, or a table we may not read."""

    def __str__(self) -> str:
        return {True: f"{self.kind} with rows", False: f"empty {self.kind}", None: self.kind}[self.has_rows]


def taken_names(connection: Connection, schema: str, names: Sequence[str]) -> list[TakenName]:
    """What stands under these names in a schema, in the order of the names; nothing where the schema does not exist."""
    rows = connection.execute(QUERY["taken_names"], {"schema": schema, "names": list(names)}).fetchall()
    return [TakenName(name=name, kind=kind, has_rows=_has_rows(connection, schema, name, kind)) for name, kind in rows]


def in_the_way(connection: Connection, schema: str, names: Sequence[str]) -> list[TakenName]:
    """The names that something else than a table has; whether the rows of a table can be replaced is another question (`fit`)."""
    return [taken for taken in taken_names(connection, schema, names) if taken.kind not in ("table", "partitioned table")]


def in_one_line(taken: Sequence[TakenName]) -> str:
    return ", ".join(f"{name.name} is a {name}" if str(name)[0] not in "aeiou" else f"{name.name} is an {name}" for name in taken)


def _has_rows(connection: Connection, schema: str, name: str, kind: str) -> bool | None:
    if kind not in ("table", "partitioned table"):
        return None
    table = sql.Literal(sql.Identifier(schema, name).as_string())
    readable = connection.execute(sql.SQL("SELECT has_table_privilege({}, 'SELECT')").format(table)).fetchone()
    if readable != (True,):
        return None
    row = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(schema, name))).fetchone()
    return row == (True,)
