"""Words that cannot rot: the README says what the settings say."""

from __future__ import annotations

from firelift.formatting import counted
from tests.support.options import README, with_table


def test_one_row_is_one_row() -> None:
    assert [counted(number, "row") for number in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]


def test_the_option_table_of_the_readme_is_made_from_the_settings() -> None:
    assert README.read_text() == with_table(README.read_text())
