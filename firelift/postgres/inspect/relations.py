"""Relations between published tables: orphaned rows, and the foreign keys that rule them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from psycopg import sql

from firelift.planning.model import TablePlan
from firelift.planning.references import Relation, relations_of
from firelift.postgres.load.constraints import CheckedRelation, Orphan, orphaned, orphans_of
from firelift.postgres.schema.compatibility import ExistingTable, described_tables
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.queries import QUERY

ForeignKeyed = tuple[str, tuple[str, ...], str, tuple[str, ...]]
"""Table, columns, and what they refer to."""


class PublishedRelation(Relation):
    """A relation as its tables are now."""

    orphans: int
    examples: tuple[Orphan, ...]
    foreign_key: bool
    """True when there is a foreign key that is enforced and validated for every row."""
    query: str
    """The SQL that lists the orphaned rows, by key and by what they refer to."""


def check_relations(connection: Connection, schema: str, tables: Sequence[TablePlan]) -> Iterator[PublishedRelation]:
    """Every relation between the tables of a plan, counted again; reads only.

    A relation whose tables or columns are not there, or of other types, is left out: they are another check's finding.
    """
    with translated("checking relations"):
        existing = described_tables(connection, schema, [table.table for table in tables])
        foreign_keys = _validated_foreign_keys(connection, schema)
    keys_of = {table.table: table.keys for table in tables}
    for relation in relations_of(tables):
        if _exists(relation, keys_of[relation.table], existing):
            keyed = relation.ends in foreign_keys
            yield _check(connection, schema, relation, keys_of[relation.table], keyed)


def checked_again(connection: Connection, schema: str, relation: Relation, keys: Sequence[str]) -> CheckedRelation:
    """A relation as its tables are now. A validated foreign key leaves nothing to count."""
    if relation.ends in _validated_foreign_keys(connection, schema):
        return CheckedRelation(**relation.model_dump(), orphans=0, examples=(), created=True)
    orphans, examples = orphans_of(connection, schema, relation, keys)
    return CheckedRelation(**relation.model_dump(), orphans=orphans, examples=examples, created=False)


def _validated_foreign_keys(connection: Connection, schema: str) -> set[ForeignKeyed]:
    rows = connection.execute(QUERY["validated_foreign_keys"], {"schema": schema})
    return {(table, tuple(columns), references, tuple(referenced)) for table, columns, references, referenced in rows}


def _exists(relation: Relation, keys: Sequence[str], existing: Mapping[str, ExistingTable]) -> bool:
    needed = ((relation.table, (*keys, *relation.columns)), (relation.references, relation.referenced))
    return all(table in existing and all(_is_text(existing[table], column) for column in columns) for table, columns in needed)


def _is_text(table: ExistingTable, column: str) -> bool:
    return column in table.columns and table.columns[column].type == "text"


def _check(connection: Connection, schema: str, relation: Relation, keys: Sequence[str], keyed: bool) -> PublishedRelation:
    with translated(f"looking for orphaned rows of {relation.table}"):
        orphans, examples = orphans_of(connection, schema, relation, keys)
    query = _listing(schema, relation, keys).as_string(connection)
    return PublishedRelation(**relation.model_dump(), orphans=orphans, examples=examples, foreign_key=keyed, query=query)


def _listing(schema: str, relation: Relation, keys: Sequence[str]) -> sql.Composed:
    # Each column once: what wraps the query may not have two of one name.
    columns = [sql.SQL("source.{}").format(sql.Identifier(name)) for name in dict.fromkeys((*keys, *relation.columns))]
    return sql.SQL("SELECT {} {}").format(sql.SQL(", ").join(columns), orphaned(schema, relation))
