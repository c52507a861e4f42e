"""The staging tables, and the rows that import has loaded into them."""

from __future__ import annotations

from pydantic import Field

from firelift.receipts.receipt import Receipt
from firelift.receipts.roots import RootGroup


class Staged(Receipt):
    """The schema in which the tables grow, unseen by readers of the target."""

    token: str
    """Another one for every schema that was made, also under the same name."""
    published: bool
    """An earlier attempt of this run got as far as publishing: there is nothing left to load."""


class Loaded(RootGroup):
    """Root collections in the staging tables: rows by table."""

    chunks: int
    rows: dict[str, int] = Field(default_factory=dict)
    remade: tuple[str, ...] = ()
    """Files with rows that had been damaged, and were made of the archive again."""
    shares: dict[str, int] = Field(default_factory=dict)
    """Rows by root collection."""

    def counts(self) -> dict[str, dict[str, int]]:
        """What a status counts of it, by root collection."""
        return {name: {"rows": self.shares.get(name, 0)} for name in (*self.collections, *self.shares)}


class RelationChecked(Receipt):
    """A reference between two tables: whether it became a foreign key, and the rows that lead nowhere."""

    table: str
    columns: tuple[str, ...]
    references: str
    orphans: int
    examples: tuple[str, ...]
    foreign_key: bool


class Imported(Receipt):
    """All rows in staging, with their keys."""

    importedRecords: int  # noqa: N815
    rows: dict[str, int]
    staged: str = ""
    """The token of the staging schema they are in."""
    relations: tuple[RelationChecked, ...] = ()
