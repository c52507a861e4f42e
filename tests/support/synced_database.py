"""A Firestore database and a target that is kept in step with it, run after run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from firelift.firestore.channel import Source
from firelift.firestore.values import Document, same_document
from firelift.local.postgres import PostgresServer
from firelift.local.writer import delete_documents
from firelift.paths import collection_of
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.schema.control_schema import SavedTable, saved_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import connect
from firelift.transform import compile_decoder
from tests.support.command_line import ONE_WORKER, QUICKLY
from tests.support.flow_runner import Outcome, Runner
from tests.support.whole_way import Things, below, everything, new_database, new_source, write

KEPT = {
    "columns": """
        SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2
    """,
    "foreign keys": """
        SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1, 2
    """,
    "remembered": "SELECT collection, table_name, plan::text, watermark, migration_id FROM firelift.tables ORDER BY 1",
}

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'firelift %'"


@dataclass
class Copy:
    """`public` of the target, and the Firestore database that it is to equal."""

    source: Source
    url: str

    def write(self, documents: Things) -> None:
        write(self.source, documents)

    def delete(self, *paths: str) -> None:
        delete_documents(str(self.source.emulator_host), self.source.name, paths)

    def equal(self, moment: str, collections: Collection[str] | None = None) -> None:
        """Asserts that of the target as of any time."""
        wanted, found = self.documents(moment), self.decoded()
        if collections is not None:
            found = {path: document for path, document in found.items() if collection_of(path) in collections}
        assert sorted(found) == sorted(wanted)
        assert [path for path in wanted if not same_document(found[path], wanted[path])] == []
        saved = self.saved()
        of_run = saved if collections is None else collections
        assert {saved[collection].watermark for collection in of_run} <= {datetime.fromisoformat(moment)}

    def documents(self, read_time: str) -> dict[str, Document]:
        """Firestore's own answer, read without any code of the engine."""
        return {below(document.name): document for document in everything(self.source, read_time)}

    def decoded(self) -> dict[str, Document]:
        """The documents that the target's rows say, by the plans it keeps."""
        with closing(connect(self.url, "firelift-test")) as connection:
            return {
                below(document.name): document
                for saved in saved_tables(connection, "public").values()
                for row in read_rows(connection, TargetTable("public", saved.plan))
                for document in [compile_decoder(saved.plan, self.source.name)(row)]
            }

    def saved(self) -> dict[str, SavedTable]:
        with closing(connect(self.url, "firelift-test")) as connection:
            return saved_tables(connection, "public")

    def standing(self) -> bool:
        """Whether a run has ever come as far as the target."""
        return self.ask("SELECT to_regclass('firelift.tables') IS NOT NULL") == [(True,)]

    def is_quiet(self) -> bool:
        """Whether no run, not even one that was killed, has a session in the target."""
        return self.ask(SESSIONS) == [(0,)]

    def ask(self, query: str) -> list[Any]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def content(self) -> Mapping[str, list[str]]:
        """Every row of every table, with its columns' types, and what the target remembers of its tables."""
        with psycopg.connect(self.url) as connection:
            names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
            asked = KEPT if self.standing() else {what: query for what, query in KEPT.items() if what != "remembered"}
            return {name: _lines(connection, name) for name in names} | {
                what: [str(row) for row in connection.execute(query.encode())] for what, query in asked.items()
            }


@dataclass
class Steps(Copy):
    """Runs go into the target, one after the other."""

    runner: Runner
    directory: Path

    @property
    def variables(self) -> dict[str, str]:
        return {
            "FIRESTORE_EMULATOR_HOST": str(self.source.emulator_host),
            "GOOGLE_CLOUD_PROJECT": self.source.project,
            "SUPABASE_DB_URL": self.url,
            "MIGRATION_WORKING_DIR": str(self.directory),
            **ONE_WORKER,
        }

    @property
    def unverified(self) -> dict[str, str]:
        return self.variables | QUICKLY

    def migrate(self, *, verified: bool = False, **options: Any) -> Outcome:
        """A run to its end, whatever that is."""
        return self.runner.migrate(self.variables if verified else self.unverified, **options)

    def full(self, **options: Any) -> Outcome:
        return self._succeeded(self.migrate(**options))

    def increment(self, **options: Any) -> Outcome:
        return self._succeeded(self.migrate(migration_mode="incremental", **options))

    def in_step(self, outcome: Outcome, collections: Collection[str] | None = None) -> None:
        """Asserts that the rows (of these collections) decode to the very documents that Firestore had at the run's read time."""
        self.equal(outcome.report["readTime"], collections)

    @staticmethod
    def _succeeded(outcome: Outcome) -> Outcome:
        assert outcome.error is None, f"{outcome.error}: {outcome.message}"
        assert outcome.report["status"] == "completed"
        return outcome


def _lines(connection: psycopg.Connection, table: str) -> list[str]:
    return sorted(line for (line,) in connection.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier("public", table))))


@contextmanager
def steps(runner: Runner, host: str, server: PostgresServer, directory: Path) -> Iterator[Steps]:
    """A database and a target of their own."""
    with new_source(host) as source, new_database(server) as url:
        yield Steps(source, url, runner, directory)


def moment(second: int) -> datetime:
    return datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
