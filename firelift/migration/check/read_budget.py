"""How many document reads a run may have billed: `--max-reads` and `--max-cost`."""

from __future__ import annotations

import threading

from firelift.errors import FireliftError
from firelift.receipts import Validated
from firelift.run.reports.reads import counts_billed
from firelift.settings.settings import Settings


class ReadBudgetReached(FireliftError):
    """The run would have more document reads billed than it may."""

    recovery = "after_fix"
    remedy = "Continue with --resume and a larger --max-reads or --max-cost; what was read is kept and not read again."


class NotCounted(FireliftError):
    """Firestore does not count the documents, so nobody knows whether the reads that the run may have billed are enough."""

    recovery = "after_fix"
    remedy = "No document was read. Leave out --max-reads and --max-cost, or choose --collections that Firestore counts."


def most_reads(settings: Settings) -> int | None:
    """The stricter of both limits, in reads; None where there is none."""
    by_cost = None if settings.max_cost is None else int(settings.max_cost / settings.read_price * 100_000)
    return min((limit for limit in (settings.max_reads, by_cost) if limit is not None), default=None)


def foreseen_reads(validated: Validated, range_documents: int) -> int | None:
    """What reading every document, or every key, and counting them has billed; None where Firestore does not count the documents.

    A damaged chunk that is read again, changed documents of an increment and what the verification reads again come on top.
    """
    return None if validated.documents is None else validated.documents + counted_reads(validated, range_documents)


def counted_reads(validated: Validated, range_documents: int) -> int:
    return sum(counts_billed(root.documents, range_documents) for root in validated.roots)


class ReadBudget:
    """What a run may still have billed. Safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._most, self._settings = most_reads(settings), settings
        self._lock, self._read = threading.Lock(), 0

    def begin(self, validated: Validated) -> None:
        """Raises ReadBudgetReached, before the first document is read, where the budget does not last; NotCounted."""
        if self._most is None:
            return
        settings = self._settings
        if settings.migration_mode == "incremental" and settings.changed_since_field is not None:
            # Only what has changed is read.
            foreseen: int | None = counted_reads(validated, settings.range_documents)
        else:
            foreseen = foreseen_reads(validated, settings.range_documents)
        if foreseen is None:
            raise NotCounted(most_reads=self._most)
        if foreseen > self._most:
            raise self._reached(reads_needed=foreseen)
        self._read = foreseen

    def add_changed(self, documents: int) -> None:
        """So many changed documents of a root collection were read; raises ReadBudgetReached once all are more than the budget has."""
        if self._most is None:
            return
        with self._lock:
            self._read += documents
            if self._read > self._most:
                raise self._reached(reads_so_far=self._read)

    def _reached(self, **facts: object) -> ReadBudgetReached:
        price = self._settings.read_price
        cost = {} if self._settings.max_cost is None else {"max_cost": f"${self._settings.max_cost:g} at ${price:g} for 100,000"}
        return ReadBudgetReached(**facts, most=self._most, **cost)
