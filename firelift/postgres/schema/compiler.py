"""Turns SQLAlchemy's DDL constructs into the exact text that PostgreSQL gets; psycopg executes it.

Nothing here opens a connection. Importing SQLAlchemy takes 0.2 s, so modules that workers load import this one inside functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from psycopg import sql
from sqlalchemy import Column, String, Table
from sqlalchemy.dialects.postgresql.base import PGDDLCompiler, PGDialect, PGTypeCompiler
from sqlalchemy.schema import CreateTable, ExecutableDDLElement


class CreateColumns(CreateTable):
    """CREATE TABLE with columns only: keys are added after the data."""

    __visit_name__ = "create_columns"


class AddColumns(ExecutableDDLElement):
    """ALTER TABLE that adds columns; they are those of `table`."""

    __visit_name__ = "add_columns"

    def __init__(self, table: Table, columns: Sequence[Column[Any]]) -> None:
        self.table, self.columns = table, columns


class SetIndexComment(ExecutableDDLElement):
    """COMMENT ON INDEX, for which SQLAlchemy has no construct."""

    __visit_name__ = "set_index_comment"

    def __init__(self, schema: str, index: str, comment: str) -> None:
        self.schema, self.index, self.comment = schema, index, comment


class Securable(NamedTuple):
    """What rights are given to: a table, or where `table` is None a schema itself or all of its tables."""

    schema: str
    table: str | None = None
    all_tables: bool = False


class EnableRowSecurity(ExecutableDDLElement):
    """ALTER TABLE that lets nobody but the owner see rows unless a policy says so."""

    __visit_name__ = "enable_row_security"

    def __init__(self, table: Securable) -> None:
        self.table = table


class Access(ExecutableDDLElement):
    """GRANT or REVOKE, on a table, or on a schema or all of its tables."""

    __visit_name__ = "access"

    def __init__(
        self, verb: Literal["GRANT", "REVOKE"], privileges: str, on: Securable, roles: Sequence[str], *, everybody: bool = False
    ) -> None:
        """`everybody`: also PUBLIC, which is no role."""
        self.verb, self.privileges, self.on, self.roles, self.everybody = verb, privileges, on, roles, everybody


class _Types(PGTypeCompiler):
    """Types as plans spell them."""

    def process(self, type_: Any, **options: Any) -> str:
        name, *collation = super().process(type_, **options).split(" COLLATE ")
        return " COLLATE ".join([SPELLED.get(name, name.lower()), *collation])


SPELLED = {"TIMESTAMP WITH TIME ZONE": "timestamptz", "TIMESTAMP WITHOUT TIME ZONE": "timestamp"}


class _Statements(PGDDLCompiler):
    """A line for each column, and the constructs that SQLAlchemy does not have."""

    def visit_create_table(self, create: Any, **_: Any) -> str:
        return self._create_table(create, [self.process(create.element.primary_key)])

    def visit_create_columns(self, create: Any, **_: Any) -> str:
        return self._create_table(create, [])

    def _create_table(self, create: Any, keys: Sequence[str]) -> str:
        table = create.element
        unless = "IF NOT EXISTS " if create.if_not_exists else ""
        lines = ",\n    ".join([*map(self._column, table.columns), *keys])
        return f"CREATE TABLE {unless}{self.preparer.format_table(table)} (\n    {lines}\n)"

    def _column(self, column: Column[Any]) -> str:
        return str(self.get_column_specification(column))  # type: ignore[no-untyped-call]

    def visit_add_columns(self, add: AddColumns, **_: Any) -> str:
        added = ", ".join(f"ADD COLUMN {self._column(column)}" for column in add.columns)
        return f"ALTER TABLE {self.preparer.format_table(add.table)} {added}"

    def visit_create_index(self, create: Any, include_schema: Any = False, include_table_schema: Any = True, **_: Any) -> str:
        """Without a name where the index has none: PostgreSQL then chooses one that is free."""
        index = create.element
        name = f" {self.preparer.quote(index.name)}" if index.name else ""
        columns = ", ".join(map(self.preparer.format_column, index.columns))
        return f"CREATE INDEX{name} ON {self.preparer.format_table(index.table)} ({columns})"

    def visit_set_index_comment(self, comment: SetIndexComment, **_: Any) -> str:
        name = ".".join(map(self.preparer.quote_identifier, (comment.schema, comment.index)))
        return f"COMMENT ON INDEX {name} IS {self.sql_compiler.render_literal_value(comment.comment, String())}"

    def visit_enable_row_security(self, enable: EnableRowSecurity, **_: Any) -> str:
        return f"ALTER {self._securable(enable.table)} ENABLE ROW LEVEL SECURITY"

    def visit_access(self, access: Access, **_: Any) -> str:
        roles = ", ".join([*(["PUBLIC"] if access.everybody else []), *map(self.preparer.quote_identifier, access.roles)])
        return f"{access.verb} {access.privileges} ON {self._securable(access.on)} {'TO' if access.verb == 'GRANT' else 'FROM'} {roles}"

    def _securable(self, on: Securable) -> str:
        schema = self.preparer.quote_identifier(on.schema)
        if on.table is not None:
            return f"TABLE {schema}.{self.preparer.quote_identifier(on.table)}"
        return f"{'ALL TABLES IN SCHEMA' if on.all_tables else 'SCHEMA'} {schema}"


class _Dialect(PGDialect):
    ddl_compiler = _Statements
    type_compiler_cls = _Types
    supports_statement_cache = True
    # Our sessions have standard_conforming_strings, which SQLAlchemy would find out when it connects.
    _backslash_escapes = False


# With the parameters of psycopg SQLAlchemy doubles every percent sign, also those in names.
_DIALECT = _Dialect(paramstyle="named")  # type: ignore[no-untyped-call]


def compiled(element: ExecutableDDLElement) -> sql.SQL:
    """The statement, without a semicolon."""
    return sql.SQL(str(element.compile(dialect=_DIALECT)))
