"""Figures of a target's speed: what an earlier run left, and what is said of slow ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firelift.verification.checks.performance import earlier_figures, percentile, too_slow
from firelift.verification.proof import Measured

FIGURE = {"table": "users", "what": "count", "samples": 3, "p50": 1.5, "p95": 2, "p99": 2}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (json.dumps({"performance": [FIGURE]}), {("users", "count"): 1.5}),
        (
            json.dumps({"performance": [FIGURE, {"table": "users"}, None, {**FIGURE, "p50": "fast", "table": "x"}]}),
            {("users", "count"): 1.5},
        ),
        (json.dumps({"performance": [FIGURE]})[:-5], {}),
        (json.dumps({"performance": "none"}), {}),
        (json.dumps([FIGURE]), {}),
        ('{"performance": [{"table": "users", "what": "count", "p50": NaN}]}', {}),
        ("", {}),
        ("\xff", {}),
    ],
)
def test_an_older_result_is_read_as_far_as_it_has_figures(tmp_path: Path, written: str, read: dict[Any, float]) -> None:
    file = tmp_path / "verification.json"
    file.write_text(written, encoding="latin-1")
    assert earlier_figures(file) == read


def test_no_older_result_is_no_error(tmp_path: Path) -> None:
    assert earlier_figures(tmp_path / "verification.json") == earlier_figures(None) == earlier_figures(tmp_path) == {}


def test_a_warning_says_the_table_the_figure_the_limit_and_its_setting() -> None:
    slow = Measured(table="users", what="key lookup", samples=20, p50=10, p95=61.25, p99=70, limit=50.0)
    fine = Measured(table="users", what="count", samples=3, p50=10, p95=10, p99=10, limit=10.0)
    unlimited = Measured(table="users", what="range scan", samples=3, p50=10, p95=1e6, p99=1e6)
    assert too_slow([slow, fine, unlimited]) == (
        "users: key lookup takes 61.2 ms (p95 of 20), more than the 50 ms of MIGRATION_MAX_LOOKUP_MS",
    )


def test_a_percentile_is_one_of_the_times() -> None:
    times = [float(number) for number in range(200, 0, -1)]
    assert [percentile(times, percent) for percent in (50, 95, 99)] == [100, 190, 198]
    assert percentile([0.0123456], 99) == 0.012
