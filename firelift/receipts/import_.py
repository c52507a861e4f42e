"""The staging tables, and the rows that import has loaded into them."""

from __future__ import annotations

from pydantic import Field

from firelift.receipts.receipt import Receipt
from firelift.receipts.root_collections import RootGroup


class Staged(Receipt):
    """The staging schema, which readers of the target do not see."""

    token: str
    """Unique for every schema that was created, even under the same name."""
    published: bool
    """An earlier attempt of this run has published its tables, so there is nothing left to load."""


class Loaded(RootGroup):
    """Root collections in the staging tables, with rows by table."""

    chunks: int
    rows: dict[str, int] = Field(default_factory=dict)
    remade: tuple[str, ...] = ()
    """Damaged files with rows that were made from the archive again."""
    shares: dict[str, int] = Field(default_factory=dict)
    """Rows by root collection."""

    def counts(self) -> dict[str, dict[str, int]]:
        """The figures for the status, by root collection."""
        return {name: {"rows": self.shares.get(name, 0)} for name in (*self.collections, *self.shares)}


class RelationChecked(Receipt):
    """A reference between two tables: whether it became a foreign key, and its orphaned rows."""

    table: str
    columns: tuple[str, ...]
    references: str
    orphans: int
    examples: tuple[str, ...]
    foreign_key: bool


class Imported(Receipt):
    """All rows are in staging, with primary and foreign keys."""

    importedRecords: int  # noqa: N815
    rows: dict[str, int]
    staged: str = ""
    """The token of their staging schema."""
    relations: tuple[RelationChecked, ...] = ()
