"""How many document reads a run may have billed: `--max-reads` and `--max-cost`."""

from __future__ import annotations

from collections.abc import Sequence

from firelift.errors import FireliftError
from firelift.receipts import Extracted, Validated
from firelift.run.reports.reads import counts_billed
from firelift.settings.settings import Settings


class ReadBudgetReached(FireliftError):
    """The run needs more document reads than it may have billed."""

    recovery = "after_fix"
    remedy = "Continue with --resume and a larger --max-reads or --max-cost; root collections that were read are not read again."


class NotCounted(FireliftError):
    """Firestore does not count the documents, so nobody knows whether the reads that the run may have billed are enough."""

    recovery = "after_fix"
    remedy = "No document was read. Leave out --max-reads and --max-cost, or choose --collections that Firestore counts."


def most_reads(settings: Settings) -> int | None:
    """The stricter of both limits, in reads; None where there is none."""
    # 1.15 / 0.05 is a little less than 23 in binary.
    by_cost = None if settings.max_cost is None else int(settings.max_cost / settings.read_price * 100_000 + 1e-6)
    return min((limit for limit in (settings.max_reads, by_cost) if limit is not None), default=None)


def foreseen_reads(validated: Validated, range_documents: int) -> int | None:
    """What reading every document, or every key, and counting them has billed; None where Firestore does not count the documents."""
    return None if validated.documents is None else validated.documents + _counting(validated, range_documents)


def refuse_too_many_reads(settings: Settings, validated: Validated) -> None:
    """Before the first document is read: raises ReadBudgetReached where the documents, or keys, are too many; NotCounted."""
    most = most_reads(settings)
    if most is None or _asks_a_field(settings):
        return
    foreseen = foreseen_reads(validated, settings.range_documents)
    if foreseen is None:
        raise NotCounted(most_reads=most)
    if foreseen > most:
        raise _reached(settings, most, foreseen)


def refuse_if_too_many_were_read(settings: Settings, validated: Validated, extracted: Sequence[Extracted]) -> None:
    """Once everything is read: raises ReadBudgetReached where it was more than foreseen, such as the changed documents of an increment."""
    most = most_reads(settings)
    if most is None:
        return
    read = _counting(validated, settings.range_documents) + sum(part.reads + (part.scanned or 0) for part in extracted)
    if read > most:
        raise _reached(settings, most, read)


def _counting(validated: Validated, range_documents: int) -> int:
    return sum(counts_billed(root.documents, range_documents) for root in validated.roots)


def _asks_a_field(settings: Settings) -> bool:
    """Whether only documents with a later time in a field are read, whose number nobody knows before."""
    return settings.migration_mode == "incremental" and settings.changed_since_field is not None


def _reached(settings: Settings, most: int, needed: int) -> ReadBudgetReached:
    cost = {} if settings.max_cost is None else {"max_cost": f"${settings.max_cost:g} at ${settings.read_price:g} for 100,000 reads"}
    return ReadBudgetReached(needed=needed, most=most, **cost)
