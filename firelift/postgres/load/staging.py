"""The staging schema of a run, where tables grow unseen until they are published."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from psycopg import sql

from firelift.planning.model import TablePlan
from firelift.postgres.schema.ddl import create_schema, create_table
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.privileges import close_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import own_schema_exists, refuse_foreign, schema_exists
from firelift.postgres.session.lock_capacity import explaining_locks, tables_in
from firelift.postgres.session.queries import QUERY


def create_staging(connection: Connection, migration_id: str, tables: Sequence[TablePlan]) -> str:
    """Makes the run's staging schema with one table for each plan, and returns its name; what exists already stays."""
    schema = staging_schema(migration_id)
    with explaining_locks(connection, len(tables)), translated("creating the staging schema"), connection.transaction():
        refuse_foreign(connection, own=[schema])
        if not schema_exists(connection, schema):
            # Receipts without their rows would make a resumed run skip rows that are not there.
            connection.execute(QUERY["forget_chunks"], {"migration_id": migration_id})
            connection.execute(create_schema(schema))
            # Its number may be that of another schema in another database: what was loaded there is not here.
            connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schema), sql.Literal(str(uuid4()))))
        existing = {name for (name,) in connection.execute(QUERY["relation_names"], {"schemas": [schema]})}
        for table in tables:
            if table.table not in existing:
                connection.execute(create_table(TargetTable(schema, table), staged=True))
        close_schema(connection, schema)
    return schema


def staging_token(connection: Connection, migration_id: str) -> str | None:
    """Identifies this staging schema among all that ever have its name; None where there is none."""
    row = connection.execute(QUERY["staging_token"], {"schema": staging_schema(migration_id)}).fetchone()
    return str(row[0]) if row else None


def drop_staging(connection: Connection, migration_id: str) -> None:
    """Removes the run's staging schema together with the receipts of what was in it."""
    schema = staging_schema(migration_id)
    many = explaining_locks(connection, lambda: tables_in(connection, schema))
    with many, translated("dropping the staging schema"), connection.transaction():
        if own_schema_exists(connection, schema):
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
            connection.execute(QUERY["forget_chunks"], {"migration_id": migration_id})


def finish_types(connection: Connection, table: TargetTable) -> None:
    """Gives staged timestamp[] columns their time zone. Exact, as the session is in UTC; a rewrite of the table, once."""
    with translated(f"finishing the types of {table.name}"):
        rows = connection.execute(QUERY["columns_to_finish"], table.parameters).fetchall()
        changes = [sql.SQL("ALTER COLUMN {} TYPE timestamptz[]").format(sql.Identifier(name)) for (name,) in rows]
        if changes:
            connection.execute(sql.SQL("ALTER TABLE {} {}").format(table.identifier, sql.SQL(", ").join(changes)))
