"""What extraction has put into the archive, and how it is known to be complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from firelift.receipts.receipt import Receipt
from firelift.receipts.roots import RootGroup


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
