"""Which verification's figures another one is compared with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from firelift.run.earlier_runs import earlier_full_run, earlier_verification
from firelift.run.workspace import REPORT, Workspace
from firelift.verification.checks.performance import earlier_figures

FIGURES = [{"table": "users", "what": "count", "p50": 1.0}]


def verified(
    root: Path,
    run: str,
    moment: int,
    *,
    place: str = "verification-results",
    target: str = "db/x",
    performance: object = FIGURES,
    **said: object,
) -> Path:
    directory = root / "runs" / run / place
    directory.mkdir(parents=True)
    (root / "runs" / run / REPORT).write_text(json.dumps({"target": target} | said))
    file = directory / "verification.json"
    file.write_text(json.dumps({"performance": performance}))
    os.utime(file, (moment, moment))
    return file


def test_the_latest_of_the_same_target_that_has_figures_is_taken(tmp_path: Path) -> None:
    mine = Workspace(tmp_path, "mine")
    assert earlier_verification(mine, "db/x") is None
    verified(tmp_path, "mine", 100)
    assert earlier_verification(mine, "db/x") is None
    first = verified(tmp_path, "a", 10)
    second = verified(tmp_path, "b", 20)
    verified(tmp_path, "basic", 30, performance=[])
    verified(tmp_path, "other", 40, target="db/y")
    assert earlier_verification(mine, "db/x") == second
    second.write_text("{ cut")
    assert earlier_verification(mine, "db/x") == first


def test_a_published_target_that_was_verified_again_counts_too(tmp_path: Path) -> None:
    verified(tmp_path, "a", 10)
    later = verified(tmp_path, "mine", 20, place="verifications/2026")
    assert earlier_verification(Workspace(tmp_path, "mine"), "db/x") == later


def test_how_fast_a_sample_was_counted_is_nothing_to_compare_with(tmp_path: Path) -> None:
    full = verified(tmp_path, "a", 10, mode="full")
    verified(tmp_path, "b", 20, mode="test")
    assert earlier_verification(Workspace(tmp_path, "mine"), "db/x") == full


def test_only_a_full_run_into_the_same_target_that_was_completed_says_how_long_one_takes(tmp_path: Path) -> None:
    mine = Workspace(tmp_path, "mine")
    verified(tmp_path, "a", 10, mode="full", status="completed", dryRun=False, migrationId="a")
    verified(tmp_path, "plan", 20, mode="full", status="completed", dryRun=True)
    verified(tmp_path, "test", 20, mode="test", status="completed", dryRun=False)
    verified(tmp_path, "failed", 20, mode="full", status="failed", dryRun=False)
    verified(tmp_path, "elsewhere", 30, target="db/y", mode="full", status="completed", dryRun=False)
    (tmp_path / "runs" / "plan" / REPORT).write_text("{ cut")
    found = earlier_full_run(mine, "db/x")
    assert found is not None
    assert found["migrationId"] == "a"
    assert earlier_full_run(mine, "db/z") is None


@pytest.mark.parametrize("text", ["[]", "7", "null", "{ cut", "[" * 200_000, '{"target":' * 200_000])
def test_what_another_run_left_there_damaged_is_passed_over(tmp_path: Path, text: str) -> None:
    figures = verified(tmp_path, "damaged", 30)
    figures.write_text(text)
    verified(tmp_path, "unreadable", 20)
    (tmp_path / "runs" / "unreadable" / REPORT).write_text(text)
    whole = verified(tmp_path, "whole", 10, mode="full", status="completed", dryRun=False)
    assert earlier_figures(figures) == {}
    assert earlier_verification(Workspace(tmp_path, "mine"), "db/x") == whole
    found = earlier_full_run(Workspace(tmp_path, "mine"), "db/x")
    assert found is not None
    assert found["status"] == "completed"
