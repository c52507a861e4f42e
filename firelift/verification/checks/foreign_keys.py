"""Every foreign key that import made is there, and validated."""

from __future__ import annotations

from collections.abc import Iterator

from firelift.verification.check import Check, Evidence, Row, columns_equal

VALIDATED, NONE = "stands", "none"


def frame(evidence: Evidence) -> Iterator[Row]:
    for relation in evidence.proof.relations:
        if relation.expected_foreign_key:
            yield {
                "table": relation.table,
                "column": ", ".join(relation.columns),
                "references": relation.references,
                "made": VALIDATED,
                "found": VALIDATED if relation.foreign_key else NONE,
            }


CHECK = Check(
    "foreign_keys",
    "All tables: foreign keys",
    "standard",
    frame,
    expectations=(columns_equal("made", "found", "Every foreign key that was made is there, and is validated."),),
)
