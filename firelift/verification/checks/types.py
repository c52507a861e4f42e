"""Every planned column is there, with the planned type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from firelift.planning.model import TablePlan
from firelift.postgres.inspect.check_queries import column_types
from firelift.postgres.schema.compatibility import SPELLED
from firelift.postgres.schema.target_table import TargetTable
from firelift.verification.check import Check, Evidence, Expectation, Row, columns_equal
from firelift.verification.proof import Proof

MISSING = "missing"


def of_table(table: TablePlan, proof: Proof) -> Sequence[Expectation]:
    # Great Expectations strips quotes around a name and then misses the column; the frame has every name as it is.
    names = [name for name, _ in table.target_columns() if not (name.startswith('"') and name.endswith('"'))]
    return [
        Expectation(
            "ExpectTableColumnsToMatchSet",
            {"column_set": names, "exact_match": False},
            "Every planned column is there; columns of your own may be there too.",
            column_types(TargetTable(proof.schema_name, table)),
        )
    ]


def frame(evidence: Evidence) -> Iterator[Row]:
    for table in evidence.plan.tables:
        found = evidence.existing[table.table].columns if table.table in evidence.existing else {}
        for name, pg_type in table.target_columns():
            yield {
                "table": table.table,
                "column": name,
                "planned": SPELLED.get(pg_type, pg_type),
                "found": found[name].type if name in found else MISSING,
            }


CHECK = Check(
    "types",
    "All tables: column types",
    "basic",
    frame,
    of_table=of_table,
    expectations=(columns_equal("planned", "found", "Every column has the planned type."),),
)
