"""The pictures of the report show what happened, and are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from firelift.run.reports.charts import MOST_BARS, MOST_BUCKETS, bars, throughput
from tests.support.report_cases import samples, tables_of


def sample(second: int, phase: str, documents: int = 0, rows: int = 0) -> dict[str, Any]:
    return {"at": f"2026-11-22T10:{second // 60:02}:{second % 60:02}Z", "phase": phase, "documents": documents, "rows": rows}


def kept(*found: dict[str, Any]) -> dict[str, Any]:
    return {"everySeconds": 1.0, "samples": list(found)}


def test_a_rate_is_what_was_done_in_the_time_it_took() -> None:
    drawn = throughput(
        kept(sample(0, "extraction"), sample(10, "extraction", 5000), sample(12, "import"), sample(22, "import", rows=20_000))
    )
    assert drawn is not None
    assert [(curve.phase, curve.unit, curve.mean) for curve in drawn.curves] == [("extraction", "documents", 500), ("import", "rows", 2000)]
    assert [tick.value for tick in drawn.up] == [0, 500, 1000, 1500, 2000]
    assert drawn.seconds == 22


def test_the_time_in_which_nobody_was_at_work_is_left_out() -> None:
    drawn = throughput(
        kept(sample(0, "extraction"), sample(10, "extraction", 5000), sample(600, "extraction", 5000), sample(610, "extraction", 9000))
    )
    assert drawn is not None
    assert drawn.seconds == 20
    assert drawn.pauses == (50.0,)
    assert drawn.curves[0].mean == 450


def test_a_long_run_is_drawn_with_few_points() -> None:
    drawn = throughput(samples())
    assert drawn is not None
    assert sum(len(curve.points.split()) for curve in drawn.curves) <= 2 * MOST_BUCKETS + 4 * len(drawn.curves)
    assert len(drawn.across) <= 8


@pytest.mark.parametrize("found", [kept(), kept(sample(0, "extraction")), kept(sample(0, "extraction"), sample(3, "extraction")), {}])
def test_where_nothing_moved_there_is_nothing_to_draw(found: dict[str, Any]) -> None:
    assert throughput(found) is None


@pytest.mark.parametrize(
    ("tables", "drawn"), [(0, 0), (1, 1), (MOST_BARS, MOST_BARS)] + [(many, MOST_BARS + 1) for many in (MOST_BARS + 1, 500)]
)
def test_bars_are_bounded(tables: int, drawn: int) -> None:
    rows = tables_of([f"c{number}" for number in range(tables)])
    found = bars(rows, ("documents", "rows"))
    assert len(found) == drawn
    assert sum(bar.row["documents"] for bar in found) == sum(row["documents"] for row in rows)
    assert all(0 <= bar.share <= 100 for bar in found)
    assert sum(bar.others or 1 for bar in found) == tables
