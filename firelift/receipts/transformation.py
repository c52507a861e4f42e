"""The plan, and the rows that transformation has made of the documents."""

from __future__ import annotations

from pydantic import Field

from firelift.receipts.receipt import Receipt, by_root, tallied
from firelift.receipts.root_collections import RootGroup


class Planned(Receipt):
    """The plan of this migration, and the file that has it."""

    tables: int
    columns: int
    plan: str


class TableCounts(Receipt):
    """The rows and rejects that were made of the documents of one collection."""

    rows: int = 0
    residue: int = 0
    rejected: int = 0
    causes: dict[str, int] = Field(default_factory=dict)
    """Values in residues, by cause."""

    def __add__(self, other: TableCounts) -> TableCounts:
        return TableCounts(
            rows=self.rows + other.rows,
            residue=self.residue + other.residue,
            rejected=self.rejected + other.rejected,
            causes=tallied([self.causes, other.causes]),
        )


class ChunkTransformed(Receipt):
    """One archive chunk as rows, with counts by collection path."""

    chunk: str
    documents: int
    tables: dict[str, TableCounts] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    """Rejected documents by reason."""
    files: dict[str, str] = Field(default_factory=dict)
    """The sha256 of the Parquet file with its rows, by collection path."""
    rejects: str | None = None
    """The sha256 of the file with its rejected documents, if there are any."""
    remade: tuple[str, ...] = ()
    """Damaged files that were made from the archive again. Not in the stored receipt."""


class Transformed(RootGroup):
    """Root collections, with everything beneath them, as rows."""

    documents: int
    chunks: int
    digest: str = ""
    """The digest of the archive's lists of chunks, which the rows were made from."""
    tables: dict[str, TableCounts] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    remade: tuple[str, ...] = ()
    """Damaged receipts and lists of rejected documents that were made from the archive again."""

    def counts(self) -> dict[str, dict[str, int]]:
        """The figures for the status, by root collection."""
        found = by_root({collection: counts.rows + counts.rejected for collection, counts in self.tables.items()})
        return {name: {"documents": found.get(name, 0)} for name in (*self.collections, *found)}

    def rows(self) -> dict[str, int]:
        """The number of rows, by root collection."""
        return by_root({collection: counts.rows for collection, counts in self.tables.items()})


class TransformedAll(Receipt):
    """Every collection as rows, with counts by collection path."""

    transformedRecords: int  # noqa: N815
    tables: dict[str, TableCounts]
    rejected: int
    residue: int
    reasons: dict[str, int]


def summed(parts: list[dict[str, TableCounts]]) -> dict[str, TableCounts]:
    total: dict[str, TableCounts] = {}
    for part in parts:
        for collection, counts in part.items():
            total[collection] = total.get(collection, TableCounts()) + counts
    return total
