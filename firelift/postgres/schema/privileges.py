"""Who may reach a schema or table of ours, in particular through Supabase's API."""

from __future__ import annotations

from psycopg import sql

from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

# The roles a Supabase API request runs as: without a key of its own, with a user's token, with the secret key.
PUBLIC_API_ROLES = ("anon", "authenticated")
SERVICE_ROLE = "service_role"


def close_schema(connection: Connection, schema: str) -> None:
    """Revokes everybody's rights to a schema of ours, whatever default privileges granted."""
    for what in ("SCHEMA {}", "ALL TABLES IN SCHEMA {}"):
        target = sql.SQL(what).format(sql.Identifier(schema))
        connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(target, _everybody(connection, *PUBLIC_API_ROLES, SERVICE_ROLE)))
    _let_nobody_add(connection, schema)


def open_schema(connection: Connection, schema: str) -> None:
    """Lets the service role into a schema that we made for the target."""
    for role in _existing(connection, SERVICE_ROLE):
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(sql.Identifier(schema), sql.Identifier(role)))


def close_table(connection: Connection, schema: str, table: str) -> None:
    """A new table: row-level security without a policy, nothing for the public API, everything for the service role."""
    name = sql.Identifier(schema, table)
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(name))
    connection.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(name, _everybody(connection, *PUBLIC_API_ROLES)))
    for role in _existing(connection, SERVICE_ROLE):
        connection.execute(sql.SQL("GRANT ALL ON TABLE {} TO {}").format(name, sql.Identifier(role)))


def _let_nobody_add(connection: Connection, schema: str) -> None:
    """Roles that were allowed to read still are, but they can no longer write or make tables and triggers there."""
    others = [sql.Identifier(str(role)) for (role,) in connection.execute(QUERY["foreign_grantees"], {"schema": schema})]
    if not others:
        return
    for what in ("CREATE ON SCHEMA {}", "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA {}"):
        revoke = sql.SQL("REVOKE {} FROM {}").format(sql.SQL(what).format(sql.Identifier(schema)), sql.SQL(", ").join(others))
        connection.execute(revoke)


def _everybody(connection: Connection, *roles: str) -> sql.Composed:
    return sql.SQL(", ").join([sql.SQL("PUBLIC"), *map(sql.Identifier, _existing(connection, *roles))])


def _existing(connection: Connection, *roles: str) -> list[str]:
    return [str(role) for (role,) in connection.execute(QUERY["existing_roles"], {"roles": list(roles)})]
