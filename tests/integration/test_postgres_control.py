"""The schema `firelift` in the target."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pytest

from firelift.planning.model import Column, TablePlan
from firelift.postgres.load.copy import load_chunk
from firelift.postgres.load.staging import create_staging, drop_staging
from firelift.postgres.schema import control_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import connect
from firelift.postgres.session.errors import PermissionDenied
from tests.support.postgres_tables import RUN, as_arrow, as_role, plan, row, started

READ_TIME = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def test_making_it_again_changes_nothing(database_url: str) -> None:
    with started(database_url) as connection:
        control_schema.create_control(connection)
        assert control_schema.migration(connection, RUN) is not None


def test_a_migrations_row_follows_its_run(database_url: str) -> None:
    with started(database_url) as connection:
        control_schema.record_progress(connection, RUN, phase="extraction", read_time=READ_TIME)
        control_schema.record_progress(connection, RUN, phase="import", counts={"users": 3})
        control_schema.record_finish(connection, RUN, "completed")
        found = control_schema.migration(connection, RUN)
    assert found is not None
    assert found["finished_at"] >= found["started_at"]
    kept = {name: found[name] for name in ("mode", "status", "phase", "read_time", "counts", "settings")}
    assert kept == {
        "mode": "full",
        "status": "completed",
        "phase": "import",
        "read_time": READ_TIME,
        "counts": {"users": 3},
        "settings": {"target_schema": "public"},
    }


def test_a_resumed_run_keeps_its_beginning(database_url: str) -> None:
    with started(database_url) as connection:
        control_schema.record_progress(connection, RUN, read_time=READ_TIME)
        before = control_schema.migration(connection, RUN)
        control_schema.record_finish(connection, RUN, "failed")
        control_schema.record_start(connection, RUN, "full", {})
        after = control_schema.migration(connection, RUN)
    assert before is not None
    assert after is not None
    assert (after["started_at"], after["read_time"], after["finished_at"]) == (before["started_at"], READ_TIME, None)


def test_a_plan_with_nul_in_its_names_is_read_back_the_same(database_url: str) -> None:
    odd = TablePlan(collection="a\0b", table="a_b", keys=("id",), columns=(Column(name="x", path=("x\0🔥",), kind="json"),))
    with started(database_url) as connection:
        control_schema.save_table(connection, RUN, "public", odd, READ_TIME)
        control_schema.save_table(connection, RUN, "public", odd, READ_TIME)
        saved = control_schema.saved_tables(connection, "public")
        assert control_schema.saved_tables(connection, "other") == {}
    assert saved == {"a\0b": control_schema.SavedTable(plan=odd, watermark=READ_TIME, migration_id=RUN)}


def test_a_target_without_the_control_schema_has_no_saved_tables(database_url: str) -> None:
    with closing(connect(database_url, "firelift-test")) as connection:
        assert control_schema.saved_tables(connection, "public") == {}


def test_dropping_the_staging_schema_forgets_its_receipts(database_url: str) -> None:
    users = plan("users")
    with started(database_url, users) as connection:
        schema = create_staging(connection, RUN, [users])
        load_chunk(connection, RUN, "c1", [(TargetTable(schema, users), as_arrow(users, [row(users, "a")]))])
        assert control_schema.loaded_chunks(connection, RUN) == {"c1": control_schema.LoadedChunk(chunk="c1", rows={"users": 1})}
        drop_staging(connection, RUN)
        assert control_schema.loaded_chunks(connection, RUN) == {}
        drop_staging(connection, RUN)


def test_receipts_do_not_outlive_a_staging_schema_that_somebody_dropped(database_url: str) -> None:
    users = plan("users")
    with started(database_url, users) as connection:
        schema = create_staging(connection, RUN, [users])
        load_chunk(connection, RUN, "c1", [(TargetTable(schema, users), as_arrow(users, [row(users, "a")]))])
        connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
        create_staging(connection, RUN, [users])
        assert control_schema.loaded_chunks(connection, RUN) == {}


def test_a_role_that_may_not_create_it_is_told_so(database_url: str) -> None:
    with closing(connect(database_url, "firelift-test")) as admin:
        admin.execute("CREATE ROLE poor LOGIN PASSWORD 'p'")
        try:
            with closing(connect(as_role(database_url, "poor", "p"), "firelift-test")) as connection, pytest.raises(PermissionDenied):
                control_schema.create_control(connection)
        finally:
            admin.execute("DROP ROLE poor")
