"""A run that would take out more rows than it may is told so, with the numbers and the way to allow it."""

from __future__ import annotations

import pickle

import pytest

from firelift.planning.deletion_limits import Loss, TooManyDeletions, too_many

FEW_OF_MANY = [Loss("users", 10_000, 1900), Loss("orders", 50_000, 0)]


@pytest.mark.parametrize(
    ("losses", "limit", "stops"),
    [
        ([], None, False),
        ([Loss("users", 0, 0)], None, False),
        (FEW_OF_MANY, None, False),
        ([Loss("users", 1000, 200)], None, False),
        ([Loss("users", 1000, 201)], None, True),
        ([Loss("users", 400, 100), Loss("orders", 5, 0)], None, False),
        ([Loss("users", 400, 101), Loss("orders", 100_000, 0)], None, True),
        # Each of the tables may lose that much, all of them together may not.
        ([Loss(f"table_{number}", 99, 98) for number in range(5)], None, True),
        ([Loss("users", 99, 99), Loss("orders", 500, 0)], None, False),
        ([Loss("users", 1, 1), Loss("orders", 3, 3), Loss("empty", 0, 0)], None, True),
        ([Loss("users", 126, 126)], "100%", False),
        ([Loss("users", 126, 126)], "99.9%", True),
        ([Loss("users", 126, 126)], "126", False),
        ([Loss("users", 126, 126)], "125", True),
        ([Loss("users", 100, 60), Loss("orders", 100, 60)], "100", True),
        ([Loss("users", 10, 3)], "20%", True),
        ([Loss("users", 10, 1)], "0", True),
        ([Loss("users", 10, 0)], "0", False),
        (FEW_OF_MANY, "19%", False),
    ],
)
def test_more_than_may_go_is_stopped_a_table_and_in_all(losses: list[Loss], limit: str | None, stops: bool) -> None:
    assert (too_many(losses, limit) is not None) is stops


def test_it_says_how_many_of_how_many_and_what_allows_just_these() -> None:
    losses = [Loss("orders", 30, 30), Loss("users", 96, 96), Loss("teams", 0, 0)]
    stopped = too_many(losses, None)
    assert isinstance(stopped, TooManyDeletions)
    said = str(stopped)
    assert "tables: users 96 of 96 rows; orders 30 of 30 rows, in all: 126 of 126 rows" in said
    assert "to allow these: --max-deletes 126" in said
    assert too_many(losses, "126") is None
    assert stopped.exit_code == 1
    assert str(pickle.loads(pickle.dumps(stopped))) == said


def test_of_many_tables_those_that_lose_most_are_named() -> None:
    said = str(too_many([Loss(f"t{number}", 200, 100 + number) for number in range(9)], "1%"))
    assert "tables: t8 108 of 200 rows; t7" in said
    assert "and 4 tables more" in said


def test_one_row_and_one_table_are_said_so_and_thousands_have_a_comma() -> None:
    one = str(too_many([Loss("users", 1, 1)], "0"))
    assert "tables: users 1 of 1 row, in all: 1 of 1 row, allowed: 0 rows in all" in one
    losses = [Loss("users", 12_000, 3000), *(Loss(f"t{number}", 1, 1) for number in range(5))]
    many = str(too_many(losses, "1"))
    assert "users 3,000 of 12,000 rows; t0 1 of 1 row; " in many
    assert "and 1 table more, in all: 3,005 of 12,005 rows, allowed: 1 row in all" in many
    assert "--max-deletes 3005" in many
