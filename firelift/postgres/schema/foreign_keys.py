"""Foreign keys from and to tables whose rows are replaced: whose they are, whether they will hold, and how they are deferred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from psycopg import sql

from firelift.errors import FireliftError
from firelift.planning.model import Frozen
from firelift.postgres.schema import ddl
from firelift.postgres.schema.names import MADE_BY_US
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

MOST_EXAMPLES = 5


class ForeignKeyBroken(FireliftError):
    """Rows of yours refer to rows that would be deleted, so nothing was changed."""

    recovery = "after_fix"
    remedy = "Change or delete the rows that refer to them, or drop the foreign key; then run again with --resume."


class ForeignKey(Frozen):
    """A foreign key as it is in the target."""

    name: str
    source_schema: str
    source: str
    columns: tuple[str, ...]
    references_schema: str
    references: str
    referenced: tuple[str, ...]
    definition: str
    deferrable: bool
    deferred: bool
    acts: bool
    """True for every ON DELETE or ON UPDATE but NO ACTION."""
    comment: str | None

    @property
    def relation(self) -> tuple[str, tuple[str, ...], str]:
        return self.source, self.columns, self.references


FutureRows = Mapping[str, sql.Composable]
"""Tables of the target schema by name, each as the query that shows its rows as they will be."""


def foreign_keys_of(connection: Connection, schema: str, tables: Sequence[str]) -> list[ForeignKey]:
    """Every foreign key from or to these tables."""
    rows = connection.execute(QUERY["foreign_keys_of_tables"], {"schema": schema, "tables": list(tables)})
    return [ForeignKey(**dict(zip(ForeignKey.model_fields, row, strict=True))) for row in rows]


def is_ours(key: ForeignKey) -> bool:
    """Whether Firelift made it, as its comment says, and it is still as it was made."""
    return key.comment == MADE_BY_US and not (key.acts or key.deferrable)


def orphans(connection: Connection, key: ForeignKey, schema: str, after: FutureRows) -> tuple[int, list[str]]:
    """How many rows will refer to nothing, with the first few references."""
    return _count(connection, key, schema, after, sql.SQL(""))


def refuse_broken(connection: Connection, keys: Sequence[ForeignKey], schema: str, after: FutureRows) -> None:
    """Raises ForeignKeyBroken where a row that refers to something would refer to nothing.

    PostgreSQL would obey ON DELETE CASCADE or SET NULL and change rows of the user's that no backup holds; here they count as broken.
    What refers to nothing already (a constraint that is NOT VALID) is not our doing.
    """
    for key in keys:
        table = sql.Identifier(key.references_schema, key.references)
        now = sql.SQL("AND EXISTS (SELECT FROM {} AS target WHERE {})").format(table, _match(key))
        count, examples = _count(connection, key, schema, after, now)
        if count:
            raise ForeignKeyBroken(
                constraint=key.name,
                table=f"{key.source_schema}.{key.source}",
                refers_to=f"{key.references_schema}.{key.references}",
                rows=count,
                such_as=", ".join(examples),
            )


def add_foreign_key(
    connection: Connection, schema: str, table: str, columns: Sequence[str], references: str, referenced: Sequence[str]
) -> str:
    """Makes a foreign key of ours within a schema; returns the name that PostgreSQL gave it."""
    before = _names(connection, schema, table)
    connection.execute(ddl.add_foreign_key(schema, table, columns, references, referenced))
    (made,) = _names(connection, schema, table) - before
    connection.execute(ddl.comment_on_constraint(schema, table, made))
    return made


def drop(connection: Connection, key: ForeignKey) -> None:
    table = sql.Identifier(key.source_schema, key.source)
    connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, sql.Identifier(key.name)))


def add_again(connection: Connection, key: ForeignKey) -> None:
    """Makes one of ours that was dropped. `definition` is PostgreSQL's own text, from the catalog."""
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
    definition = sql.SQL(key.definition)
    table = sql.Identifier(key.source_schema, key.source)
    connection.execute(add.format(table, sql.Identifier(key.name), definition))
    connection.execute(ddl.comment_on_constraint(key.source_schema, key.source, key.name))


@contextmanager
def deferred(connection: Connection, keys: Sequence[ForeignKey]) -> Iterator[None]:
    """Inside, these foreign keys wait; at the end every waiting one is checked, and each gets its own timing back.

    Nothing is dropped, and only changed rows are checked. An error leaves the rest to the transaction's end.
    """
    waiting = [key for key in keys if not key.deferred]
    for key in waiting:
        _alter(connection, key, "DEFERRABLE INITIALLY DEFERRED")
    yield
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for key in waiting:
        _alter(connection, key, "DEFERRABLE INITIALLY IMMEDIATE" if key.deferrable else "NOT DEFERRABLE")


def _names(connection: Connection, schema: str, table: str) -> set[str]:
    return {key.name for key in foreign_keys_of(connection, schema, [table]) if (key.source_schema, key.source) == (schema, table)}


def _alter(connection: Connection, key: ForeignKey, manner: str) -> None:
    alter = sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} {}")
    connection.execute(alter.format(sql.Identifier(key.source_schema, key.source), sql.Identifier(key.name), sql.SQL(manner)))


def _count(connection: Connection, key: ForeignKey, schema: str, after: FutureRows, further: sql.Composable) -> tuple[int, list[str]]:
    query = sql.SQL(
        "SELECT pg_catalog.count(*) OVER (), pg_catalog.concat_ws('/', {refers}) FROM {source} AS source "
        "WHERE {given} {further} AND NOT EXISTS (SELECT FROM {target} AS target WHERE {match}) ORDER BY {refers} LIMIT {limit}"
    ).format(
        refers=sql.SQL(", ").join(map(_source, key.columns)),
        source=_image(schema, key.source_schema, key.source, after),
        given=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(_source(column)) for column in key.columns),
        further=further,
        target=_image(schema, key.references_schema, key.references, after),
        match=_match(key),
        limit=sql.Literal(MOST_EXAMPLES),
    )
    rows = connection.execute(query).fetchall()
    return (rows[0][0] if rows else 0), [str(example) for _, example in rows]


def _image(target_schema: str, schema: str, table: str, after: FutureRows) -> sql.Composable:
    return after[table] if schema == target_schema and table in after else sql.Identifier(schema, table)


def _source(column: str) -> sql.Composed:
    return sql.SQL("source.{}").format(sql.Identifier(column))


def _match(key: ForeignKey) -> sql.Composed:
    pairs = zip(key.columns, key.referenced, strict=True)
    return sql.SQL(" AND ").join(sql.SQL("target.{} = {}").format(sql.Identifier(theirs), _source(ours)) for ours, theirs in pairs)
