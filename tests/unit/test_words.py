"""Words that cannot rot: the README says what the settings say."""

from __future__ import annotations

from tests.options import README, with_table


def test_the_option_table_of_the_readme_is_made_from_the_settings() -> None:
    assert README.read_text() == with_table(README.read_text())
