"""Where the look for changed documents begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from firelift.firestore.changed_since import Since
from firelift.modes.incremental.baseline import OVERLAP, Baseline
from firelift.planning.model import TablePlan
from firelift.postgres.schema.control_schema import SavedTable

MOMENT = datetime(2026, 11, 23, 3, tzinfo=UTC)


def saved(watermark: datetime, runs: int = 0) -> SavedTable:
    plan = TablePlan(collection="users", table="users", keys=("id",), columns=())
    return SavedTable(plan=plan, watermark=watermark, migration_id="run", runs_since_scan=runs)


def test_a_field_that_was_set_a_little_before_its_document_was_committed_is_not_missed() -> None:
    since = Baseline({}, {}).since([saved(MOMENT + timedelta(hours=1)), saved(MOMENT)], "at", 10)
    assert since == Since("at", MOMENT - OVERLAP)


def test_every_so_many_runs_all_keys_are_compared() -> None:
    assert Baseline({}, {}).since([saved(MOMENT), saved(MOMENT, runs=9)], "at", 10) is None
    assert Baseline({}, {}).since([saved(MOMENT, runs=8)], "at", 10) is not None
