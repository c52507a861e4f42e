"""As many rows as documents, each under a key of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firelift.planning.model import TablePlan
from firelift.postgres.inspect.check_queries import null_keys, repeated_keys, row_count
from firelift.postgres.schema.target_table import TargetTable
from firelift.receipts import TableCompared
from firelift.verification.check import Check, Evidence, Expectation, Row, always, columns_equal, no_rows
from firelift.verification.proof import Proof

MISSING, NONE = "missing", "none"


def of_table(table: TablePlan, proof: Proof) -> Sequence[Expectation]:
    """The number of rows, and their keys."""
    in_target = TargetTable(proof.schema_name, table)
    keys = [
        Expectation("ExpectColumnValuesToNotBeNull", {"column": key}, "Every row has its whole key.", null_keys(in_target, key))
        for key in table.keys
    ]
    # Rows marked as deleted have no document; the frame counts without them.
    counted = [] if table.marks_deleted else [_as_many_rows(table, proof)]
    return [*counted, *keys, no_rows(repeated_keys(in_target), "No two rows have the same key.")]


def _as_many_rows(table: TablePlan, proof: Proof) -> Expectation:
    compared = _compared(table, proof)
    expected = compared.documents - compared.rejected if compared else 0
    sentence = "As many rows as documents were read, without those rejected."
    return Expectation("ExpectTableRowCountToEqual", {"value": expected}, sentence, row_count(TargetTable(proof.schema_name, table)))


def _compared(table: TablePlan, proof: Proof) -> TableCompared | None:
    return next((compared for compared in proof.tables if compared.table == table.table), None)


def frame(evidence: Evidence) -> Iterator[Row]:
    for table in evidence.plan.tables:
        compared, existing = _compared(table, evidence.proof), evidence.existing.get(table.table)
        yield {
            "table": table.table,
            # A table that nobody compared has no row for any document.
            "expected_rows": compared.documents - compared.rejected if compared else 0,
            "rows": compared.rows if compared else -1,
            "differing": compared.differing if compared else -1,
            "planned_key": ", ".join(table.keys),
            "primary_key": (", ".join(existing.primary_key) or NONE) if existing else MISSING,
        }


CHECK = Check(
    "tables",
    "All tables: rows, keys, documents that differ",
    "basic",
    frame,
    of_table=of_table,
    expectations=(
        columns_equal("expected_rows", "rows", "Rows counted while comparing = documents read − rejected, table by table."),
        columns_equal("planned_key", "primary_key", "The key columns are the table's primary key."),
        always(
            "differing",
            0,
            "No compared document differs or is missing, and no row was found that the archive does not know.",
            "differences.csv",
        ),
    ),
)
