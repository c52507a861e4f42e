"""What is not kept goes as a whole, whenever the run dies, and what it held is known afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from firelift.files import write_whole
from firelift.phases import post_migration
from firelift.phases.post_migration import NotDropped, drop
from firelift.receipts import Dropped

HELD = {
    "archive/users/0000.parquet": 1000,
    "archive/users/profile.json": 10,
    "transformed/users/0000.json": 1,
    "tables/users/0000.parquet": 7,
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for name, size in {**HELD, "rejects/0000.jsonl": 5, "plan.json": 2, "receipts/import.json": 3}.items():
        write_whole(tmp_path / name, "x" * size)
    return tmp_path


def left(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


ARCHIVE = {name for name in HELD if not name.startswith("tables")}
FREED = Dropped(what="archive", files=3, bytes=1011)


def test_what_is_dropped_goes_with_what_is_read_only_with_it(run: Path) -> None:
    before = left(run)
    assert drop(run, "archive") == FREED
    assert left(run) == before - ARCHIVE | {"receipts/freed-archive.json"}
    assert drop(run, "tables") == Dropped(what="tables", files=1, bytes=7)
    assert left(run) == before - HELD.keys() | {"receipts/freed-archive.json", "receipts/freed-tables.json"}


def test_dropping_again_tells_the_same(run: Path) -> None:
    drop(run, "archive")
    (run / "archive").mkdir()  # as every attempt of a run does
    assert drop(run, "archive") == FREED


DEATHS = {
    "with half of it moved": ("_set_aside", 2),
    "before it is counted": ("_measured", 1),
    "before the count is kept": ("write_sealed", 1),
    "with one directory gone": ("shutil.rmtree", 2),
}


@pytest.mark.parametrize(("moment", "call"), DEATHS.values(), ids=DEATHS.keys())
def test_a_death_in_between_loses_no_count(moment: str, call: int, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _, name = moment.rpartition(".")
    place: Any = shutil if owner else post_migration
    real, calls = getattr(place, name), []

    def dies(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, dies)
        with pytest.raises(KeyboardInterrupt):
            drop(run, "archive")
    assert not (run / "archive").exists()
    assert drop(run, "archive") == FREED
    assert not {name for name in left(run) if "dropping" in name}


def test_what_cannot_be_removed_is_named(run: Path) -> None:
    shutil.rmtree(run / "archive")
    (run / "archive").symlink_to("elsewhere", target_is_directory=True)
    (run / "elsewhere").mkdir()
    with pytest.raises(NotDropped, match=r"The tables ARE published.*archive"):
        drop(run, "archive")
