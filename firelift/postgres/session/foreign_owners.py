"""Refuses whatever in the target belongs to another role and would be used by Firelift, or would run in its name."""

from __future__ import annotations

from collections.abc import Sequence

from firelift.errors import ConfigurationError
from firelift.planning.model import Frozen
from firelift.postgres.session.connection import Connection
from firelift.postgres.session.queries import QUERY

MOST_NAMED = 5


class BelongsToAnother(ConfigurationError):
    """Something in the target that Firelift would use, or that would run in its name, belongs to another role."""

    recovery = "after_fix"
    remedy = (
        "Look at it before anything else: whoever owns it could act with the rights of the migrating role. Then drop it, or make it the "
        "migrating role's own (ALTER … OWNER TO), or connect as its owner. A table of the target may be written as its owner: "
        "--trust-owner."
    )


class SchemaOfAnother(ConfigurationError):
    """The target schema belongs to another role."""

    recovery = "after_fix"
    remedy = (
        "Choose another with --target-schema, connect as its owner, make it the migrating role's own (ALTER SCHEMA … OWNER TO), "
        "or name its owner with --trust-owner."
    )


class Foreign(Frozen):
    """An object that belongs to another role."""

    what: str
    """As PostgreSQL describes it: `function app.check(text)`."""
    owner: str
    used_by: str | None
    """The table for which it would run; None where it would be used itself."""

    def __str__(self) -> str:
        return f"{self.what} belongs to {self.owner}{f' and is used by {self.used_by}' if self.used_by else ''}"


def foreign_objects(
    connection: Connection, *, own: Sequence[str] = (), schema: str | None = None, tables: Sequence[str] = ()
) -> list[Foreign]:
    """What belongs to another role: the schemas `own`, all their tables, and the tables of these names in a schema.

    Reads catalogs only. A table whose owner the connection trusts may be there: it is written as that role.
    """
    untrusted = [role for (role,) in connection.execute(QUERY["untrusted_owners"])]
    if not untrusted:
        return []
    given = {"own": list(own), "target_schema": schema, "tables": list(tables), "trusted": list(trusted_by(connection))}
    given["untrusted"] = untrusted
    return [Foreign(what=what, owner=owner, used_by=table) for what, owner, table in connection.execute(QUERY["foreign_objects"], given)]


def refuse_foreign(connection: Connection, *, own: Sequence[str] = (), schema: str | None = None, tables: Sequence[str] = ()) -> None:
    """Raises BelongsToAnother where `foreign_objects` finds something."""
    if found := foreign_objects(connection, own=own, schema=schema, tables=tables):
        raise belongs_to_another(connection, found)


def refuse_foreign_in_own(connection: Connection, *own: str) -> None:
    """As `refuse_foreign(own=…)`, but quick (1 ms): for whatever uses what was looked at as a whole before."""
    rows = connection.execute(QUERY["foreign_in_own_schemas"], {"own": list(own)}).fetchall()
    if rows:
        raise belongs_to_another(connection, [Foreign(what=what, owner=owner, used_by=table) for what, owner, table in rows])


def belongs_to_another(connection: Connection, found: Sequence[Foreign]) -> BelongsToAnother:
    facts: dict[str, object] = {"role": connection.info.user}
    facts["objects"] = "; ".join(map(str, found[:MOST_NAMED]))
    if len(found) > MOST_NAMED:
        facts["others"] = len(found) - MOST_NAMED
    return BelongsToAnother(**facts)


def refuse_foreign_schema(connection: Connection, schema: str) -> None:
    """Raises SchemaOfAnother where the target schema belongs to neither us, the database's owner nor a role that the connection trusts."""
    row = connection.execute(QUERY["foreign_target_schema"], {"schema": schema, "trusted": list(trusted_by(connection))}).fetchone()
    if row:
        raise SchemaOfAnother(schema=schema, owner=row[0], role=connection.info.user)


def trusted_by(connection: Connection) -> tuple[str, ...]:
    """Roles named by the user, whose tables are written as them."""
    return tuple(getattr(connection, "trusted", ()))


def own_schema_exists(connection: Connection, schema: str) -> bool:
    """Whether a schema of Firelift's is there; raises BelongsToAnother where it, or a table in it, is somebody else's."""
    refuse_foreign_in_own(connection, schema)
    return schema_exists(connection, schema)


def schema_exists(connection: Connection, schema: str) -> bool:
    return connection.execute(QUERY["schema_exists"], {"schema": schema}).fetchone() == (True,)
