"""Every published table of a schema is verified, each with what there is to compare it with, or is said not to have been looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

import expectations
from firelift.local.postgres import PostgresServer
from firelift.migration.published.verify_published import verify_published
from firelift.paths import Selection
from firelift.receipts import Verified
from firelift.run.reports.verify_text import verified_text
from firelift.settings.settings import Settings
from tests.support.whole_way import Arrival, migrate, new_database, new_source, write


@dataclass
class Published:
    """A schema with tables of two runs, and a working directory without the archive of either."""

    first: Arrival
    second: Arrival
    directory: Path

    def verify(self, migration_id: str | None = None) -> Verified:
        source = self.first.source
        settings = Settings.load(
            database_url=self.first.url,
            firestore_emulator_host=source.emulator_host,
            project_id=source.project,
            working_dir=self.directory,
            max_workers=1,
            migration_id=migration_id,
        )
        return verify_published(settings, None, None, lambda _: None, expectations)


@pytest.fixture(scope="module")
def published(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    directory = tmp_path_factory.mktemp("published")
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, {"users/ada": {"name": "Ada"}, "users/bob": {"name": "Bob"}, "teams/a": {"n": 1}})
        first = migrate(source, url, directory / "runs")
        write(source, {"teams/b": {"n": 2}, "users/eve": {"name": "Eve"}})
        yield Published(first, migrate(source, url, directory / "runs", selection=Selection(["teams"])), directory / "elsewhere")


def test_every_table_is_compared_with_the_documents_of_its_own_snapshot(published: Published) -> None:
    done = published.verify()
    assert (done.passed, done.not_looked_at, done.against) == (True, (), "firestore")
    assert {table.table: table.compared for table in done.tables} == {"teams": 2, "users": 2}
    assert [(run.migration_id, run.tables, run.compared, run.documents) for run in done.runs] == [
        (published.second.run.name, 1, 2, 2),
        (published.first.run.name, 1, 2, 2),
    ]


def test_of_a_run_that_is_named_the_other_tables_are_said_not_to_have_been_looked_at(published: Published) -> None:
    done = published.verify(published.second.run.name)
    assert [table.table for table in done.tables] == ["teams"]
    assert done.not_looked_at == (f"users (of run {published.first.run.name})",)
    text = verified_text(done)
    assert text.splitlines()[0] == "All expectations are met. Not looked at: 1 published table."
    assert f"not looked at: users (of run {published.first.run.name})" in text
    assert "1 table, 2 of 2 documents compared to the last bit with Firestore, read again" in text


def test_a_row_of_the_earlier_run_that_somebody_changed_is_found(published: Published) -> None:
    with psycopg.connect(published.first.url) as connection:
        connection.execute("UPDATE public.users SET name = 'nobody' WHERE id = 'ada'")
        connection.commit()
        done = published.verify()
        connection.execute("UPDATE public.users SET name = 'Ada' WHERE id = 'ada'")
    assert (done.passed, done.differences_total) == (False, 1)
    assert [(found.table, found.key, found.field) for found in done.differences] == [("users", "ada", "name")]
    assert [run.passed for run in done.runs] == [True, False]
