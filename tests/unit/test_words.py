"""Words that cannot rot: the README says what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

from firelift.counting import counted
from tests.options import README, with_table

ROOT = README.parent
# Written-out numbers, such as a limit in capitals, may have their plural beside them; "3 of 12 documents" has it by itself.
_A_NUMBER_AND_ITS_PLURAL = re.compile(
    r"(?<!of )(?<!of the )\{(?![A-Z_]+[}:])[^{}]*\} "
    r"(rows|documents|differences|tables|rejects|collections|chunks|files|backups|fields|columns|ranges|expectations|days|bytes)\b"
)


def test_one_row_is_one_row() -> None:
    assert [counted(number, "row") for number in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]


def test_every_number_of_things_is_said_through_one_function() -> None:
    rooms = ("firelift", "tasks", "flows", "expectations")
    lines = {line for room in rooms for path in (ROOT / room).rglob("*.py") for line in Path(path).read_text().splitlines()}
    assert [line for line in sorted(lines) if _A_NUMBER_AND_ITS_PLURAL.search(line)] == []


def test_the_option_table_of_the_readme_is_made_from_the_settings() -> None:
    assert README.read_text() == with_table(README.read_text())
