"""The plan, and the rows that transformation has made of the documents."""

from __future__ import annotations

from pydantic import Field

from firelift.receipts.receipt import Receipt, by_root, tallied
from firelift.receipts.roots import RootGroup


class Planned(Receipt):
    """The plan of this migration, and where it is kept."""

    tables: int
    columns: int
    plan: str


class TableCounts(Receipt):
    """What became of the documents of one collection."""

    rows: int = 0
    residue: int = 0
    rejected: int = 0
    causes: dict[str, int] = Field(default_factory=dict)
    """Values in a residue, by cause."""

    def __add__(self, other: TableCounts) -> TableCounts:
        return TableCounts(
            rows=self.rows + other.rows,
            residue=self.residue + other.residue,
            rejected=self.rejected + other.rejected,
            causes=tallied([self.causes, other.causes]),
        )


class ChunkTransformed(Receipt):
    """One archive chunk as rows: counts by collection path."""

    chunk: str
    documents: int
    tables: dict[str, TableCounts] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    """Rejected documents by reason."""
    files: dict[str, str] = Field(default_factory=dict)
    """By collection path the sha256 of the Parquet file with its rows."""
    rejects: str | None = None
    """The sha256 of the file with its rejected documents, where there are any."""
    remade: tuple[str, ...] = ()
    """Not kept: files that were not as they had been written, and were made of the archive again."""


class Transformed(RootGroup):
    """Root collections, with everything beneath them, as rows."""

    documents: int
    chunks: int
    digest: str = ""
    """Of the archive's lists of chunks that the rows were made of."""
    tables: dict[str, TableCounts] = Field(default_factory=dict)
    reasons: dict[str, int] = Field(default_factory=dict)
    remade: tuple[str, ...] = ()
    """Receipts and lists of rejected documents that were not as they had been written, and were made of the archive again."""

    def counts(self) -> dict[str, dict[str, int]]:
        """What a status counts of it, by root collection."""
        found = by_root({collection: counts.rows + counts.rejected for collection, counts in self.tables.items()})
        return {name: {"documents": found.get(name, 0)} for name in (*self.collections, *found)}

    def rows(self) -> dict[str, int]:
        """By root collection."""
        return by_root({collection: counts.rows for collection, counts in self.tables.items()})


class TransformedAll(Receipt):
    """Every collection as rows: counts by collection path."""

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
