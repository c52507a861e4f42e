"""What the phases hand on: small, frozen, JSON. Counts, names and places, never data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Receipt(BaseModel):
    model_config = ConfigDict(frozen=True)


class RootGroup(Receipt):
    """A root collection, or several side by side that are worked on together because each has few documents."""

    collection: str
    """The first of them, for which what belongs to all is named."""
    beside: tuple[str, ...] = ()

    @property
    def collections(self) -> tuple[str, ...]:
        return (self.collection, *self.beside)

    @property
    def label(self) -> str:
        """What people are told that is worked on."""
        if len(self.beside) < 2:
            return " and ".join(self.collections)
        return f"{self.collection} … {self.beside[-1]} ({len(self.collections)} collections)"


class RootCollection(RootGroup):
    """The key range that holds root collections and all beneath them, and its COUNT at the read time."""

    start: str | None
    end: str | None
    documents: int | None
    """None where Firestore does not count them."""
    each: tuple[int, ...] = ()
    """The documents of each collection, where each was counted by itself."""

    def expected(self) -> dict[str, int]:
        """By root collection the documents that Firestore counts; empty where it counts none of them, or only all together."""
        if not self.beside:
            return {} if self.documents is None else {self.collection: self.documents}
        return dict(zip(self.collections, self.each, strict=True)) if self.each else {}


class Validated(Receipt):
    """Everything needed is there: the snapshot that will be read and what is in it."""

    connectionsValid: bool = True  # noqa: N815 - a name that readers of the checkpoint look for
    read_time: str
    roots: tuple[RootCollection, ...]
    documents: int | None
    """None where Firestore does not count those of every root collection."""
    postgres_version: str | None = None
    warnings: tuple[str, ...] = ()


class RangeExtracted(Receipt):
    """One key range in the archive."""

    number: int
    documents: int
    skipped: int
    bytes: int
    chunks: int
    reads: int
    breaks: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    """Files that had been damaged, and were read from Firestore again."""
    shares: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Documents and bytes by root collection."""


class TableChanges(Receipt):
    """What has changed in one collection since its table was published, as its keys and update times say."""

    collection: str
    documents: int
    """At the read time; those that were met, where it was not `scanned`."""
    new: int
    changed: int
    deleted: int
    scanned: bool = True
    """All keys were compared. Else only documents were looked for that a field says have changed, and none that are gone."""


class Extracted(RootGroup):
    """Root collections, with everything beneath them, in the archive, proven to be complete."""

    documents: int
    skipped: int
    bytes: int
    chunks: int
    ranges: int
    reads: int
    digest: str = ""
    """Of its lists of chunks, which have the digest of every chunk. Empty where nothing was to be archived."""
    breaks: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    """Files that had been damaged, and were read from Firestore again."""
    changes: tuple[TableChanges, ...] = ()
    """Of an increment, by collection: only new and changed documents are in the archive then."""
    scan_reason: str = ""
    """Of an increment: why all keys were compared although a field was to tell what has changed."""
    counted: int | None = None
    """Documents as many as which Firestore's COUNT says there are; None where it does not count them."""
    scanned: int | None = None
    """Keys of a second scan at the same read time, which were those of the documents read; None where there was none."""

    shares: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Documents and bytes by root collection."""

    def counts(self) -> dict[str, dict[str, int]]:
        """What a status counts of it, by root collection."""
        nothing = {"documents": 0, "bytes": 0}
        return {name: self.shares.get(name, nothing) for name in (*self.collections, *self.shares)}


class Completeness(Receipt):
    """How it was shown that no document is missing from what was read."""

    counted: int = 0
    """Documents as many as which Firestore's COUNT says there are."""
    scanned: int = 0
    """Documents whose keys a second scan at the same read time found again, and no others."""
    unproven: int = 0

    @classmethod
    def of(cls, extracted: Iterable[Extracted]) -> Completeness:
        # Where only a field has told what changed, not all was read.
        read = [part for part in extracted if part.ranges and all(change.scanned for change in part.changes)]
        return cls(
            counted=sum(part.counted or 0 for part in read),
            scanned=sum(part.scanned or 0 for part in read),
            unproven=sum(part.documents + part.skipped for part in read if part.counted is None and part.scanned is None),
        )

    @classmethod
    def noted(cls, statistics: Mapping[str, Any]) -> Completeness:
        """As a run's status has it; that of a sample has none."""
        return cls.model_validate(statistics.get("completeness") or {})

    @property
    def said(self) -> str:
        """How many of how many; empty where nothing was read."""
        whole = self.counted + self.scanned + self.unproven
        ways = {"Firestore's COUNT": self.counted, "a second scan of keys": self.scanned}
        return ", ".join(f"{way} ({number:,} of {whole:,} documents)" for way, number in ways.items() if number)


class Rewritten(Receipt):
    """The documents that the other rows of one table stand for, in the archive: a column of theirs holds something else now."""

    collection: str
    documents: int
    bytes: int
    chunks: int
    deleted_documents: int
    """Those of the documents that are in Firestore no more; their rows stay, marked or not."""
    deleted_chunks: str
    """What the names of the chunks with those begin with. No other document is in them."""
    skipped: int
    """Rows of documents that are archived as new or changed, and of those that are gone where their rows go too."""


class PhaseReceipt(Receipt):
    """A whole phase, summed over the collections."""

    totalRecords: int = 0  # noqa: N815 - a name that readers of the checkpoint look for
    collections: int = 0


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


class Difference(Receipt):
    """Something the target says otherwise than Firestore: values shortened, never a whole document."""

    table: str
    key: str
    """The document's key joined by `/`; `*` for the whole table."""
    field: str = ""
    """The field path inside the document; empty where it is about the whole row."""
    what: str
    """`value`, `type`, `missing field`, `unexpected field`, `missing row`, `unexpected row`, `unreadable row`, `create time`, ..."""
    expected: str
    found: str


class TableCompared(Receipt):
    """One table: what it should hold, what it holds, and how many of its documents were compared to the last bit."""

    collection: str
    table: str
    documents: int
    """Read from Firestore; `rows` should be that without those `rejected`."""
    rejected: int
    rows: int
    compared: int
    differing: int
    """Documents that differ, are missing, or that nobody knows."""
    whole: bool
    """Every document was compared, not a sample."""


class FailedExpectation(Receipt):
    """An expectation of a suite that the target does not meet."""

    suite: str
    expectation: str
    table: str
    column: str | None
    expected: str
    observed: str


class RunVerified(Receipt):
    """The published tables of one run, beside the documents of its snapshot."""

    migration_id: str
    read_time: str
    against: str
    tables: int
    documents: int
    compared: int
    passed: bool
    results: str


class Verified(Receipt):
    """What was verified, in short; `verification-results/verification.json` has all of it."""

    level: str
    against: str
    completeness: str = ""
    """How it was shown that no document is missing from what the tables were compared with."""
    seed: str
    passed: bool
    tables: tuple[TableCompared, ...]
    compared: int
    reread: int
    expectations: int
    failed: tuple[FailedExpectation, ...] = ()
    """The first hundred of `failed_total`."""
    failed_total: int = 0
    differences_total: int = 0
    differences: tuple[Difference, ...] = ()
    """The first hundred."""
    warnings: tuple[str, ...] = ()
    results: str = "verification-results"
    runs: tuple[RunVerified, ...] = ()
    """Of a published target: the runs whose tables were compared, each with the documents of its own snapshot."""
    not_looked_at: tuple[str, ...] = ()
    """Published tables that were not compared with anything, each with the reason."""


class Published(Receipt):
    """The tables that readers of the target see from now on."""

    target_schema: str
    tables: tuple[str, ...]
    relations: tuple[RelationChecked, ...] = ()
    """Of an increment: those of the tables it changed, as they stand now."""
    index_notes: tuple[str, ...] = ()
    """A sentence on each index of a foreign key that had to go, or could not be made, because a row is too long for it."""


class AppConfigUpdated(Receipt):
    """The app's configuration names what the run made."""

    file: str
    old_file: str | None
    """The file as it was before the run; None where it said all that already."""
    changed: tuple[str, ...]
    """The names whose values are other ones now."""


class Dropped(Receipt):
    """What was dropped from the run's directory."""

    what: str
    """`archive` or `tables`."""
    files: int
    bytes: int


class Finished(Receipt):
    """What readers of the target see, or would see after a real run, and what was done afterwards."""

    tables: tuple[str, ...]
    published: bool
    app_config: AppConfigUpdated | None = None
    freed: tuple[Dropped, ...] = ()
    scratch_schema: str | None = None
    """Of a test run that keeps its tables: where they are."""


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


def by_root(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by collection path, added up by root collection."""
    return tallied([{collection.partition("/")[0]: count} for collection, count in counts.items()])


def shared(parts: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Documents and bytes by root collection, added up."""
    total: dict[str, dict[str, int]] = {}
    for part in parts:
        for name, counts in part.items():
            total[name] = tallied([total.get(name, {}), dict(counts)])
    return total


def summed(parts: list[dict[str, TableCounts]]) -> dict[str, TableCounts]:
    total: dict[str, TableCounts] = {}
    for part in parts:
        for collection, counts in part.items():
            total[collection] = total.get(collection, TableCounts()) + counts
    return total


def tallied(parts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total
