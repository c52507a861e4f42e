"""The suites of each level: what they ask, in words, before anybody is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from great_expectations.expectations import Expectation
from sqlalchemy import text

from expectations.expectation_metadata import rows_of
from expectations.results import entries_of
from expectations.suites import frames_of, of_frames, of_table
from firelift.planning.model import Plan
from firelift.postgres.schema.compatibility import ExistingColumn, ExistingTable
from firelift.settings.types import LevelName
from firelift.verification.check import Evidence
from firelift.verification.proof import LiveRows, RelationProved
from tests.support.postgres_tables import plan
from tests.support.proofs import column, proof_of, relation

USERS = plan("users", name="string", seen="timestamp")
ORDERS = plan("users/*/orders", parent="users", gift_for="string")
PLAN = Plan(database="projects/p/databases/(default)", tables=(USERS, ORDERS))
ROWS = {"users": 3, "users_orders": 2}
LEVELS: tuple[LevelName, ...] = ("basic", "standard", "comprehensive")


def asked(level: LevelName) -> list[str]:
    """Every expectation of a level with what it is about."""
    proof = proof_of(PLAN, ROWS, level, relations=(relation(0, 0),))
    of_tables = [
        f"{table.table}.{expectation.configuration.kwargs.get('column')}: {_sentence(expectation)}"
        for table in PLAN.tables
        for expectation in of_table(table, proof)
    ]
    return of_tables + [f"{frame}: {_sentence(expectation)}" for frame, suite in of_frames(level).items() for expectation in suite]


def _sentence(expectation: Expectation) -> str:
    sentence: str = expectation.configuration.meta["sentence"]
    return sentence


def test_each_level_asks_what_the_one_below_asks_and_more() -> None:
    basic, standard, comprehensive = ({*asked(level)} for level in LEVELS)
    assert basic < standard < comprehensive


@pytest.mark.parametrize("level", LEVELS)
def test_no_question_is_asked_twice(level: LevelName) -> None:
    assert len(asked(level)) == len({*asked(level)})


@pytest.mark.parametrize("level", LEVELS)
def test_every_expectation_says_what_it_means_and_which_level_brought_it_in(level: LevelName) -> None:
    proof = proof_of(PLAN, ROWS, level)
    of_tables = [expectation for table in PLAN.tables for expectation in of_table(table, proof)]
    for expectation in of_tables + [expectation for suite in of_frames(level).values() for expectation in suite]:
        meta = expectation.configuration.meta
        assert meta["sentence"].endswith((".", "(ms)."))
        assert LEVELS.index(meta["level"]) <= LEVELS.index(level)


def test_only_slowness_is_no_failure() -> None:
    lenient = [
        (frame, str(expectation.severity.value))
        for frame, suite in of_frames("comprehensive").items()
        for expectation in suite
        if expectation.severity.value != "critical"
    ]
    assert lenient == [("performance", "warning")]


def test_orphans_are_looked_for_only_where_there_were_none() -> None:
    def queries(*relations: RelationProved) -> int:
        standard, basic = (len(of_table(ORDERS, proof_of(PLAN, ROWS, level, relations=relations))) for level in ("standard", "basic"))
        return standard - basic

    assert [queries(relation(expected, 0)) for expected in (0, 1, None)] == [1, 0, 0]


def test_every_frame_that_a_level_asks_about_can_be_made_and_none_is_left_out() -> None:
    proof = proof_of(PLAN, ROWS, relations=(relation(0, 0, expected_foreign_key=True),))
    proof = proof.model_copy(update={"merged": (LiveRows(table="users", expected=2, rows=2),)})
    assert {*frames_of(Evidence(PLAN, proof, {}))} == {*of_frames("comprehensive")}


def test_a_frame_without_rows_is_no_frame() -> None:
    assert "relations" not in frames_of(Evidence(PLAN, proof_of(PLAN, ROWS), {}))
    nothing = Plan(database=PLAN.database, tables=())
    assert {*frames_of(Evidence(nothing, proof_of(nothing, {}), {}))} == {"differences"}


def test_types_are_compared_to_the_letter() -> None:
    seen = ExistingColumn(
        name="seen", type="timestamp without time zone", generated=False, always_identity=False, needs_value=False, deterministic=True
    )
    standing = {"users": ExistingTable(name="users", obstacle=None, primary_key=("id",), columns={"seen": seen})}
    types = frames_of(Evidence(PLAN, proof_of(PLAN, ROWS), standing))["types"].to_dict("records")
    by_column = {(row["table"], row["column"]): (row["planned"], row["found"]) for row in types}
    assert by_column["users", "seen"] == ("timestamp with time zone", "timestamp without time zone")
    assert by_column["users", "name"] == ("text", "missing")
    assert by_column["users_orders", "users_id"] == ("text", "missing")


def test_a_range_is_compared_only_where_it_was_known() -> None:
    proof = proof_of(PLAN, ROWS, columns=(column("users", "name", expected_low=None, low="x", expected_high="y", high=None),))
    (row,) = frames_of(Evidence(PLAN, proof, {}))["columns"].to_dict("records")
    assert (row["expected_low"], row["low"]) == ("not compared", "not compared")
    assert (row["expected_high"], row["high"]) == ("y", "none")


def test_an_empty_text_is_a_bound_like_any_other() -> None:
    proof = proof_of(PLAN, ROWS, columns=(column("users", "name", expected_low="", low="", expected_high="", high=""),))
    (row,) = frames_of(Evidence(PLAN, proof, {}))["columns"].to_dict("records")
    assert (row["expected_low"], row["low"], row["expected_high"], row["high"]) == ("", "", "", "")


def test_a_query_arrives_as_it_was_written() -> None:
    written = 'SELECT "a:b", "{x}", "y\\z:x :: :1" FROM "t"'
    formatted = rows_of(written).format(batch="users")
    assert str(text(formatted).compile()).rstrip() == written


def test_nothing_asked_is_nothing_to_tell() -> None:
    assert entries_of([]) == []


def test_great_expectations_is_loaded_without_the_statistics_that_nobody_asks_for() -> None:
    asked = "import sys, expectations; expectations.preload(); expectations.preload(); print('scipy.stats._stats_py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["False"]


def test_the_statistics_are_there_when_they_are_used() -> None:
    asked = "import expectations; expectations.preload(); from scipy import stats; print(stats.norm.cdf(0))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["0.5"]
