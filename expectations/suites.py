"""The suites of a level: the engine's checks as expectations of Great Expectations, and their frames."""

from __future__ import annotations

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations import Expectation

from expectations.notes import annotated, rows_of
from firelift.planning.model import TablePlan
from firelift.settings.types import LevelName
from firelift.verification import check
from firelift.verification.checks import CHECKS
from firelift.verification.level import LEVELS
from firelift.verification.proof import Proof

TITLES = {made.name: made.title for made in CHECKS}


def of_table(table: TablePlan, proof: Proof) -> list[Expectation]:
    """What PostgreSQL itself is asked about a table."""
    return [as_expectation(made.level, asked) for made in _checks(proof.level) for asked in made.of_table(table, proof)]


def of_frames(level: LevelName) -> dict[str, list[Expectation]]:
    """What is asked of everything that was compared, by frame."""
    return {made.name: [as_expectation(made.level, asked) for asked in made.expectations] for made in _checks(level)}


def frames_of(evidence: check.Evidence) -> dict[str, pd.DataFrame]:
    """Every frame that has a row, by name; those of higher levels lack what was not looked for."""
    rows = {made.name: list(made.frame(evidence)) for made in CHECKS}
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def as_expectation(level: LevelName, asked: check.Expectation) -> Expectation:
    arguments = dict(asked.arguments)
    if "unexpected_rows_query" in arguments:
        arguments["unexpected_rows_query"] = rows_of(arguments["unexpected_rows_query"])
    kind: type[Expectation] = getattr(gxe, asked.name)
    return kind(**arguments, severity=asked.severity, **annotated(level, asked.sentence, asked.recompute, asked.column))


def _checks(level: LevelName) -> list[check.Check]:
    return [made for made in CHECKS if LEVELS[level].includes(made.level)]
