"""Ways to go on that would lead to a wrong target are refused, and the target stays as it is."""

from __future__ import annotations

import psycopg
import pytest

from firelift.phases.import_ import StagingMissing, existing_staging, prepare, record_begin
from firelift.planning.model import Plan
from tests.support.gateway import Gateway
from tests.support.holding import kill_in
from tests.support.migrating import Ground, Undisturbed, content


def test_a_name_that_the_target_knows_from_another_working_directory(ground: Ground, undisturbed: Undisturbed) -> None:
    with ground.place() as place:
        assert place.migrate().code == 0
        before = place.content()
        said = place.with_(MIGRATION_READ_TIME="now").migrate("--working-dir", "another")
        assert said.code == 2
        assert said.error.startswith("error: The target knows a run of this name, and its working directory is not this one")
        assert place.content() == before == undisturbed.content


def test_a_snapshot_that_has_been_overtaken(ground: Ground, front: Gateway) -> None:
    with ground.place() as old, ground.place(SUPABASE_DB_URL=old.url, MIGRATION_READ_TIME="now") as new:
        kill_in("import", old, front)
        said = new.migrate()
        assert said.code == 0, said.err
        before = tables(old.url)
        said = old.migrate("--resume")
        assert said.code == 2
        assert "another run has published a later snapshot" in said.error
        assert new.migration_id in said.error
        assert tables(old.url) == before


def test_receipts_of_rows_that_stood_in_a_schema_that_is_gone(database_url: str) -> None:
    record_begin(database_url, "the-run", "full", {}, "2026-11-22T10:00:00Z")
    token = prepare(database_url, "the-run", Plan(database="projects/p/databases/(default)", tables=()), "public")
    assert existing_staging(database_url, "the-run", token) == token
    with psycopg.connect(database_url, autocommit=True) as connection:
        (schema,) = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'firelift_staging%'").fetchone() or ("",)
        connection.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())
    assert prepare(database_url, "the-run", Plan(database="projects/p/databases/(default)", tables=()), "public") != token
    with pytest.raises(StagingMissing):
        existing_staging(database_url, "the-run", token)


def tables(url: str) -> dict[str, list[str]]:
    return {what: lines for what, lines in content(url).items() if what not in ("runs", "staging")}
