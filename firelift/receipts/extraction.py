"""What extraction has put into the archive, and how it is known to be complete."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from firelift.receipts.receipt import Receipt
from firelift.receipts.root_collections import RootGroup


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
    """Damaged files whose documents were read from Firestore again."""
    later: tuple[str, ...] = ()
    """The moments as of which a part was read, because Firestore no longer kept the snapshot."""
    shares: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Documents and bytes by root collection."""


class TableChanges(Receipt):
    """What has changed in one collection since its table was published, judged by keys and update times."""

    collection: str
    documents: int
    """At the read time; without `scanned`, only the documents that were read."""
    new: int
    changed: int
    deleted: int
    scanned: bool = True
    """All keys were compared. Otherwise only documents were read that a field marks as changed, and deleted ones are not known."""


class Extracted(RootGroup):
    """Root collections, with everything beneath them, in the archive and proven to be complete."""

    documents: int
    skipped: int
    bytes: int
    chunks: int
    ranges: int
    reads: int
    digest: str = ""
    """The digest of its lists of chunks, which have the digest of every chunk. Empty where there was nothing to archive."""
    breaks: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    """Damaged files whose documents were read from Firestore again."""
    changes: tuple[TableChanges, ...] = ()
    """For an incremental run, by collection. Its archive has only new and changed documents."""
    scan_reason: str = ""
    """For an incremental run: why all keys were compared although a field was to mark changed documents."""
    counted: int | None = None
    """Documents whose number matches Firestore's COUNT; None where Firestore does not count them."""
    scanned: int | None = None
    """Keys that a second scan at the same read time found again, and no others; None where there was no second scan."""
    later: tuple[str, ...] = ()
    """The moments as of which a part was read, or was to be shown to be complete, because Firestore no longer kept the snapshot."""

    shares: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Documents and bytes by root collection."""

    @property
    def shown_to_be_all(self) -> int:
        """The documents that Firestore counts, or that a second scan found; where neither is known, those that were read."""
        known = self.scanned if self.counted is None else self.counted
        return self.documents + self.skipped if known is None else known

    def counts(self) -> dict[str, dict[str, int]]:
        """The figures for the status, by root collection."""
        nothing = {"documents": 0, "bytes": 0}
        return {name: self.shares.get(name, nothing) for name in (*self.collections, *self.shares)}


class Completeness(Receipt):
    """How it was shown that no document is missing."""

    counted: int = 0
    """Documents whose number matches Firestore's COUNT."""
    scanned: int = 0
    """Documents whose keys a second scan at the same read time found again, and no others."""
    unproven: int = 0

    @classmethod
    def of(cls, extracted: Iterable[Extracted]) -> Completeness:
        # Where a field marked the changed documents, not all documents were read.
        read = [part for part in extracted if part.ranges and all(change.scanned for change in part.changes)]
        return cls(
            counted=sum(part.counted or 0 for part in read),
            scanned=sum(part.scanned or 0 for part in read),
            unproven=sum(part.documents + part.skipped for part in read if part.counted is None and part.scanned is None),
        )

    @classmethod
    def noted(cls, statistics: Mapping[str, Any]) -> Completeness:
        """From a run's status, which has none for a sample."""
        return cls.model_validate(statistics.get("completeness") or {})

    @property
    def in_words(self) -> str:
        """The proof in words, with the number of documents; empty where nothing was read."""
        whole = self.counted + self.scanned + self.unproven
        proofs = {"Firestore's COUNT": self.counted, "a second scan of keys": self.scanned, "nothing": self.unproven}
        return ", ".join(f"{proof} ({number:,} of {whole:,} documents)" for proof, number in proofs.items() if number)


class Rewritten(Receipt):
    """The documents of one table's unchanged rows, in the archive again because a column of theirs has another type now."""

    collection: str
    documents: int
    bytes: int
    chunks: int
    deleted_documents: int
    """Documents that Firestore no longer has; their rows stay, marked as deleted or not."""
    deleted_chunks: str
    """The beginning of the names of the chunks that have only deleted documents."""
    skipped: int
    """Rows of documents that are archived as new or changed, and of deleted documents whose rows are deleted too."""
