"""What a check is: something found out about the tables, laid out in a frame, and what must hold of it.

A new check is one file in `checks/` and its line in `checks/__init__.py`. The package `expectations` turns its expectations into those
of Great Expectations; the engine knows only their names and arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from firelift.planning.model import Plan, TablePlan
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.receipts import Receipt
from firelift.settings.types import LevelName
from firelift.verification.difference_file import DifferenceFile
from firelift.verification.inputs import StoredChunk, Tables, Verification
from firelift.verification.proof import Proof

Row = dict[str, Any]
Severity = Literal["critical", "warning"]


class Expectation(NamedTuple):
    """What must hold: the class name of one of Great Expectations' expectations, and its arguments."""

    name: str
    arguments: Mapping[str, Any]
    sentence: str
    """What it means, for people."""
    recompute: str = ""
    """SQL that shows the same, or where to look."""
    column: str | None = None
    """The column that it is about, where the arguments do not say."""
    severity: Severity = "critical"


def columns_equal(expected: str, found: str, sentence: str, recompute: str = "") -> Expectation:
    """In every row of the frame both columns hold the same."""
    return Expectation("ExpectColumnPairValuesToBeEqual", {"column_A": expected, "column_B": found}, sentence, recompute)


def always(column: str, value: Any, sentence: str, recompute: str = "") -> Expectation:
    """In every row of the frame the column holds this value."""
    return Expectation("ExpectColumnValuesToBeInSet", {"column": column, "value_set": [value]}, sentence, recompute)


def no_rows(query: str, sentence: str, column: str | None = None) -> Expectation:
    """The query, asked of the target, lists nothing."""
    return Expectation("UnexpectedRowsExpectation", {"unexpected_rows_query": query}, sentence, query, column)


class Inputs(NamedTuple):
    """What a check may look at."""

    verification: Verification
    tables: Tables
    """Those of the verification that can be read by their plan."""
    chunks: Sequence[StoredChunk]
    """The archive chunks with documents that Firestore has at the read time."""
    parts: Path
    """A directory for differences, joined later into differences.csv."""


class Found(NamedTuple):
    """What a check has found out."""

    results: Sequence[Receipt] = ()
    differences: DifferenceFile = DifferenceFile()
    warnings: tuple[str, ...] = ()


class Evidence(NamedTuple):
    """What a frame is made from."""

    plan: Plan
    proof: Proof
    existing: Mapping[str, ExistingTable]
    """The tables as the target has them, by name."""


def nothing_of_a_table(table: TablePlan, proof: Proof) -> Sequence[Expectation]:
    return ()


@dataclass(frozen=True)
class Check:
    """One entry of `checks.CHECKS`."""

    name: str
    """That of its frame, and of what it found in the proof and in verification.json."""
    title: str
    """The heading of its page in the Data Docs."""
    level: LevelName
    """The lowest level at which it is asked."""
    frame: Callable[[Evidence], Iterable[Row]]
    """A row for each place in the target, with what was expected and what was found. `table`, `column` and `key` name the place."""
    expectations: tuple[Expectation, ...] = field(default=(), kw_only=True)
    """What must hold of the frame."""
    of_table: Callable[[TablePlan, Proof], Sequence[Expectation]] = field(default=nothing_of_a_table, kw_only=True)
    """What PostgreSQL itself is asked about a table."""
    find: Callable[[Inputs], Found] | None = field(default=None, kw_only=True)
    """What the engine finds out for it; None where the comparison of documents has found that already."""
    of_increments: bool = field(default=True, kw_only=True)
    """Whether it can be asked of the rows of an increment alone."""
