"""What a migration is called that Prefect starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prefect.client.schemas.objects import FlowRun

from tasks.flow_run_surroundings import migration_id_of

MADE = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
DUE = datetime(2026, 11, 23, 10, 15, tzinfo=UTC)


def flow_run(end: str, due: datetime) -> FlowRun:
    """As a scheduler makes it, whose ids (UUIDv7) begin with the time."""
    id = f"019aab0c-1640-7000-8000-000000{end}"
    return FlowRun.model_validate({"id": id, "flow_id": id, "created": MADE, "expected_start_time": due})


def test_each_run_that_a_schedule_makes_has_a_name_of_its_own_and_keeps_it() -> None:
    runs = [flow_run(end, DUE + timedelta(minutes=minutes)) for end, minutes in [("a1b2c3", 0), ("d4e5f6", 15), ("00ff00", 15)]]
    names = [migration_id_of(run) for run in runs]
    assert names == [
        "migration-2026-11-23T10-15-00-000Z-a1b2c3",
        "migration-2026-11-23T10-30-00-000Z-d4e5f6",
        "migration-2026-11-23T10-30-00-000Z-00ff00",
    ]
    assert names == [migration_id_of(run) for run in runs]
