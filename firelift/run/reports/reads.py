"""What Firestore bills for a run, computed from what was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ENTRIES_A_READ: Final = 1000
"""Index entries that an aggregation such as COUNT goes through for the price of one document read."""

HOW: Final = (
    "Computed, not taken from a bill. Documents: every document that was streamed, also those that --collections passed over. "
    "Keys: every key that an incremental run compared, or document that it looked into and found unchanged. "
    "In a test run: also those from which the sample was drawn. "
    f"Counts: one read for every {ENTRIES_A_READ} documents that a COUNT went over, at least one each; "
    "collections that are read in several ranges are counted twice. "
    "Scans: keys that were read a second time, because Firestore did not count them. "
    "Rereads: documents that the verification read again. "
    "What a stream that broke or a run that was killed had read and not kept is billed once more; emulators bill nothing."
)


def reads_billed(status: Mapping[str, Any], settings: Mapping[str, Any], rereads: int) -> dict[str, Any]:
    figures, results = status["statistics"], status["results"]
    documents = figures.get("documentsRead", 0) + figures.get("documentsPassedOver", 0)
    # Of an increment; `reads` is all that was answered.
    keys = max(figures["keysCompared"], figures.get("reads", 0) - documents) if "keysCompared" in figures else 0
    if status.get("mode") == "test":
        # A sample is drawn from more documents than it has.
        documents = figures.get("reads", 0)
    roots = (results.get("pre_validation") or {}).get("roots") or ()
    counts = sum(counts_billed(root.get("documents"), settings.get("range_documents") or 0) for root in roots)
    counts += -(-figures.get("documentsCounted", 0) // ENTRIES_A_READ)
    scans = (figures.get("completeness") or {}).get("scanned", 0)
    total = documents + keys + counts + scans + rereads
    return {"documents": documents, "keys": keys, "counts": counts, "scans": scans, "rereads": rereads, "total": total, "how": HOW}


def counts_billed(documents: int | None, range_documents: int) -> int:
    """Reads for the counts of a root collection of so many documents; none where Firestore does not count them."""
    if documents is None:
        return 0
    once = max(1, -(-documents // ENTRIES_A_READ))
    # A root collection that is cut into ranges is counted once more, range by range.
    ranges = -(-documents // range_documents) if range_documents else 1
    return once if ranges <= 1 else once + max(ranges, once)
