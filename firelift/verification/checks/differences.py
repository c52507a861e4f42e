"""No difference was found, by whatever comparison."""

from __future__ import annotations

from collections.abc import Iterator

from firelift.verification.check import Check, Evidence, Row, always


def frame(evidence: Evidence) -> Iterator[Row]:
    proof = evidence.proof
    yield {"table": "all", "documents": sum(table.compared for table in proof.tables), "differences": proof.differences_total}


CHECK = Check(
    "differences",
    "All tables: differences",
    "basic",
    frame,
    expectations=(always("differences", 0, "No difference was found.", "differences.csv"),),
)
