"""Who may reach a schema or table of ours, in particular through Supabase's API."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from psycopg import sql

from firelift.postgres.schema import ddl
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

# The roles a Supabase API request runs as: without a key of its own, with a user's token, with the secret key.
PUBLIC_API_ROLES = ("anon", "authenticated")
SERVICE_ROLE = "service_role"
WRITING = "INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER"


def close_schema(connection: Connection, schema: str) -> None:
    """Revokes everybody's rights to a schema of ours, whatever default privileges granted."""
    roles = existing_api_roles(connection)
    for all_tables in (False, True):
        connection.execute(ddl.revoke("ALL", schema, roles, all_tables=all_tables, everybody=True))
    _let_nobody_add(connection, schema)


def open_schema(connection: Connection, schema: str) -> None:
    """Lets the service role into a schema that we made for the target."""
    for statement in access_to_schema(schema, existing_api_roles(connection)):
        connection.execute(statement)


def access_to_schema(schema: str, roles: Collection[str]) -> Iterator[sql.SQL]:
    """The statements of `open_schema`; `roles` are those of Supabase's API that exist."""
    if SERVICE_ROLE in roles:
        yield ddl.grant("USAGE", schema, [SERVICE_ROLE])


def close_table(connection: Connection, schema: str, table: str) -> None:
    """A new table: row-level security without a policy, nothing for the public API, everything for the service role."""
    for statement in access_to_new_table(schema, table, existing_api_roles(connection)):
        connection.execute(statement)


def access_to_new_table(schema: str, table: str, roles: Collection[str]) -> Iterator[sql.SQL]:
    """The statements of `close_table`; `roles` are those of Supabase's API that exist."""
    yield ddl.enable_row_security(schema, table)
    yield ddl.revoke("ALL", schema, [role for role in PUBLIC_API_ROLES if role in roles], table, everybody=True)
    if SERVICE_ROLE in roles:
        yield ddl.grant("ALL", schema, [SERVICE_ROLE], table)


def _let_nobody_add(connection: Connection, schema: str) -> None:
    """Roles that were allowed to read still are, but they can no longer write or make tables and triggers there."""
    others = [str(role) for (role,) in connection.execute(QUERY["foreign_grantees"], {"schema": schema})]
    if others:
        connection.execute(ddl.revoke("CREATE", schema, others))
        connection.execute(ddl.revoke(WRITING, schema, others, all_tables=True))


def existing_api_roles(connection: Connection) -> list[str]:
    """The roles of Supabase's API that the server has: none outside Supabase."""
    wanted = {"roles": [*PUBLIC_API_ROLES, SERVICE_ROLE]}
    return [str(role) for (role,) in connection.execute(QUERY["existing_roles"], wanted)]
