"""docs/architecture.md names the rooms and files that are there."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from tests.unit.test_house import FLOORS, POSTGRES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def spelled_out(text: str) -> list[str]:
    """`a/{b,c}.py` are two paths."""
    parts = [part.split(",") for part in re.split(r"[{}]", text)]
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def test_every_file_that_it_names_is_there() -> None:
    named = {path for quoted in re.findall(r"`([\w./{},]+)`", TEXT) for path in spelled_out(quoted) if "/" in path}
    ours = {path for path in named if not path.startswith(("archive/", "tables/", "rejects/", "receipts/", "verification-results/"))}
    missing = sorted(path for path in ours if not (ROOT / path).exists() and not (ROOT / "firelift" / path).exists())
    assert missing == []
    assert len(ours) > 30


def test_every_room_is_in_the_drawing() -> None:
    drawing = TEXT.split("```text")[1].split("```")[0].split()
    assert {room for rooms in FLOORS for room in rooms} - {*drawing} == set()
    inside = TEXT.split("```text")[2]
    assert re.findall(r"^(\w+) ", inside, re.MULTILINE)[:5] == list(reversed(POSTGRES))
