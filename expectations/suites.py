"""The suites of a level: the engine's checks as expectations of Great Expectations, and their frames."""

from __future__ import annotations

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations import Expectation

from expectations.expectation_metadata import annotated, rows_of
from firelift.planning.model import TablePlan
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification.check import Check, Evidence
from firelift.verification.check import Expectation as Described
from firelift.verification.checks import CHECKS
from firelift.verification.proof import Proof

TITLES = {check.name: check.title for check in CHECKS}


def of_table(table: TablePlan, proof: Proof) -> list[Expectation]:
    """The expectations about one table, for which PostgreSQL itself is queried."""
    checks = _checks(proof.level)
    return [as_expectation(check.level, described) for check in checks for described in check.of_table(table, proof)]


def of_frames(level: LevelName) -> dict[str, list[Expectation]]:
    """The expectations about everything that was compared, by frame."""
    return {check.name: [as_expectation(check.level, described) for described in check.expectations] for check in _checks(level)}


def frames_of(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Every frame with rows, by name. Checks of higher levels have no rows where nothing was looked for."""
    rows = {check.name: list(check.frame(evidence)) for check in CHECKS}
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def as_expectation(level: LevelName, described: Described) -> Expectation:
    """The expectation of Great Expectations that a check describes."""
    arguments = dict(described.arguments)
    if "unexpected_rows_query" in arguments:
        arguments["unexpected_rows_query"] = rows_of(arguments["unexpected_rows_query"])
    kind: type[Expectation] = getattr(gxe, described.name)
    notes = annotated(level, described.sentence, described.recompute, described.column)
    return kind(**arguments, severity=described.severity, **notes)


def _checks(level: LevelName) -> list[Check]:
    return [check for check in CHECKS if LEVELS[level].includes(check.level)]
