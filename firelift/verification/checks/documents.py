"""Documents rebuilt from their rows are those of the archive, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator

from firelift.verification.check import Check, Evidence, Row, always, columns_equal


def frame(evidence: Evidence) -> Iterator[Row]:
    return (piece.model_dump() for piece in evidence.proof.pieces)


CHECK = Check(
    "documents",
    "All tables: documents compared",
    "basic",
    frame,
    expectations=(
        columns_equal(
            "source_digest",
            "target_digest",
            "Documents compared, rebuilt from their rows, are those of the archive, to the last bit.",
            "the named keys, or chunks",
        ),
        always("presence", "both", "What was compared is on both sides.", "the named keys"),
    ),
)
