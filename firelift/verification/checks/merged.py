"""With the increment, each table has a row for every document."""

from __future__ import annotations

from collections.abc import Iterator

from firelift.verification.check import Check, Evidence, Row, columns_equal


def frame(evidence: Evidence) -> Iterator[Row]:
    return (rows.model_dump() for rows in evidence.proof.merged)


CHECK = Check(
    "merged",
    "All tables: rows with the increment",
    "basic",
    frame,
    expectations=(columns_equal("expected", "rows", "With the increment each table has a row for every document."),),
)
