"""Which names in a schema are taken, by what."""

from __future__ import annotations

from collections.abc import Sequence

from firelift.errors import ConfigurationError
from firelift.planning.model import Frozen
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY


class NamesTaken(ConfigurationError):
    """The target schema already has something other than a table under the name of one to be made."""

    remedy = "Drop or rename it, or choose another schema with --target-schema."


class TakenName(Frozen):
    """A name in a schema and the kind of object that has it."""

    name: str
    kind: str
    """`table`, `view`, `index`, `enum type`, …"""


def taken_names(connection: Connection, schema: str, names: Sequence[str]) -> list[TakenName]:
    """The objects with these names in a schema, in the order of the names; none where the schema does not exist. Reads catalogs only."""
    rows = connection.execute(QUERY["taken_names"], {"schema": schema, "names": list(names)})
    return [TakenName(name=name, kind=kind) for name, kind in rows]


def in_the_way(connection: Connection, schema: str, names: Sequence[str]) -> list[TakenName]:
    """The names that something else than a table has; whether the rows of a table can be replaced is decided in `compatibility`."""
    return [taken for taken in taken_names(connection, schema, names) if taken.kind not in ("table", "partitioned table")]


def summary(taken: Sequence[TakenName]) -> str:
    return ", ".join(f"{name.name} is a{'n' if name.kind[0] in 'aeiou' else ''} {name.kind}" for name in taken)
