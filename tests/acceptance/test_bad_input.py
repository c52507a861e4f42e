"""Bad input gets one line that says what, where and what to do next; and nothing is lost or written by it."""

from __future__ import annotations

import base64
import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from signal import SIGCONT, SIGINT, SIGSTOP
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from psycopg import sql

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.errors import CredentialsRefused, FirestoreUnreachable
from firelift.firestore.values import Document
from firelift.local.postgres import PostgresServer
from tests.support.command_line import CANARY, FIRELIFT, QUICKLY, Operator, Said, holds_nothing, is_untouched
from tests.support.prefect_servers import Api, eventually, schemas_of, tables_of, text_of
from tests.support.warm_commands import BY_PREFECT, WITHOUT_PREFECT
from tests.support.whole_way import Things, new_source, write

KEY = f"{CANARY}-service-role-key"
PASSWORD = f"{CANARY}-password"
NOBODY = "127.0.0.1:9"
"""Nobody listens on the discard port."""
SHUFFLED = random.Random(5)


def noise(length: int) -> str:
    return "".join(SHUFFLED.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


@pytest.fixture(scope="module")
def app(emulator_host: str) -> Iterator[str]:
    """The project of a small app that tests only read."""
    with new_source(emulator_host) as source:
        write(source, {"users/ada": {"name": "Ada"}, "users/ada/orders/1": {"total": 3}, "teams/red": {"size": 2}, "teams/blue": {}})
        yield source.project


@pytest.fixture
def shell(tmp_path: Path, prefect_api: str) -> Operator:
    """An operator who has set no address but Prefect's, and whose migrations are carried out without it."""
    return Operator(tmp_path, {"PREFECT_API_URL": prefect_api, **QUICKLY, **WITHOUT_PREFECT})


@pytest.fixture
def ready(shell: Operator, emulator_host: str, app: str, database_url: str) -> Operator:
    """An operator who has set everything a migration needs."""
    return shell.with_(FIRESTORE_EMULATOR_HOST=emulator_host, GOOGLE_CLOUD_PROJECT=app, DATABASE_URL=database_url)


def assert_refused(said: Said, code: int, *words: str) -> None:
    assert (said.code, said.out) == (code, ""), said.err
    assert said.error.startswith("error: "), said.err
    for word in words:
        assert word in said.error
    *before, _ = said.err.splitlines()
    progress = re.compile(
        r"migration-\S+: status, log and reports in .*|(pre_validation|extraction|transformation|import|verification) .*|warning: .*"
    )
    assert [line for line in before if not progress.fullmatch(line)] == []
    assert CANARY not in said.err


# --- what is found out before anything starts: neither Prefect nor a working directory ---


def key_file(**fields: str) -> str:
    return json.dumps({"type": "service_account", "project_id": "p", "client_email": "a@b.c", "token_uri": "https://x.invalid/", **fields})


FILES = {
    "prose": "Dear diary",
    "typeless": '{"project_id": "p"}',
    "half": '{"type": "service_account", "project_id": "p"}',
    "garbage": key_file(private_key=f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"),
    "strange": key_file(type="driving_licence"),
    "deep": "[" * 200_000,
    "map.deep": '{"collections":' * 200_000,
    "map.list": "[]",
    "map.broken": '{"collections": ',
    "map.word": '{"collections": {"users": {"tabel": "people"}}}',
    "map.key": '{"collections": {"users": {"columns": {"name": "id"}}}}',
}
SERVICE = "--firebase-service-account"
ABSENT: dict[str, str | None] = {"FIRESTORE_EMULATOR_HOST": None}


class Slip(NamedTuple):
    """A mistake: the command line, what is set differently, and the words of the error."""

    arguments: str
    variables: dict[str, str | None]
    words: tuple[str, ...]


SLIPS = {
    "unknown command": Slip("migrat", {}, ("migrat", "migrate", "--help")),
    "unknown option": Slip("migrate --colour", {}, ("No such option", "--colour", "--help")),
    "surplus word": Slip("migrate now", {}, ("unexpected extra argument", "now", "--help")),
    "unknown choice": Slip("migrate --naming camel", {}, ("--naming", "'snake_case' or 'preserve'", "camel")),
    "no number": Slip("migrate --batch-size many", {}, ("--batch-size", "integer", "many")),
    "out of range": Slip("migrate --max-workers 0", {}, ("--max-workers", "greater than or equal to 1")),
    "value in the environment": Slip("migrate", {"MIGRATION_MAX_REJECTS": "-1"}, ("MIGRATION_MAX_REJECTS", "-1")),
    "no collection path": Slip("migrate --collections users//orders", {}, ("--collections", "users//orders")),
    "schema of ours": Slip("migrate --target-schema firelift", {}, ("--target-schema", "belongs to")),
    "no target": Slip("migrate", {"DATABASE_URL": None}, ("--database-url", "SUPABASE_DB_URL")),
    "target that is no address": Slip("migrate", {"DATABASE_URL": PASSWORD}, ("DATABASE_URL", "postgresql://user@host:5432/database")),
    "password with an @": Slip("migrate", {"DATABASE_URL": f"postgresql://me:{PASSWORD}@h@h/x"}, ("DATABASE_URL", "%40")),
    "transaction pooler": Slip(
        "migrate", {"DATABASE_URL": f"postgresql://me:{PASSWORD}@h:6543/x"}, ("6543", "session pooler", "port 5432")
    ),
    "no project": Slip("migrate", {"GOOGLE_CLOUD_PROJECT": None}, ("project", "--project-id", "GOOGLE_CLOUD_PROJECT")),
    "no credentials": Slip("migrate", ABSENT, ("credentials", SERVICE, "GOOGLE_APPLICATION_CREDENTIALS")),
    "no key file": Slip(f"migrate {SERVICE} nowhere.json", ABSENT, (SERVICE, "there is no file", "nowhere.json")),
    "no key file in the environment": Slip(
        "migrate", ABSENT | {"GOOGLE_APPLICATION_CREDENTIALS": "nowhere.json"}, ("GOOGLE_APPLICATION_CREDENTIALS", "there is no file")
    ),
    "key itself, not its file": Slip("migrate", ABSENT | {"GOOGLE_APPLICATION_CREDENTIALS": FILES["garbage"]}, ("must be the path",)),
    "key file not JSON": Slip(f"migrate {SERVICE} prose", ABSENT, ("prose", "it is not JSON", "Download a new private key")),
    "key file nested too deeply": Slip(f"migrate {SERVICE} deep", ABSENT, ("deep", "it is not JSON")),
    "key file without type": Slip(f"migrate {SERVICE} typeless", ABSENT, ("typeless", "no `type`")),
    "key file with holes": Slip(f"migrate {SERVICE} half", ABSENT, ("half", "missing fields", "client_email", "token_uri")),
    "garbage key": Slip(f"migrate {SERVICE} garbage", ABSENT, ("garbage", "its private key cannot be read")),
    "key of another kind": Slip(f"migrate {SERVICE} strange", ABSENT, ("strange", "driving_licence", "service_account")),
    "no mapping file": Slip("migrate --mapping nowhere.json", {}, ("--mapping", "there is no file")),
    "mapping not JSON": Slip("migrate --mapping map.broken", {}, ("map.broken", "It is JSON:")),
    "mapping nested too deeply": Slip("migrate --mapping map.deep", {}, ("map.deep", "nested too deeply")),
    "app's configuration nested too deeply": Slip(
        'migrate --app-config deep --app-config-values {"a":1}', {}, ("deep", "nested too deeply")
    ),
    "moment before all years": Slip("migrate --read-time 0001-01-01T00:00:00+23:59", {}, ("--read-time", "years 1 to 9999")),
    "parameter that nobody knows": Slip("migrate", {"DATABASE_URL": f"postgresql://me:{PASSWORD}@h/x?colour=red"}, ("colour",)),
    "mapping of another shape": Slip("migrate --mapping map.list", {}, ("map.list", "It is JSON:")),
    "mapping with a misspelled word": Slip("migrate --mapping map.word", {}, ("map.word", "collections.users.tabel")),
    "mapping to a column of ours": Slip("migrate --mapping map.key", {}, ("map.key", "'id' is Firelift's own")),
    "Supabase without https": Slip(
        "migrate", {"SUPABASE_URL": "p.supabase.co", "SUPABASE_SERVICE_ROLE_KEY": KEY}, ("SUPABASE_URL", "https://")
    ),
    "working directory is a file": Slip("migrate --working-dir prose", {}, ("prose", "a file is where a directory is needed")),
    "working directory below a file": Slip("migrate --working-dir prose/deeper", {}, ("prose/deeper", "--working-dir")),
    "rollback of no target": Slip("rollback", {"DATABASE_URL": None}, ("--database-url", "SUPABASE_DB_URL")),
    "rollback of a target that is no address": Slip("rollback", {"DATABASE_URL": PASSWORD}, ("DATABASE_URL", "postgresql://user@host")),
    "rollback through a transaction pooler": Slip(
        "rollback", {"DATABASE_URL": f"postgresql://me:{PASSWORD}@h:6543/x"}, ("session pooler",)
    ),
    "rollback of no name": Slip("rollback --migration-id a/b", {}, ("--migration-id", "letters, digits")),
    "rollback with a surplus word": Slip("rollback mine", {}, ("unexpected extra argument", "mine", "--help")),
    "cleanup of no target": Slip("cleanup --yes", {"DATABASE_URL": None}, ("--database-url", "SUPABASE_DB_URL")),
    "retention that is no number": Slip("cleanup --backup-retention week", {}, ("--backup-retention", "week")),
    "retention below zero": Slip("cleanup --backup-retention -1", {}, ("--backup-retention", "0<=x<=36500")),
    "retention in the environment": Slip(
        "cleanup", {"MIGRATION_BACKUP_RETENTION": "7 d"}, ("MIGRATION_BACKUP_RETENTION", "integer", "7 d")
    ),
    "no run to show": Slip("status", {}, ("no migration", "firelift migrate")),
    "no run of this name": Slip("status --migration-id mine", {}, ("no migration", "mine")),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_is_told_in_one_line_before_anything_starts(slip: Slip, tmp_path: Path) -> None:
    target = f"postgresql://me:{PASSWORD}@{NOBODY}/x"
    operator = Operator(tmp_path, {"FIRESTORE_EMULATOR_HOST": NOBODY, "GOOGLE_CLOUD_PROJECT": "p", "DATABASE_URL": target})
    operator.here.mkdir()
    for name, text in FILES.items():
        (operator.here / name).write_text(text)
    before = set(operator.here.iterdir())

    said = operator.with_(**slip.variables).firelift(*slip.arguments.split())

    assert_refused(said, 2, *slip.words)
    assert set(operator.here.iterdir()) == before


def test_an_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    operator = Operator(tmp_path, {})
    operator.here.mkdir()
    (operator.here / ".env").write_bytes(b"\xff\xfe\x00")
    assert_refused(operator.firelift("migrate"), 2, "`.env`", "UTF-8")


# --- what pre-validation finds: a run that ends with its first phase ---


def refused(operator: Operator, code: int, *words: str, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """`firelift migrate` fails in pre-validation with these words, and says so in its status, which is returned."""
    said = operator.firelift("migrate", *more)
    assert_refused(said, code, *words)
    status: dict[str, Any] = json.loads((operator.workspace / "migration-status.json").read_text())
    assert (status["status"], status["currentPhase"]) == ("failed", "pre_validation")
    assert said.error == f"error: {status['errors'][-1]['message']}"
    assert CANARY not in operator.left_behind()
    return status


def test_firestore_that_does_not_answer_is_given_up_soon(ready: Operator, database_url: str) -> None:
    refused(
        ready.with_(FIRESTORE_EMULATOR_HOST=NOBODY, **BY_PREFECT),
        1,
        "Firestore does not answer",
        NOBODY,
        "refused",
        "FIRESTORE_EMULATOR_HOST",
    )
    assert is_untouched(database_url)


def test_a_host_that_takes_a_connection_and_says_nothing_is_given_up_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        firestore = open_firestore(Source("p", emulator_host=f"127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(FirestoreUnreachable, match="Check the network"):
            firestore.reach(0.1)


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """The address of a server with this one answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_key_that_was_deleted_is_said_to_be_refused(tmp_path: Path) -> None:
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with answering(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}) as token_uri:
        file = tmp_path / "key.json"
        file.write_text(key_file(private_key=private.decode(), token_uri=token_uri))
        with pytest.raises(CredentialsRefused, match=r"Invalid JWT Signature.*make a new one") as caught:
            open_firestore(Source("p", service_account=str(file))).reach()
    assert caught.value.exit_code == 2


def test_postgres_that_does_not_answer(ready: Operator) -> None:
    url = f"postgresql://postgres:{PASSWORD}@{NOBODY}/x"
    refused(ready.with_(DATABASE_URL=url), 1, "PostgreSQL cannot be reached", NOBODY, "Check host, port and firewall")


@pytest.mark.parametrize("command", ["rollback", "cleanup"])
def test_undoing_tells_what_is_wrong_with_the_target(command: str, shell: Operator, postgres: PostgresServer) -> None:
    nobody = f"postgresql://postgres:{PASSWORD}@{NOBODY}/x"
    assert_refused(shell.with_(DATABASE_URL=nobody).firelift(command), 1, "PostgreSQL cannot be reached", NOBODY, "Check host")
    wrong = postgres.url(password=PASSWORD)
    assert_refused(shell.with_(DATABASE_URL=wrong).firelift(command), 2, "refused the user or the password", "Check user and password")
    assert_refused(shell.firelift(command, "--database-url", postgres.url("nowhere")), 2, "no database of this name", "nowhere")


def test_a_wrong_password(ready: Operator, postgres: PostgresServer) -> None:
    refused(ready.with_(DATABASE_URL=postgres.url(password=PASSWORD)), 2, "refused the user or the password", "Check user and password")


def test_a_database_that_is_not_there(ready: Operator, postgres: PostgresServer) -> None:
    refused(ready.with_(DATABASE_URL=postgres.url("nowhere")), 2, "no database of this name", "nowhere", "create the database")


@contextmanager
def role(server: PostgresServer, name: str, rights: str) -> Iterator[None]:
    """A role that may log in with PASSWORD."""
    statement = sql.SQL("CREATE ROLE {} LOGIN " + rights + " PASSWORD {}").format(sql.Identifier(name), sql.Literal(PASSWORD))
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(statement)
        yield
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_role_that_may_not_create(ready: Operator, postgres: PostgresServer, database_url: str) -> None:
    url = postgres.url(urlsplit(database_url).path[1:], user="reader", password=PASSWORD)
    with role(postgres, "reader", ""):
        refused(ready.with_(DATABASE_URL=url), 2, "reader", "GRANT CREATE ON DATABASE", "GRANT USAGE, CREATE ON SCHEMA")
    assert is_untouched(database_url)


def test_supabase_that_refuses_the_key(ready: Operator, database_url: str) -> None:
    with answering(401, {"message": "Invalid API key"}) as url:
        wrong = ready.with_(SUPABASE_URL=url, SUPABASE_SERVICE_ROLE_KEY=KEY)
        refused(wrong, 2, "Supabase refused the API key", url, "service_role")
    assert is_untouched(database_url)


def test_supabase_that_does_not_answer(ready: Operator) -> None:
    wrong = ready.with_(SUPABASE_URL=f"http://{NOBODY}", SUPABASE_SERVICE_ROLE_KEY=KEY)
    refused(wrong, 1, "Supabase API does not answer", NOBODY, "Check SUPABASE_URL")


PATTERNS = ("--collections", "users,nowhere", "--exclude-collections", "teams,never/*/orders")


def test_a_pattern_that_no_root_collection_matches(ready: Operator, database_url: str) -> None:
    refused(ready, 2, "patterns: nowhere, never/*/orders", "teams, users", "firelift plan", more=PATTERNS)
    assert is_untouched(database_url)


def test_a_name_that_a_view_or_a_partitioned_table_has(ready: Operator, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE VIEW teams AS SELECT 'a row of somebody else'")
        connection.execute("CREATE TABLE users (id text PRIMARY KEY) PARTITION BY LIST (id)")
    refused(ready, 2, "teams is a view", "public.users, why: it is partitioned", "--target-schema")
    assert schemas_of(database_url) == ["public"]
    assert tables_of(database_url) == {"users": 0}


def test_a_published_table_that_was_changed(ready: Operator, database_url: str) -> None:
    assert ready.firelift("migrate").code == 0
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE users_orders ALTER COLUMN total TYPE numeric")
    before = text_of(database_url)
    refused(ready, 2, "public.users_orders", "column: total", "has: numeric", "needs: bigint", "ALTER TABLE")
    assert text_of(database_url) == before


# --- what is found out in the middle ---


def failed(operator: Operator, phase: str, said: Said, code: int, *words: str) -> None:
    assert_refused(said, code, *words)
    status = json.loads((operator.workspace / "migration-status.json").read_text())
    assert (status["status"], status["currentPhase"]) == ("failed", phase)


def columns_of(database_url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url) as connection:
        query = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        return connection.execute(query).fetchall()


TABLES_THAT_DO_NOT_FIT = {
    "no key": ("users AS SELECT 1 AS number", ("public.users", "has: none", "needs: id")),
    "nested, another key": ("users_orders (id text PRIMARY KEY)", ("public.users_orders", "has: id", "needs: users_id, id")),
    "another type": ("users (id text PRIMARY KEY, name int)", ("public.users", "column: name", "has: integer", "needs: text")),
    "a value needed": ("users (id text PRIMARY KEY, mine int NOT NULL)", ("public.users", "column: mine", "has no default")),
    "a value that a document lacks": (
        "teams (id text PRIMARY KEY, size bigint NOT NULL)",
        ("public.teams", "column: size", "NOT NULL", "1 of 2"),
    ),
}


@pytest.mark.parametrize(("table", "words"), TABLES_THAT_DO_NOT_FIT.values(), ids=TABLES_THAT_DO_NOT_FIT.keys())
def test_a_table_of_somebody_else_that_cannot_take_the_rows(ready: Operator, database_url: str, table: str, words: tuple[str, ...]) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"CREATE TABLE {table}".encode())
    before = columns_of(database_url), tables_of(database_url)
    failed(ready, "transformation", ready.firelift("migrate"), 2, *words)
    assert (columns_of(database_url), tables_of(database_url)) == before
    assert schemas_of(database_url) == ["public"]


def test_the_name_of_a_nested_table_that_is_taken(ready: Operator, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE VIEW users_orders AS SELECT 1 AS total")
    failed(ready, "transformation", ready.with_(**BY_PREFECT).firelift("migrate"), 2, "users_orders is a view", "--target-schema")
    assert is_untouched(database_url)


def test_a_table_of_somebody_else_that_fits_gets_the_rows(ready: Operator, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE users (id text PRIMARY KEY, name text, mine int DEFAULT 7)")
        connection.execute("INSERT INTO users VALUES ('ada', 'somebody', 1), ('zoe', 'Zoe', 2)")
    said = ready.firelift("migrate")
    assert said.code == 0, said.err
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT id, name, mine FROM users").fetchall() == [("ada", "Ada", 1)]


def test_a_pattern_that_no_nested_collection_matches(ready: Operator, database_url: str) -> None:
    failed(ready, "extraction", ready.firelift("migrate", "--collections", "users/*/nowhere"), 2, "users/*/nowhere", "firelift plan")
    assert is_untouched(database_url)


@pytest.fixture
def documents(emulator_host: str, shell: Operator, database_url: str) -> Iterator[Callable[[Things], Operator]]:
    """An operator for a database that holds just these documents."""
    with new_source(emulator_host) as source:

        def loaded(things: Things) -> Operator:
            write(source, things)
            return shell.with_(FIRESTORE_EMULATOR_HOST=emulator_host, GOOGLE_CLOUD_PROJECT=source.project, DATABASE_URL=database_url)

        yield loaded


Documents = Callable[[Things], Operator]


@dataclass
class Disk:
    """A file system of a size of our choice."""

    path: Path

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("a small or read-only file system can only be mounted by root on Linux")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(path)], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("disk", ["ro"], indirect=True)
def test_a_working_directory_that_cannot_be_written(disk: Disk, ready: Operator, database_url: str) -> None:
    said = ready.firelift("migrate", "--working-dir", str(disk.path / "work"))
    assert_refused(said, 2, str(disk.path / "work"), "it cannot be written", "--working-dir")
    assert is_untouched(database_url)


@pytest.mark.parametrize("disk", ["size=2m"], indirect=True)
def test_a_disk_that_fills_up_in_mid_run_loses_nothing(disk: Disk, documents: Documents, database_url: str) -> None:
    operator = documents({f"notes/{number:02}": {"text": noise(100_000)} for number in range(40)}).with_(**BY_PREFECT)
    command = ["migrate", "--working-dir", str(disk.path), "--batch-size", "4", "--migration-id", "the-same"]

    said = operator.firelift(*command)
    assert said.code == 1
    assert re.fullmatch(rf"error: The disk is full \(path: {disk.path}/\S+\)\. Free space there, then continue with --resume\.", said.error)
    shown = operator.firelift("status", "--working-dir", str(disk.path))
    assert shown.code == 0
    assert "the-same: failed, extraction" in shown.out
    assert "The disk is full" in shown.out
    assert holds_nothing(database_url)

    disk.resize("64m")
    again = operator.firelift(*command, "--resume")
    assert again.code == 0, again.err
    assert tables_of(database_url) == {"notes": 40}


@pytest.mark.parametrize("disk", ["size=1m"], indirect=True)
def test_a_disk_that_is_too_small_from_the_start(disk: Disk, documents: Documents, database_url: str) -> None:
    operator = documents({f"notes/{number}": {} for number in range(600)})
    said = operator.firelift("migrate", "--working-dir", str(disk.path))
    assert_refused(said, 2, "too little free space", str(disk.path), "--working-dir")
    assert is_untouched(database_url)


def test_an_empty_database_is_a_success_that_says_so(documents: Documents, database_url: str) -> None:
    said = documents({}).firelift("migrate")
    assert said.code == 0, said.err
    assert "the database held no documents, so there was nothing to move" in said.out
    assert tables_of(database_url) == {}


def test_a_plan_needs_no_target(ready: Operator) -> None:
    said = ready.with_(DATABASE_URL=None).firelift("plan")
    assert said.code == 0, said.err
    assert "users/*/orders -> public.users_orders (1 document, 0 rejects expected)" in said.out
    assert "Nothing has been written to the target." in said.out


def test_the_sql_that_a_plan_prints_is_in_a_file_and_makes_the_tables(ready: Operator, database_url: str) -> None:
    said = ready.with_(DATABASE_URL=None).firelift("plan", "--migration-id", "mine")
    printed = re.findall(r"in the run's directory:\n\n(.*;\n)\n", said.out, re.DOTALL)
    assert printed == [(ready.workspace / "runs" / "mine" / "plan.sql").read_text()]
    with psycopg.connect(database_url) as connection:
        connection.execute(printed[0].encode())
    assert "users_orders" in tables_of(database_url)
    again = json.loads(ready.firelift("plan", "--json").out)
    assert again["ddl"] == ""
    # The target that it is for has them all, so that a migration fills them.
    assert ready.firelift("migrate").code == 0


def test_a_document_that_cannot_be_stored_is_kept_whole_and_counted(documents: Documents, database_url: str) -> None:
    unstorable = f"users/{noise(1400)}/notes/{noise(1400)}"
    operator = documents({"users/ada": {"name": "Ada"}, "users/bob": {"name": "Bob"}, unstorable: {"text": "keep me"}})
    operator = operator.with_(MIGRATION_AUTO_VERIFICATION=None)

    said = operator.firelift("migrate")
    assert_refused(said, 4, "rejected: 1, allowed: 0", "2704 bytes of an index entry", "rejects/", "--max-rejects")
    assert schemas_of(database_url) == ["firelift", "public"]
    assert tables_of(database_url) == {}
    status = json.loads((operator.workspace / "migration-status.json").read_text())
    assert (status["status"], status["currentPhase"], status["statistics"]["rowsRejected"]) == ("failed", "verification", 1)

    allowed = operator.firelift("migrate", "--max-rejects", "1", "--json")
    assert allowed.code == 0, allowed.err
    report = json.loads(allowed.out)
    assert report["statistics"]["rowsRejected"] == 1
    assert {table["table"]: (table["documents"], table["rows"], table["rejected"]) for table in report["tables"]} == {
        "users": (2, 2, 0),
        "users_notes": (1, 0, 1),
    }
    assert tables_of(database_url) == {"users": 2, "users_notes": 0}
    (file,) = (operator.workspace / "runs" / report["migrationId"] / "rejects").iterdir()
    reject = json.loads(file.read_text())
    assert (reject["path"], reject["fields"]["text"]["stringValue"]) == (unstorable, "keep me")
    assert "2704 bytes" in reject["reason"]
    assert Document.FromString(base64.b64decode(reject["document"])).fields["text"].string_value == "keep me"


def test_names_made_to_inject_sql_are_only_names(documents: Documents, database_url: str) -> None:
    ends, formats = """x"; DROP TABLE victim; --""", "%s %(x)s $1 {0} \\ '); DROP TABLE victim; --"
    schema = """s"; DROP SCHEMA public CASCADE; --"""
    operator = documents({f"{ends}/{formats}": {ends: "a", formats: "b"}, f"{ends}/{formats}/{formats}/{ends}": {"plain": ends}})
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE victim (told text)")

    said = operator.firelift("migrate", "--naming", "preserve", "--target-schema", schema)

    assert said.code == 0, said.err
    assert tables_of(database_url) == {"victim": 0}
    (root, nested) = sorted(tables_of(database_url, schema), key=len)
    with psycopg.connect(database_url) as connection:
        read = sql.SQL("SELECT {} FROM {}")
        columns = sql.SQL(", ").join([sql.Identifier("id"), sql.Identifier(ends), sql.Identifier(formats)])
        assert connection.execute(read.format(columns, sql.Identifier(schema, root))).fetchall() == [(formats, "a", "b")]
        assert connection.execute(read.format(sql.Identifier("plain"), sql.Identifier(schema, nested))).fetchall() == [(ends,)]


# --- two at a time, stopping, secrets ---


def test_a_second_run_names_the_first_which_ctrl_c_stops(documents: Documents, tmp_path: Path, database_url: str) -> None:
    operator = documents({f"notes/{number}": {"text": noise(1000)} for number in range(3000)})
    status = operator.workspace / "migration-status.json"

    def phase() -> str | None:
        return str(json.loads(status.read_text()).get("currentPhase")) if status.exists() else None

    first = operator.start([FIRELIFT, "migrate", "--batch-size", "1", "--migration-id", "the-first"])
    with first:
        try:
            eventually(60, lambda: phase() == "extraction")
            first.send_signal(SIGSTOP)
            workers = psutil.Process(first.pid).children(recursive=True)
            assert workers
            second = Operator(tmp_path / "second", operator.variables).firelift("migrate")
            # Of a process that stands still, not its main thread but any may get the signal, and Python's handler wait for that one.
            first.send_signal(SIGCONT)
            first.send_signal(SIGINT)
            out, err = first.communicate(timeout=60)
        finally:
            first.kill()

    assert_refused(second, 1, "Another run of Firelift is writing this target", "the-first", "Wait until it ends")
    assert (first.returncode, out) == (3, "")
    assert err.splitlines()[-1].startswith("error: The migration was stopped on request (migration: the-first).")
    assert "Traceback" not in err
    assert json.loads(status.read_text())["status"] == "stopped"
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert holds_nothing(database_url)


def test_the_status_of_a_run_needs_no_valid_settings(tmp_path: Path, prefect_api: str) -> None:
    operator = Operator(tmp_path, {"PREFECT_API_URL": prefect_api, "FIRESTORE_EMULATOR_HOST": NOBODY, "GOOGLE_CLOUD_PROJECT": "p"})
    url = f"postgresql://me:{PASSWORD}@{NOBODY}/x"
    assert operator.with_(DATABASE_URL=url).firelift("migrate").code == 1

    elsewhere = Operator(
        tmp_path, {"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json", "DATABASE_URL": PASSWORD, "MIGRATION_NAMING": "camel"}
    )
    shown = elsewhere.firelift("status")
    assert (shown.code, shown.err) == (0, "")
    assert "failed, pre_validation" in shown.out
    assert "PostgreSQL cannot be reached" in shown.out
    assert elsewhere.firelift("status", "--watch", "--json").code == 1


def with_a_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"me:{PASSWORD}@{parts.netloc}").geturl()


def test_no_secret_is_printed_written_or_stored_by_a_run_that_fails_and_then_comes_to_its_end(
    began: datetime, ready: Operator, api: Api, postgres: PostgresServer, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    key = tmp_path_factory.mktemp("key") / "key.json"
    key.write_text(FILES["garbage"])
    courier = postgres.url(urlsplit(database_url).path[1:], user="courier", password=PASSWORD)
    with role(postgres, "courier", "SUPERUSER"), answering(200, {}) as url:
        told = ready.with_(
            DATABASE_URL=courier,
            SUPABASE_URL=url,
            SUPABASE_SERVICE_ROLE_KEY=KEY,
            GOOGLE_APPLICATION_CREDENTIALS=str(key),
            PREFECT_API_URL=with_a_password(api.url),
            PREFECT_API_AUTH_STRING=f"me:{PASSWORD}",
            MIGRATION_AUTO_VERIFICATION=None,
            **BY_PREFECT,
        )
        with psycopg.connect(courier) as connection:
            connection.execute("CREATE TABLE teams (id text PRIMARY KEY, size bigint CHECK (size <> 2))")
        stopped = told.firelift("migrate", "--verbose", "--migration-id", "the-secret")
        assert stopped.code == 1, stopped.err
        assert "Traceback" in stopped.err
        left_by_failure = text_of(database_url) + told.left_behind()
        with psycopg.connect(courier) as connection:
            connection.execute("ALTER TABLE teams DROP CONSTRAINT teams_size_check")
        said = told.firelift("migrate", "--verbose", "--json", "--migration-id", "the-secret", "--resume")
        assert said.code == 0, said.err
        shown = told.firelift("status", "--json")
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("REASSIGN OWNED BY courier TO postgres")
    stored, server = text_of(database_url), api.everything(began)
    assert "Ada" in stored
    assert ready.variables["GOOGLE_CLOUD_PROJECT"] in stored
    assert "the-secret" in left_by_failure
    assert "the-secret" in server
    spoken = [text for each in (stopped, said, shown) for text in (each.out, each.err)]
    for place in (*spoken, left_by_failure, stored, told.left_behind(), server):
        assert CANARY not in place


# --- a proxy in the environment, as in many companies ---


def test_what_stands_on_this_machine_is_reached_without_the_proxy(ready: Operator, emulator_host: str, database_url: str) -> None:
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "https_proxy", "grpc_proxy"), f"http://{NOBODY}")
    # Without a Prefect server of the operator's: the command starts one.
    behind = ready.with_(
        **proxies,
        **BY_PREFECT,
        PREFECT_API_URL=None,
        ALL_PROXY=f"socks://{CANARY}@{NOBODY}/",
        FIRESTORE_EMULATOR_HOST=f"http://{emulator_host}/",
    )
    said = behind.firelift("migrate")
    assert said.code == 0, said.err
    assert tables_of(database_url) == {"teams": 2, "users": 1, "users_orders": 1}
    assert "warning: ALL_PROXY names a proxy" in said.err
    assert CANARY not in said.err
    assert not list(ready.directory.rglob(".prefect/prefect.db*"))


def test_where_prefect_may_start_no_server_that_is_said_before_anything_is_written(ready: Operator) -> None:
    said = ready.with_(**BY_PREFECT, PREFECT_API_URL=None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false").firelift("migrate")
    assert_refused(said, 2, "Prefect has no server", "PREFECT_API_URL")
    assert not ready.workspace.exists()


@pytest.mark.parametrize("address", ["https://127.0.0.1:8080", "127.0.0.1"])
def test_an_emulator_s_address_that_is_none_is_said_at_once(ready: Operator, address: str) -> None:
    said = ready.with_(FIRESTORE_EMULATOR_HOST=address).firelift("migrate")
    assert_refused(said, 2, "FIRESTORE_EMULATOR_HOST", "HOST:PORT", address)
    assert not ready.workspace.exists()
