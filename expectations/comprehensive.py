"""Comprehensive: standard over every document, nested values read back as planned, and Firestore asked once more."""

from __future__ import annotations

from great_expectations.expectations import ExpectColumnValuesToBeInSet

from expectations import standard
from expectations.notes import Expectations, annotated
from firelift.planning.model import TablePlan
from firelift.verification.proof import Level, Proof

LEVEL: Level = "comprehensive"


def of_table(table: TablePlan, proof: Proof) -> Expectations:
    """Nothing that standard does not ask: what is more is in the frames, whose documents are all there are."""
    return standard.of_table(table, proof)


def of_frames() -> dict[str, Expectations]:
    """Standard, and what is asked of nested values and of documents read again."""
    asked: dict[str, Expectations] = {
        "nested": [
            ExpectColumnValuesToBeInSet(
                column="unreadable", value_set=[0], **annotated(LEVEL, "Every value inside JSON reads as the type that the plan gives it.")
            )
        ],
        "rereads": [
            ExpectColumnValuesToBeInSet(
                column="differing",
                value_set=[0],
                **annotated(
                    LEVEL, "Documents read from Firestore again, at the run's read time, are those in the target.", "differences.csv"
                ),
            )
        ],
    }
    return standard.of_frames() | asked
