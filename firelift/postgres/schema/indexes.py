"""Indexes of the target that could not hold the rows to be written: PostgreSQL refuses a row if its entry takes more than 2704 bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg
from psycopg import sql

from firelift.errors import FireliftError
from firelift.postgres.schema import ddl
from firelift.postgres.schema.foreign_keys import ForeignKey, is_ours
from firelift.postgres.schema.names import LONGEST_NAME, MADE_BY_US
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY
from firelift.receipts import Index, LeftIndex

_SURELY_FITS = 2600
"""Bytes of a row's values as they are stored, with which an index entry is not too long whatever is added for headers and alignment."""
_ADDED = 11
"""At most this many bytes more for each value."""


class TooLongForIndex(FireliftError):
    """An index of yours cannot hold a row that is to be written, so nothing was changed."""

    recovery = "after_fix"
    remedy = "Drop the index, or make one in its place that holds less, such as md5() of the column; then run again with --resume."


def create_index(connection: Connection, schema: str, table: str, columns: Sequence[str], name: str | None = None) -> str | None:
    """Makes an index of ours for a foreign key; returns its name, which by default PostgreSQL gives.

    None where it cannot be made yet: until VACUUM removes deleted rows, PostgreSQL puts them into the index, and they do not fit.
    """
    before = _names(connection, schema, table)
    if not rows_fit(connection, ddl.create_index(schema, table, columns, name)):
        return None
    (made,) = _names(connection, schema, table) - before
    connection.execute(ddl.comment_on_index(schema, made))
    return made


def statement_of(left: LeftIndex) -> str:
    """What makes the index, for people."""
    return ddl.create_index(left.target_schema, left.index.table, left.index.columns).as_string()


def rows_fit(connection: Connection, creation: sql.SQL) -> bool:
    """Makes an index; False, and nothing made, where it cannot hold the rows."""
    try:
        with connection.transaction():
            connection.execute(creation)
    except psycopg.errors.ProgramLimitExceeded:
        return False
    return True


def add_index_again(connection: Connection, schema: str, index: Index) -> bool:
    """Makes one of ours that was dropped, under another name where its own is taken by now. False: it cannot be made yet."""
    taken = (index.name,) in connection.execute(QUERY["relation_names"], {"schemas": [schema]}).fetchall()
    return create_index(connection, schema, index.table, index.columns, None if taken else index.name) is not None


def make_left(connection: Connection, left: Sequence[LeftIndex]) -> tuple[LeftIndex, ...]:
    """Makes indexes that had to wait until deleted rows were vacuumed; returns those that still wait. No transaction may be open."""
    return tuple(index for index in left if not _made_now(connection, index))


def _made_now(connection: Connection, left: LeftIndex) -> bool:
    if left.index.name in _names(connection, left.target_schema, left.index.table):
        return True
    try:
        clear_away(connection, left.target_schema, left.index.table)
        with connection.transaction():
            return add_index_again(connection, left.target_schema, left.index)
    except psycopg.Error:
        # Whatever it is: all the rest is done, and the caller gets to know which index is missing.
        return False


def clear_away(connection: Connection, schema: str, table: str) -> None:
    """Makes PostgreSQL remove deleted rows from the table's file, except those that another session may still see."""
    connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(schema, table)))


def drop_index(connection: Connection, schema: str, index: Index) -> None:
    connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, index.name)))


def overfull(
    connection: Connection, staging: str, schema: str, table: str, columns: Sequence[str], keys: Sequence[ForeignKey]
) -> tuple[Index, ...]:
    """The indexes of ours that cannot hold the staged rows of a table, so that they must go. Changes nothing.

    `columns` are the staged ones, and `keys` the foreign keys of the target. Raises TooLongForIndex for an index of the user's. Indexes
    with expressions, conditions or other columns are left out: only writing the rows shows whether they fit.
    """
    rows = connection.execute(QUERY["whole_column_indexes"], {"schema": schema, "table": table})
    found = [Index(table=table, name=name, columns=tuple(names), plain=plain, comment=said) for name, names, plain, said in rows]
    too_small = [index for index in found if {*index.columns} <= {*columns} and not _holds(connection, staging, index)]
    for index in too_small:
        if not _is_ours(index, found, schema, keys):
            listed = ", ".join(index.columns)
            raise TooLongForIndex(table=f"{schema}.{table}", index=index.name, columns=listed, most_bytes=2704)
    return tuple(too_small)


def too_long_for_index(connection: Connection, schema: str, table: str, error: psycopg.errors.ProgramLimitExceeded) -> FireliftError | None:
    """The error for a row that was refused while it was written; None where no index can be the reason."""
    said = str(error.diag.message_primary)
    named = error.diag.constraint_name or next(iter(re.findall(r'for index "(.+)"', said)), None)
    indexes = [named] if named else sorted(_names(connection, schema, table))
    return TooLongForIndex(table=f"{schema}.{table}", index=" or ".join(indexes), said=said) if indexes else None


def _is_ours(index: Index, others: Sequence[Index], schema: str, keys: Sequence[ForeignKey]) -> bool:
    """Whether Firelift made it, as its comment says.

    Those from before there were comments have the name that PostgreSQL gives, and a foreign key of ours on exactly their columns.
    """
    if index.comment is not None or not index.plain:
        return index.plain and index.comment == MADE_BY_US
    if any(other.columns == index.columns and other.comment == MADE_BY_US for other in others):
        return False
    name = f"{'_'.join([index.table, *index.columns])}_idx"
    ours = [key.columns for key in keys if is_ours(key) and (key.source_schema, key.source) == (schema, index.table)]
    return index.name == name and len(name.encode()) <= LONGEST_NAME and index.columns in ours


def _holds(connection: Connection, staging: str, index: Index) -> bool:
    """Whether the staged rows fit. Only an attempt shows it, as PostgreSQL compresses long values."""
    if not _may_be_too_long(connection, staging, index):
        return True
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(ddl.create_index(staging, index.table, index.columns))
    except psycopg.errors.ProgramLimitExceeded:
        return False
    return True


def _may_be_too_long(connection: Connection, staging: str, index: Index) -> bool:
    sizes = [sql.SQL("coalesce(pg_catalog.pg_column_size({}), 0)").format(sql.Identifier(column)) for column in index.columns]
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} > {})")
    most = sql.Literal(_SURELY_FITS - _ADDED * len(sizes))
    found = connection.execute(query.format(sql.Identifier(staging, index.table), sql.SQL(" + ").join(sizes), most)).fetchone()
    return found == (True,)


def _names(connection: Connection, schema: str, table: str) -> set[str]:
    return {name for (name,) in connection.execute(QUERY["secondary_indexes"], {"schema": schema, "table": table})}
