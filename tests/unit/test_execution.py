"""Steps that are carried out here and now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from firelift.errors import FireliftError
from firelift.migration import execution
from firelift.migration.context import Run
from firelift.migration.execution import RETRY_AFTER, InlineSteps
from firelift.postgres.session.foreign_owners import BelongsToAnother
from firelift.run.receipt_files import Receipts
from firelift.workers import WorkerDied


@pytest.mark.parametrize(
    ("name", "error", "attempts"),
    [("staging", WorkerDied, 1 + len(RETRY_AFTER)), ("staging", BelongsToAnother, 1), ("pre_validation", WorkerDied, 1)],
)
def test_a_step_is_tried_again_where_waiting_may_help_and_something_is_done_already(
    name: str, error: type[FireliftError], attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "RETRY_AFTER", tuple(0.0 for _ in RETRY_AFTER))
    tried: list[Any] = []

    def step(migration: Any) -> None:
        tried.append(migration)
        raise error()

    step.__name__ = name
    run = Run(migration_id="the-run", settings={"working_dir": str(tmp_path)})
    migration: Any = SimpleNamespace(stopping=False, run=run, receipts=Receipts(tmp_path))
    with pytest.raises(error):
        InlineSteps(migration).once(step)
    assert len(tried) == attempts
