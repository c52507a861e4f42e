"""The checks of verification: every file in their folder is one, and its level asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from expectations.suites import as_expectation
from firelift.planning.model import Plan
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification import checks
from firelift.verification.check import Check, Evidence
from firelift.verification.checks import CHECKS
from tests.support.postgres_tables import plan
from tests.support.proofs import proof_of, relation

USERS = plan("users", name="string")
ORDERS = plan("users/*/orders", parent="users", gift_for="string")
PLAN = Plan(database="projects/p/databases/(default)", tables=(USERS, ORDERS))
ROWS = {"users": 3, "users_orders": 2}


def names(found: tuple[Check, ...]) -> list[str]:
    return [check.name for check in found]


def test_every_file_of_the_folder_is_listed_under_its_own_name() -> None:
    files = {file.stem for file in Path(checks.__file__).parent.glob("[!_]*.py")}
    assert sorted(names(CHECKS)) == sorted(files)


def test_no_two_checks_share_a_heading() -> None:
    assert len({check.title for check in CHECKS}) == len(CHECKS)


def test_a_level_includes_those_before_it_and_no_other() -> None:
    order = get_args(LevelName)
    assert [*LEVELS] == [*order]
    assert {name: [other for other in order if LEVELS[name].includes(other)] for name in order} == {
        "basic": ["basic"],
        "standard": ["basic", "standard"],
        "comprehensive": ["basic", "standard", "comprehensive"],
    }


def test_a_level_is_more_in_every_number_than_the_one_before() -> None:
    basic, standard, comprehensive = LEVELS.values()
    assert (basic.documents or 0) < (standard.documents or 0)
    assert comprehensive.documents is None
    for name in ("rereads", "lookups", "counts", "scans"):
        assert getattr(basic, name) <= getattr(standard, name) <= getattr(comprehensive, name)


def test_checks_that_need_whole_tables_are_not_made_of_an_increment() -> None:
    assert {check.name for check in CHECKS if not check.of_increments} == {"relations", "performance"}


@pytest.mark.parametrize("check", CHECKS, ids=names(CHECKS))
def test_what_a_check_expects_is_about_columns_of_its_frame(check: Check) -> None:
    frame = {"merged": ["expected", "rows"], "rereads": ["asked", "differing"]}.get(check.name)
    if frame is None:
        proof = proof_of(PLAN, ROWS, relations=(relation(0, 0, expected_foreign_key=True),))
        [*rows] = check.frame(Evidence(PLAN, proof, {}))
        frame = [*rows[0]]
    asked = [name for expectation in check.expectations for key, name in expectation.arguments.items() if key.startswith("column")]
    assert asked
    assert {*asked} <= {*frame}


@pytest.mark.parametrize("check", CHECKS, ids=names(CHECKS))
def test_what_a_check_expects_is_an_expectation_of_great_expectations(check: Check) -> None:
    proof = proof_of(PLAN, ROWS, relations=(relation(0, 0),))
    for expectation in (*check.expectations, *check.of_table(USERS, proof), *check.of_table(ORDERS, proof)):
        made = as_expectation(check.level, expectation).configuration
        assert {*expectation.arguments} <= {*made.kwargs}
        assert made.meta["level"] == check.level
