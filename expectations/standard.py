"""Standard: basic, and relations lead where they led, columns are filled as they were loaded, and the target answers in time."""

from __future__ import annotations

from great_expectations.expectations import (
    ExpectColumnPairValuesAToBeGreaterThanB,
    ExpectColumnPairValuesToBeEqual,
    UnexpectedRowsExpectation,
)

from expectations import basic
from expectations.notes import Expectations, annotated, rows_of
from firelift.planning.model import TablePlan
from firelift.verification.proof import Level, Proof

LEVEL: Level = "standard"


def of_table(table: TablePlan, proof: Proof) -> Expectations:
    """Basic, and that no row is orphaned where none was when the rows were loaded."""
    unbroken = [each for each in proof.relations if each.table == table.table and each.expected == 0]
    return [
        *basic.of_table(table, proof),
        *(
            UnexpectedRowsExpectation(
                unexpected_rows_query=rows_of(relation.query),
                **annotated(LEVEL, f"Every row's {columns} leads to a row of {relation.references}.", relation.query, columns),
            )
            for relation in unbroken
            for columns in [", ".join(relation.columns)]
        ),
    ]


def of_frames() -> dict[str, Expectations]:
    """Basic, and what is asked of relations, columns and response times."""
    asked: dict[str, Expectations] = {
        "relations": [
            ExpectColumnPairValuesToBeEqual(
                column_A="expected",
                column_B="orphans",
                **annotated(LEVEL, "As many rows lead nowhere as did when they were loaded: Firestore allows that."),
            )
        ],
        "foreign_keys": [
            ExpectColumnPairValuesToBeEqual(
                column_A="made", column_B="found", **annotated(LEVEL, "Every foreign key that was made stands, and is validated.")
            )
        ],
        "columns": [
            ExpectColumnPairValuesToBeEqual(
                column_A="expected_present",
                column_B="present",
                **annotated(LEVEL, "Each column is filled in as many rows as were loaded with it."),
            ),
            ExpectColumnPairValuesToBeEqual(
                column_A="expected_low", column_B="low", **annotated(LEVEL, "Each column's lowest value is the lowest that was loaded.")
            ),
            ExpectColumnPairValuesToBeEqual(
                column_A="expected_high", column_B="high", **annotated(LEVEL, "Each column's highest value is the highest that was loaded.")
            ),
        ],
        "performance": [
            ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="limit",
                column_B="p95",
                or_equal=True,
                severity="warning",
                **annotated(LEVEL, "95 of 100 answers come within the limit of the settings (ms)."),
            )
        ],
    }
    return basic.of_frames() | asked
