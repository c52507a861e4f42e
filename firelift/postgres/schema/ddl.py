"""The statements that make, change and open tables, as psycopg executes them.

SQLAlchemy compiles them. It is imported when the first is needed, because worker processes, which load rows only, never need one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from psycopg import sql

from firelift.planning.model import TablePlan
from firelift.postgres.schema.names import MADE_BY_US
from firelift.postgres.schema.target_table import TargetTable

if TYPE_CHECKING:
    from firelift.postgres.schema.tables import PlannedTables


def planned_tables(schema: str, plans: Sequence[TablePlan], taken: Iterable[str] = ()) -> PlannedTables:
    """The statements for the tables of a plan; `taken` are names of relations that are in the schema already."""
    from firelift.postgres.schema.tables import PlannedTables

    return PlannedTables(schema, plans, taken)


def create_table(table: TargetTable, *, staged: bool = False) -> sql.SQL:
    """CREATE TABLE with columns only: keys, indexes and foreign keys come after the data.

    A staged timestamptz[] is a timestamp[] until `finish_types`: that is what the encoder of COPY writes.
    """
    from firelift.postgres.schema.compiler import CreateColumns, compiled
    from firelift.postgres.schema.tables import table_of

    return compiled(CreateColumns(table_of(table, staged=staged)))


def add_columns(table: TargetTable, names: Sequence[str]) -> sql.SQL:
    """ALTER TABLE that gives a table which exists the plan's columns of these names."""
    from firelift.postgres.schema.compiler import AddColumns, compiled
    from firelift.postgres.schema.tables import table_of

    made = table_of(table)
    return compiled(AddColumns(made, [made.c[name] for name in names]))


def add_soft_delete_column(table: TargetTable) -> sql.SQL:
    """ALTER TABLE that adds `firestore_deleted_at`, which says of a row when its document was deleted."""
    from firelift.postgres.schema.compiler import AddColumns, compiled
    from firelift.postgres.schema.tables import soft_delete_column, table_of

    made = table_of(table)
    return compiled(AddColumns(made, [soft_delete_column(made)]))


def create_keys(table: TargetTable, name: str) -> sql.SQL:
    """CREATE TABLE, unless it is there, for a table of this name that holds nothing but keys of the plan's table."""
    from sqlalchemy.schema import CreateTable

    from firelift.postgres.schema.compiler import compiled
    from firelift.postgres.schema.tables import keys_of

    return compiled(CreateTable(keys_of(table, name), if_not_exists=True))


def create_index(schema: str, table: str, columns: Sequence[str], name: str | None = None) -> sql.SQL:
    """CREATE INDEX on a table that exists; without a name PostgreSQL chooses one that is free."""
    from sqlalchemy.schema import CreateIndex

    from firelift.postgres.schema.compiler import compiled
    from firelift.postgres.schema.tables import index_of, known

    return compiled(CreateIndex(index_of(known(schema, table, columns), columns, name)))


def comment_on_index(schema: str, name: str) -> sql.SQL:
    """COMMENT that says that an index is ours."""
    from firelift.postgres.schema.compiler import SetIndexComment, compiled

    return compiled(SetIndexComment(schema, name, MADE_BY_US))


def add_foreign_key(schema: str, table: str, columns: Sequence[str], references: str, referenced: Sequence[str]) -> sql.SQL:
    """ALTER TABLE that adds a foreign key between tables that exist; PostgreSQL chooses a name that is free."""
    from sqlalchemy.schema import AddConstraint

    from firelift.postgres.schema.compiler import compiled
    from firelift.postgres.schema.tables import foreign_key_of, known

    # Two descriptions where a table refers to itself.
    key = foreign_key_of(known(schema, table, columns), columns, known(schema, references, referenced), referenced, None)
    return compiled(AddConstraint(key))


def comment_on_constraint(schema: str, table: str, name: str) -> sql.SQL:
    """COMMENT that says that a constraint is ours."""
    from sqlalchemy.schema import SetConstraintComment

    from firelift.postgres.schema.compiler import compiled
    from firelift.postgres.schema.tables import constraint_of, known

    return compiled(SetConstraintComment(constraint_of(known(schema, table), name)))


def grant(privileges: str, schema: str, roles: Sequence[str], table: str | None = None) -> sql.SQL:
    """GRANT on a schema, or on a table of it."""
    from firelift.postgres.schema.compiler import Access, Securable, compiled

    return compiled(Access("GRANT", privileges, Securable(schema, table), roles))


def revoke(
    privileges: str, schema: str, roles: Sequence[str], table: str | None = None, *, all_tables: bool = False, everybody: bool = False
) -> sql.SQL:
    """REVOKE on a schema, on a table of it or on all of them; `everybody`: also from PUBLIC, which is no role."""
    from firelift.postgres.schema.compiler import Access, Securable, compiled

    return compiled(Access("REVOKE", privileges, Securable(schema, table, all_tables), roles, everybody=everybody))


def enable_row_security(schema: str, table: str) -> sql.SQL:
    """ALTER TABLE that lets nobody but the owner see rows unless a policy says so."""
    from firelift.postgres.schema.compiler import EnableRowSecurity, Securable, compiled

    return compiled(EnableRowSecurity(Securable(schema, table)))


def create_schema(schema: str) -> sql.SQL:
    """CREATE SCHEMA."""
    from sqlalchemy.schema import CreateSchema

    from firelift.postgres.schema.compiler import compiled
    from firelift.postgres.session.sqlalchemy_setup import to_the_letter

    return compiled(CreateSchema(to_the_letter(schema)))
