"""The tables of a plan as SQLAlchemy's MetaData: columns, keys, foreign keys, indexes and comments.

Nothing here opens a connection, and no name is ever taken apart or left unquoted.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import sql
from sqlalchemy import BigInteger, Boolean, Column, Constraint, ForeignKeyConstraint, Index, MetaData, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, JSONB, TIMESTAMP
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, SetConstraintComment
from sqlalchemy.types import TypeEngine

from firelift.planning.model import DELETED_AT, PgType, TablePlan
from firelift.planning.references import Relation, relations_of
from firelift.postgres.schema.compiler import SetIndexComment, compiled
from firelift.postgres.schema.names import MADE_BY_US, default_name
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.sqlalchemy_setup import to_the_letter

# Byte order is Firestore's order of ids, the same on every server and after every upgrade of its locales.
ID = Text(collation="C")
TYPES: dict[PgType, TypeEngine[Any]] = {
    "text": Text(),
    "bigint": BigInteger(),
    "double precision": DOUBLE_PRECISION(),
    "boolean": Boolean(),
    "timestamptz": TIMESTAMP(timezone=True),
    "bytea": BYTEA(),
    "jsonb": JSONB(),
    "text[]": ARRAY(Text()),
    "bigint[]": ARRAY(BigInteger()),
    "double precision[]": ARRAY(DOUBLE_PRECISION()),
    "boolean[]": ARRAY(Boolean()),
    "timestamptz[]": ARRAY(TIMESTAMP(timezone=True)),
}
STAGED_TIMESTAMPS = ARRAY(TIMESTAMP())


class Commented(NamedTuple):
    """The statement that makes an index or a foreign key of ours, and the one that says in its comment that it is ours."""

    creation: sql.SQL
    comment: sql.SQL


class PlannedTables:
    """The statements that make the tables of a plan in a schema, all compiled from one MetaData."""

    def __init__(self, schema: str, plans: Sequence[TablePlan], taken: Iterable[str] = ()) -> None:
        """`taken` are names of relations that are in the schema already."""
        self.schema, self.metadata = schema, metadata_of(schema, plans, taken)
        self._tables = {str(table.name): table for table in self.metadata.tables.values()}
        self._indexes = {(name, tuple(index.columns.keys())): index for name, table in self._tables.items() for index in table.indexes}
        self._foreign_keys = {
            (name, tuple(key.column_keys)): key for name, table in self._tables.items() for key in table.foreign_key_constraints
        }

    def table(self, table: str) -> sql.SQL:
        """CREATE TABLE with the primary key."""
        return compiled(CreateTable(self._tables[table]))

    def primary_key(self, table: str) -> sql.SQL:
        """ALTER TABLE that adds the primary key to a table that was created without."""
        return compiled(AddConstraint(self._tables[table].primary_key))

    def index(self, relation: Relation) -> Commented | None:
        """The index of a link's columns; None for a parent, whose columns lead the primary key."""
        index = self._indexes.get((relation.table, relation.columns))
        if index is None:
            return None
        return Commented(compiled(CreateIndex(index)), compiled(SetIndexComment(self.schema, str(index.name), MADE_BY_US)))

    def foreign_key(self, relation: Relation) -> Commented:
        key = self._foreign_keys[relation.table, relation.columns]
        return Commented(compiled(AddConstraint(key)), compiled(SetConstraintComment(key)))


def metadata_of(schema: str, plans: Sequence[TablePlan], taken: Iterable[str] = ()) -> MetaData:
    """The tables in a schema with all that they have when every reference leads somewhere; `taken` are names of relations there.

    Keys and indexes have the names that PostgreSQL would give them. An index follows each link, as a parent's columns lead the primary key.
    """
    metadata = _nameless()
    tables = {plan.table: table_of(TargetTable(schema, plan), metadata) for plan in plans}
    # PostgreSQL calls no index as it does a table, and no constraint as another one of the schema.
    relations = {*taken, *tables}
    for name, table in tables.items():
        table.primary_key.name = to_the_letter(default_name(name, (), "pkey", relations))
        relations.add(str(table.primary_key.name))
    constraints = {str(table.primary_key.name) for table in tables.values()}
    for relation in relations_of(plans):
        table, columns = tables[relation.table], relation.columns
        if relation.kind == "link":
            index = index_of(table, columns, default_name(relation.table, columns, "idx", relations))
            relations.add(str(index.name))
        references, name = tables[relation.references], default_name(relation.table, columns, "fkey", constraints)
        key = foreign_key_of(table, columns, references, relation.referenced, name)
        constraints.add(str(key.name))
    return metadata


def table_of(table: TargetTable, metadata: MetaData | None = None, *, staged: bool = False) -> Table:
    """The table with its columns and primary key. A staged timestamptz[] is a timestamp[]: that is what the encoder of COPY writes."""
    references = table.plan.reference_columns()
    columns = [_column(table, name, pg_type, staged, references) for name, pg_type in table.plan.target_columns()]
    return _table(table.schema, table.name, columns, table.keys, metadata)


def keys_of(table: TargetTable, name: str) -> Table:
    """A table of this name that holds nothing but keys of the plan's table."""
    return _table(table.schema, name, [_id(key, nullable=False) for key in table.keys], table.keys)


def known(schema: str, name: str, columns: Sequence[str] = ()) -> Table:
    """A table that exists, with those of its columns that a statement is about."""
    return _table(schema, name, [_id(column, nullable=True) for column in columns], ())


def soft_delete_column(table: Table) -> Column[Any]:
    """`firestore_deleted_at`, which says of a row when its document was deleted."""
    column: Column[Any] = Column(to_the_letter(DELETED_AT), TYPES["timestamptz"])
    table.append_column(column)
    return column


def index_of(table: Table, columns: Sequence[str], name: str | None) -> Index:
    """An index of ours for a foreign key."""
    return Index(name and to_the_letter(name), *(table.c[column] for column in columns))


def foreign_key_of(
    table: Table, columns: Sequence[str], references: Table, referenced: Sequence[str], name: str | None
) -> ForeignKeyConstraint:
    """A foreign key of ours, added to the table."""
    # Columns and not their names, which SQLAlchemy would take apart at dots.
    ends = [references.c[column] for column in referenced]
    key = ForeignKeyConstraint([table.c[column] for column in columns], ends, name=name and to_the_letter(name), comment=MADE_BY_US)
    table.append_constraint(key)
    return key


def constraint_of(table: Table, name: str) -> Constraint:
    """A constraint of ours that exists."""
    constraint = Constraint(to_the_letter(name), comment=MADE_BY_US)
    table.append_constraint(constraint)
    return constraint


def _column(table: TargetTable, name: str, pg_type: PgType, staged: bool, references: Container[str]) -> Column[Any]:
    if name in table.keys:
        return _id(name, nullable=False)
    if name in references:
        # As the keys they refer to: a join between two collations cannot use the index.
        return _id(name, nullable=True)
    return Column(to_the_letter(name), STAGED_TIMESTAMPS if staged and pg_type == "timestamptz[]" else TYPES[pg_type])


def _id(name: str, *, nullable: bool) -> Column[Any]:
    return Column(to_the_letter(name), ID, nullable=nullable)


def _table(schema: str, name: str, columns: Sequence[Column[Any]], keys: Sequence[str], metadata: MetaData | None = None) -> Table:
    key = [PrimaryKeyConstraint(*(column for column in columns if column.name in keys))] if keys else []
    return Table(to_the_letter(name), _nameless() if metadata is None else metadata, *columns, *key, schema=to_the_letter(schema))


def _nameless() -> MetaData:
    """SQLAlchemy would give indexes names of its own; without one PostgreSQL chooses, and knows what is free."""
    conventions: dict[str, Any] = {"ix": None}
    return MetaData(naming_convention=conventions)
