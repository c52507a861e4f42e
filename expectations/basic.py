"""Basic: as many rows as documents, each under its own key, in columns of the planned types, and those compared equal to the last bit."""

from __future__ import annotations

from great_expectations.expectations import (
    ExpectColumnPairValuesToBeEqual,
    ExpectColumnValuesToBeInSet,
    ExpectColumnValuesToNotBeNull,
    ExpectTableColumnsToMatchSet,
    ExpectTableRowCountToEqual,
    UnexpectedRowsExpectation,
)

from expectations.notes import Expectations, annotated, rows_of
from firelift.planning.model import TablePlan
from firelift.postgres.inspect.check_queries import column_types, null_keys, repeated_keys, row_count
from firelift.verification.proof import Level, Proof

LEVEL: Level = "basic"


def of_table(table: TablePlan, proof: Proof) -> Expectations:
    """What PostgreSQL itself is asked about a table."""
    schema = proof.schema_name
    compared = next((each for each in proof.tables if each.table == table.table), None)
    repeated = repeated_keys(schema, table)
    counted = ExpectTableRowCountToEqual(
        value=compared.documents - compared.rejected if compared else 0,
        **annotated(LEVEL, "As many rows as documents were read, without those rejected.", row_count(schema, table)),
    )
    return [
        # Rows that are marked as deleted stand for no document; the frame of tables counts without them.
        *([] if table.marks_deleted else [counted]),
        ExpectTableColumnsToMatchSet(
            # Great Expectations takes such quotes off and then misses the column; the frame of types has every name to the letter.
            column_set=[name for name, _ in table.target_columns() if not (name.startswith('"') and name.endswith('"'))],
            exact_match=False,
            **annotated(LEVEL, "Every planned column is there; columns of your own may be there too.", column_types(schema, table.table)),
        ),
        *(
            ExpectColumnValuesToNotBeNull(column=key, **annotated(LEVEL, "Every row has its whole key.", null_keys(schema, table, key)))
            for key in table.keys
        ),
        UnexpectedRowsExpectation(unexpected_rows_query=rows_of(repeated), **annotated(LEVEL, "No two rows have the same key.", repeated)),
    ]


def of_frames() -> dict[str, Expectations]:
    """What is asked of everything that was compared, by frame (see expectations/frames.py)."""
    return {
        "tables": [
            ExpectColumnPairValuesToBeEqual(
                column_A="expected_rows",
                column_B="rows",
                **annotated(LEVEL, "Rows counted while comparing = documents read − rejected, table by table."),
            ),
            ExpectColumnPairValuesToBeEqual(
                column_A="planned_key", column_B="primary_key", **annotated(LEVEL, "The key columns are the table's primary key.")
            ),
            ExpectColumnValuesToBeInSet(
                column="differing",
                value_set=[0],
                **annotated(
                    LEVEL,
                    "Of the documents compared none differs or is missing, and no row was found that the archive does not know.",
                    "differences.csv",
                ),
            ),
        ],
        "merged": [
            ExpectColumnPairValuesToBeEqual(
                column_A="expected", column_B="rows", **annotated(LEVEL, "With the increment each table has a row for every document.")
            )
        ],
        "types": [
            ExpectColumnPairValuesToBeEqual(column_A="planned", column_B="found", **annotated(LEVEL, "Every column has the planned type."))
        ],
        "documents": [
            ExpectColumnPairValuesToBeEqual(
                column_A="source_digest",
                column_B="target_digest",
                **annotated(
                    LEVEL,
                    "Documents compared, rebuilt from their rows, are those of the archive, to the last bit.",
                    "the named keys, or chunks",
                ),
            ),
            ExpectColumnValuesToBeInSet(
                column="presence", value_set=["both"], **annotated(LEVEL, "What was compared is on both sides.", "the named keys")
            ),
        ],
        "differences": [
            ExpectColumnValuesToBeInSet(
                column="differences", value_set=[0], **annotated(LEVEL, "No difference was found.", "differences.csv")
            )
        ],
    }
