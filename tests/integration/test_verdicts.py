"""Comparison and judgement together: what is right passes at every level, and what is wrong is a finding and never a crash."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

import expectations
from firelift.errors import Stopped
from firelift.local.postgres import PostgresServer
from firelift.migration.published.published_runs import PublishedRun, read_again
from firelift.phases import verification
from firelift.phases.verification import prove
from firelift.planning.model import Plan
from firelift.postgres.session import connect as connecting
from firelift.postgres.session.connect import Session
from firelift.postgres.session.errors import ConnectionLost
from firelift.receipts import RootCollection, Verified
from firelift.run.workspace import Workspace
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification.checks import performance
from firelift.verification.inputs import Known, Tables, Verification
from firelift.verification.proof import Limits
from firelift.workers import Workers
from tests.support.corruption import rich_documents
from tests.support.proofs import nested, proof_of
from tests.support.whole_way import Arrival, arrived, migrate, new_database, new_source, write

SESSION = "firelift-test"


@pytest.fixture(scope="module")
def rich(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    """Every type of Firestore, and the empty string as the lowest of its column."""
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, rich_documents(source))
        yield migrate(source, url, tmp_path_factory.mktemp("rich"))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2) as workers:
        yield workers


def verdict(workers: Workers, arrival: Arrival, results: Path, level: LevelName) -> Verified:
    verification = Verification(
        Tables(Session(arrival.url, SESSION), "public", arrival.plan, arrival.run),
        [root.collection for root in arrival.validated.roots],
        LEVELS[level],
        "seed",
        arrival.validated.read_time,
        results,
        Limits(10_000, 10_000),
        source=arrival.source,
        known=Known(relations=arrival.imported.relations),
    )
    proof = prove(workers, verification)
    return expectations.validate(Session(arrival.url, SESSION), arrival.plan, proof, results, "a-run")


@pytest.mark.parametrize("level", LEVELS)
def test_an_untouched_target_passes(workers: Workers, rich: Arrival, tmp_path: Path, level: LevelName) -> None:
    done = verdict(workers, rich, tmp_path, level)
    assert done.failed == ()
    assert done.passed


def test_of_two_ways_to_read_one_place_the_wrong_one_is_shown(rich: Arrival, tmp_path: Path) -> None:
    one, other = nested("rich", 3), nested("rich", 0).model_copy(update={"reads_as": "geopoint"})
    rows = {table.table: table.rows for table in rich.proof.tables}
    done = expectations.validate(Session(rich.url, SESSION), rich.plan, proof_of(rich.plan, rows, nested=(one, other)), tmp_path, "a-run")
    assert [failed.observed for failed in done.failed] == ["address.since: unreadable 3"]


SPOILED = {
    "an array that begins at 5": ("UPDATE public.people SET tags = '[5:6]={1,2}' WHERE id = 'p1'", None),
    "a row without a key": (
        "ALTER TABLE public.people DROP CONSTRAINT people_pkey, ALTER id DROP NOT NULL; INSERT INTO public.people (id) VALUES (NULL)",
        ("NULL", "unexpected row"),
    ),
    "a number of 6000 digits": ("UPDATE public.people SET map = jsonb_set(map, '{n}', '1e6000') WHERE id = 'p1'", ("p1", "unreadable row")),
    "JSON deeper than we can read": (
        "UPDATE public.people SET map = (repeat('[', 2000) || repeat(']', 2000))::jsonb WHERE id = 'p1'",
        ("p1", "unreadable row"),
    ),
    "a residue that is none": ("UPDATE public.people SET firestore_residue = '[1]' WHERE id = 'p1'", ("p1", "unreadable row")),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_what_nobody_wrote_is_a_finding(workers: Workers, emulator_host: str, postgres: PostgresServer, tmp_path: Path, fault: str) -> None:
    statement, expected = SPOILED[fault]
    people = {f"people/p{number}": {"map": {"n": number, "s": "x"}, "tags": [number, 2]} for number in range(3)}
    with arrived(emulator_host, postgres, tmp_path / "m", people) as arrival:
        with psycopg.connect(arrival.url, autocommit=True) as connection:
            connection.execute(statement.encode())
        done = verdict(workers, arrival, tmp_path / "results", "comprehensive")
    assert not done.passed
    assert expected is None or expected in [(difference.key, difference.what) for difference in done.differences]


def test_what_lies_beneath_a_replaced_table_is_read_again(workers: Workers, rich: Arrival, tmp_path: Path) -> None:
    """As when only a subcollection was migrated anew: the table of its parents is another run's."""
    tables = {table.collection: table for table in rich.plan.tables if table.collection == "rich/*/notes"}
    run = PublishedRun("a-run", rich.validated.read_time, tables, {"rich": "another", "orgs": "another"}, {"collections": ["rich/*/notes"]})
    scratch = tmp_path / "documents"
    found = read_again(workers, rich.source, Workspace(tmp_path, "a-run"), run, scratch, lambda _: None)
    [root] = found.roots
    validated = rich.validated.model_copy(update={"roots": (RootCollection(collection=root, start=None, end=None, documents=None),)})
    arrival = replace(rich, plan=found.plan, run=found.run, validated=validated)
    done = verdict(workers, arrival, tmp_path / "results", "comprehensive")
    assert (done.passed, done.failed) == (True, ())
    assert done.compared == sum(path.count("/") == 3 for path in rich.documents)
    shutil.rmtree(scratch)


def _ended(url: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """The server ends the session just before."""

    def call(connection: Any, *given: Any) -> Any:
        _end(url, connection)
        return real(connection, *given)

    return call


def _end(url: str, connection: Any) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])


def test_a_session_that_the_server_ends_is_a_lost_connection_wherever_it_happens(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(database="projects/p/databases/(default)", tables=())
    for module, looks, ask in (
        (verification, "existing_tables", lambda: verification._lacking(Tables(Session(database_url, SESSION), "public", plan, tmp_path))),
        (
            performance,
            "described_tables",
            lambda: performance.measure(Session(database_url, SESSION), "public", plan, LEVELS["standard"], Limits(1, 1), "seed"),
        ),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, looks, _ended(database_url, getattr(module, looks)))
            with pytest.raises(ConnectionLost):
                ask()

    def connect(url: str, name: str) -> Any:
        connection = real(url, name)
        _end(url, connection)
        return connection

    real = connecting.connect
    monkeypatch.setattr(connecting, "connect", connect)
    with pytest.raises(ConnectionLost):
        connecting.kept_open(database_url, SESSION, read_only=True)
    with pytest.raises(ConnectionLost), connecting.Session(database_url, SESSION).open_to_read():
        pass


def test_a_stop_is_heard_between_two_suites(rich: Arrival, tmp_path: Path) -> None:
    rows = {table.table: table.rows for table in rich.proof.tables}
    asked = iter((None, Stopped()))

    def check() -> None:
        if stop := next(asked):
            raise stop

    with pytest.raises(Stopped):
        expectations.validate(Session(rich.url, SESSION), rich.plan, proof_of(rich.plan, rows), tmp_path, "a-run", check)
    assert list(tmp_path.iterdir()) == []
