"""Which columns of one table name a row of another, by the plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from firelift.planning.model import Frozen, TablePlan


class Relation(Frozen):
    """Columns of one table that name a row of another."""

    kind: Literal["parent", "link"]
    table: str
    columns: tuple[str, ...]
    references: str
    referenced: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
        """Table and columns, and the table and columns that they refer to."""
        return self.table, self.columns, self.references, self.referenced


def relations_of(tables: Sequence[TablePlan]) -> Iterator[Relation]:
    """Every parent and every reference whose target is among the tables."""
    by_collection = {table.collection: table for table in tables}
    for table in tables:
        if table.parent in by_collection:
            yield _relation("parent", table, table.keys[:-1], by_collection[table.parent])
        for column in table.columns:
            if column.reference and column.reference.collection in by_collection:
                yield _relation("link", table, (*column.reference.ancestors, column.name), by_collection[column.reference.collection])


def _relation(kind: Literal["parent", "link"], table: TablePlan, columns: tuple[str, ...], to: TablePlan) -> Relation:
    return Relation(kind=kind, table=table.table, columns=columns, references=to.table, referenced=to.keys)
