"""Great Expectations' results for migrated tables, whole ones and ones with a fault planted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg import sql

import expectations
from expectations.validation import ExpectationErrored
from firelift.errors import FireliftError
from firelift.local.postgres import PostgresServer
from firelift.planning.model import Plan
from firelift.postgres.schema.ddl import create_table
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session
from firelift.postgres.session.errors import ConnectionLost, PermissionDenied, PostgresUnreachable, StatementCancelled
from firelift.receipts import Difference, FailedExpectation, Verified
from firelift.settings.types import LevelName
from firelift.verification.proof import DigestUnit, Proof, Reread
from tests.support.postgres_tables import HOSTILE, as_role, plan
from tests.support.prefect_servers import eventually
from tests.support.proofs import DIGEST, OTHER, column, compared, measured, nested, proof_of, relation, same
from tests.support.whole_way import Arrival, Things, arrived

RUN = "migration-2026-11-22T10-30-00-123Z-abc123"
SESSION = f"firelift {RUN}"
SCHEMA = Path(__file__).parents[2] / "docs" / "verification.schema.json"
LEVELS: tuple[LevelName, ...] = ("basic", "standard", "comprehensive")

DOCUMENTS: Things = {
    "users/ann": {"name": "Ann", "age": 31, "address": {"city": "Zürich"}},
    "users/bob": {"name": "Bob", "age": 27, "address": {"city": "Bern"}},
    "users/cat": {"name": "Cat", "age": 99, "address": {"city": "Chur"}},
    "users/ann/orders/1": {"gift_for": "bob"},
    "users/bob/orders/1": {"gift_for": "cat"},
}
ROWS = {"users": 3, "users_orders": 2}


@pytest.fixture(scope="module")
def migrated(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with arrived(emulator_host, postgres, tmp_path_factory.mktemp("migrated"), DOCUMENTS) as arrival:
        yield arrival


@pytest.fixture
def url(migrated: Arrival, postgres: PostgresServer) -> Iterator[str]:
    """A copy of the migrated database that a test may spoil."""
    name, template = f"copy_of_{id(object())}", urlsplit(migrated.url).path[1:]
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(name), sql.Identifier(template)))
        yield postgres.url(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def spoil(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def validate(url: str, plan: Plan, proof: Proof, results: Path) -> Verified:
    return expectations.validate(Session(url, SESSION), plan, proof, results, RUN)


def read(results: Path) -> Any:
    """verification.json, which is as its schema says."""
    told = json.loads((results / "verification.json").read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(told)
    return told


def found(done: Verified) -> list[tuple[str, str, str | None, str]]:
    return [(failure.expectation, failure.table, failure.column, failure.observed) for failure in done.failed]


@pytest.mark.parametrize("level", LEVELS)
def test_tables_that_are_as_they_should_be_pass(level: LevelName, migrated: Arrival, tmp_path: Path) -> None:
    related = () if level == "basic" else (relation(0, 0, expected_foreign_key=True),)
    done = validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS, level, relations=related), tmp_path)

    assert done.passed
    assert found(done) == []
    assert done.warnings == ()
    told = read(tmp_path)
    assert (told["passed"], told["level"], told["migrationId"]) == (True, level, RUN)
    assert told["counts"]["expectations"] == done.expectations == len(told["expectations"])
    assert all(expectation["success"] for expectation in told["expectations"])


def test_a_level_asks_all_that_the_one_below_asks(migrated: Arrival, tmp_path: Path) -> None:
    asked: list[set[str]] = []
    for level in LEVELS:
        validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS, level), tmp_path / level)
        asked.append({f"{expectation['suite']}: {expectation['sentence']}" for expectation in read(tmp_path / level)["expectations"]})
    assert asked[0] < asked[1] < asked[2]


# A statement that spoils a table, and what is found of it beside whatever else it entails.
SPOILED = {
    "a row is gone": (
        "DELETE FROM users_orders WHERE users_id = 'ann'",
        ("expect_table_row_count_to_equal", "users_orders", None, "1 row"),
    ),
    "a row too many": (
        "INSERT INTO users (id, firestore_created_at, firestore_updated_at) VALUES ('dan', now(), now())",
        ("expect_table_row_count_to_equal", "users", None, "4 rows"),
    ),
    "a key is null": (
        "ALTER TABLE users_orders DROP CONSTRAINT users_orders_pkey, ALTER id DROP NOT NULL;"
        "UPDATE users_orders SET id = NULL WHERE users_id = 'ann'",
        ("expect_column_values_to_not_be_null", "users_orders", "id", "1 row"),
    ),
    "a key twice": (
        "ALTER TABLE users_orders DROP CONSTRAINT users_orders_pkey; INSERT INTO users_orders SELECT * FROM users_orders",
        ("unexpected_rows_expectation", "users_orders", None, "2 rows, such as ann/1; bob/1"),
    ),
    "no primary key": (
        "ALTER TABLE users_orders DROP CONSTRAINT users_orders_pkey",
        ("expect_column_pair_values_to_be_equal", "users_orders", None, "primary key none"),
    ),
    "another type": (
        "ALTER TABLE users ALTER age TYPE double precision",
        ("expect_column_pair_values_to_be_equal", "users", "age", "found double precision"),
    ),
    "a column is gone": ("ALTER TABLE users DROP age", ("expect_table_columns_to_match_set", "users", None, "missing: age")),
    "the type of a column that is gone": (
        "ALTER TABLE users DROP age",
        ("expect_column_pair_values_to_be_equal", "users", "age", "found missing"),
    ),
    "a key column is gone": (
        "ALTER TABLE users_orders DROP users_id CASCADE",
        ("expect_column_pair_values_to_be_equal", "users_orders", "users_id", "found missing"),
    ),
    "a table is gone": ("DROP TABLE users_orders", ("expect_column_pair_values_to_be_equal", "users_orders", None, "primary key missing")),
    "a reference leads nowhere": (
        "ALTER TABLE users_orders DISABLE TRIGGER ALL; UPDATE users_orders SET gift_for = 'nobody' WHERE users_id = 'ann'",
        ("unexpected_rows_expectation", "users_orders", "gift_for", "1 row, such as ann/1"),
    ),
}


@pytest.mark.parametrize("fault", SPOILED)
def test_a_spoiled_table_fails(fault: str, url: str, migrated: Arrival, tmp_path: Path) -> None:
    statement, expected = SPOILED[fault]
    spoil(url, statement)
    done = validate(url, migrated.plan, proof_of(migrated.plan, ROWS, relations=(relation(0, 0),)), tmp_path)
    assert not done.passed
    assert expected in found(done)
    assert not read(tmp_path)["passed"]


def test_columns_of_the_users_own_are_fine(url: str, migrated: Arrival, tmp_path: Path) -> None:
    spoil(url, "ALTER TABLE users ADD note text, ADD upper_name text GENERATED ALWAYS AS (upper(name)) STORED")
    assert validate(url, migrated.plan, proof_of(migrated.plan, ROWS), tmp_path).passed


PAIRS, SET = "expect_column_pair_values_to_be_equal", "expect_column_values_to_be_in_set"
DIFFERENCE = Difference(table="users", key="ann", field="age", what="value", expected="integer 31", found="integer 32")
USERS = plan("users")
# Parts of a proof that say that something is wrong, and what is found of it.
FAULTS: dict[str, tuple[dict[str, Any], list[tuple[str, str, str | None, str]]]] = {
    "a piece differs": (
        {"pieces": (DigestUnit(table="users", key="ann", documents=1, source_digest=DIGEST, target_digest=OTHER),)},
        [(PAIRS, "users", None, f"ann: target digest {OTHER[:16]}…")],
    ),
    "a piece is missing": (
        {"pieces": (DigestUnit(table="users", key="ann", documents=1, **same(), presence="source"),)},
        [(SET, "users", None, "ann: presence source")],
    ),
    "there are differences": (
        {"differences_total": 3, "differences": (DIFFERENCE,)},
        [(SET, "all", None, "differences 3")],
    ),
    "a document differs": (
        {"tables": (compared(USERS, 3, differing=2), compared(plan("users/*/orders"), 2))},
        [(SET, "users", None, "differing 2")],
    ),
    "rows were counted otherwise": (
        {"tables": (compared(USERS, 3, documents=5, rejected=1), compared(plan("users/*/orders"), 2))},
        [("expect_table_row_count_to_equal", "users", None, "3 rows"), (PAIRS, "users", None, "rows 3")],
    ),
    "a table was not compared": (
        {"tables": (compared(USERS, 3),)},
        [
            ("expect_table_row_count_to_equal", "users_orders", None, "2 rows"),
            (PAIRS, "users_orders", None, "rows -1"),
            (SET, "users_orders", None, "differing -1"),
        ],
    ),
    "other orphans than before": ({"relations": (relation(1, 2, False),)}, [(PAIRS, "users_orders", "gift_for", "users: orphans 2")]),
    "a foreign key is gone": (
        {"relations": (relation(1, 1, False, expected_foreign_key=True),)},
        [(PAIRS, "users_orders", "gift_for", "users: found none")],
    ),
    "a column is filled otherwise": ({"columns": (column("users", "age", present=2),)}, [(PAIRS, "users", "age", "present 2")]),
    "a range begins otherwise": ({"columns": (column("users", "age", low="0"),)}, [(PAIRS, "users", "age", "low 0")]),
    "a range ends otherwise": (
        {"columns": (column("users", "age", expected_high="99", high=None),)},
        [(PAIRS, "users", "age", "high none")],
    ),
    "a nested value is unreadable": ({"nested": (nested("users", 4),)}, [(SET, "users", "address", "address.since: unreadable 4")]),
    "a document read again differs": ({"rereads": (Reread(table="users", asked=9, differing=2),)}, [(SET, "users", None, "differing 2")]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_comparison_found_fails(fault: str, migrated: Arrival, tmp_path: Path) -> None:
    changed, expected = FAULTS[fault]
    done = validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS, **changed), tmp_path)
    assert not done.passed
    assert found(done) == expected
    assert done.failed_total == len(expected)
    told = read(tmp_path)
    assert [expectation["failuresTotal"] for expectation in told["expectations"] if not expectation["success"]] == [1] * len(expected)


def test_every_place_is_counted_and_the_first_hundred_are_named(migrated: Arrival, tmp_path: Path) -> None:
    wrong = [DigestUnit(table="users", key=str(number), documents=1, source_digest=DIGEST, target_digest=OTHER) for number in range(250)]
    done = validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS, pieces=tuple(wrong)), tmp_path)
    assert (done.failed_total, len(done.failed)) == (250, 100)
    assert done.failed[0] == FailedExpectation(
        suite="basic",
        expectation=PAIRS,
        table="users",
        column=None,
        expected=f"source digest {DIGEST[:16]}…",
        observed=f"0: target digest {OTHER[:16]}…",
    )


def test_what_was_not_known_before_fails_nothing(migrated: Arrival, tmp_path: Path) -> None:
    unknown: dict[str, Any] = {
        "columns": (column("users", "age", expected_low=None, low="7"),),
        "relations": (relation(None, 5, False),),
        "rereads": (Reread(table="users", asked=9, differing=0, unavailable="the snapshot is gone"),),
    }
    done = validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS, **unknown), tmp_path)
    assert done.passed
    assert done.reread == 0
    assert [warning for warning in done.warnings if "users_orders, gift_for: 5 rows" in warning]


def test_slow_answers_are_a_warning(migrated: Arrival, tmp_path: Path) -> None:
    slow = proof_of(
        migrated.plan, ROWS, performance=(measured(migrated.plan.tables[0], 7.5), measured(migrated.plan.tables[1], 99.0, None))
    )
    done = validate(migrated.url, migrated.plan, slow, tmp_path)
    assert done.passed
    assert done.warnings == ("users, key lookup: p95 7.5 ms, limit 5.0 ms.",)
    assert [
        (expectation["severity"], expectation["observed"]) for expectation in read(tmp_path)["expectations"] if not expectation["success"]
    ] == [("warning", "1 of 1 not as expected")]


def test_no_tables_pass(migrated: Arrival, tmp_path: Path) -> None:
    nothing = Plan(database=migrated.plan.database, tables=())
    assert validate(migrated.url, nothing, proof_of(nothing, {}), tmp_path).passed
    assert read(tmp_path)["counts"]["tables"] == 0


NAMES = [
    "UserProfiles",
    'qu"ote',
    '"',
    "it's",
    "100% %s %(x)s",
    "a.b",
    " a b ",
    "{batch} {0} {",
    ":name ::x",
    "back\\slash:x",
    "ü🔥",
    "x" * 63,
]


def test_every_name_that_postgres_allows_can_be_asked_about(database_url: str, tmp_path: Path) -> None:
    names = [*NAMES, HOSTILE[:50]]
    columns: dict[str, Any] = dict.fromkeys(names, "string")
    tables = tuple(plan(f"c{number}", table=name, **columns) for number, name in enumerate(names))
    with psycopg.connect(database_url, autocommit=True) as connection:
        schema = 'Sch"ema %s'
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        for table in tables:
            connection.execute(create_table(TargetTable(schema, table)))
            connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (id)").format(sql.Identifier(schema, table.table)))
    whole = Plan(database="projects/p/databases/(default)", tables=tables)
    proof = proof_of(whole, dict.fromkeys(names, 0), schema=schema)
    done = validate(database_url, whole, proof, tmp_path)
    assert found(done) == []
    assert {expectation["table"] for expectation in read(tmp_path)["expectations"]} == {*names, None}

    with psycopg.connect(database_url, autocommit=True) as connection:
        for table in tables:
            connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(*_key(connection, schema, table.table)))
            for _ in range(2):
                insert = sql.SQL("INSERT INTO {} (id, firestore_created_at, firestore_updated_at) VALUES ('a', now(), now())")
                connection.execute(insert.format(sql.Identifier(schema, table.table)))
    twice = [
        failure.table
        for failure in validate(database_url, whole, proof, tmp_path).failed
        if failure.expectation == "unexpected_rows_expectation"
    ]
    assert sorted(twice) == sorted(names)


def _key(connection: psycopg.Connection[Any], schema: str, table: str) -> tuple[sql.Identifier, sql.Identifier]:
    name = sql.Identifier(schema, table)
    row = connection.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = %s::regclass", [name.as_string(connection)]
    ).fetchone()
    assert row
    return name, sql.Identifier(row[0])


def test_no_file_holds_the_password_and_none_is_for_others(url: str, migrated: Arrival, tmp_path: Path) -> None:
    role, password = "canary_role", "canary-p4ssw0rd"
    spoil(url, f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'; ALTER TABLE users DROP age")
    done = validate(as_role(url, role, password), migrated.plan, proof_of(migrated.plan, ROWS), tmp_path / "results")
    spoil(url, f"DROP ROLE {role}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    own = unquote(urlsplit(url).password or "")
    assert [path for path in files if password in path.read_text() or own in path.read_text()] == []
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "results").rglob("*") if path.is_dir()} == {0o700}
    assert password not in repr(done)


def test_a_server_that_is_gone_is_no_failed_expectation(migrated: Arrival, tmp_path: Path) -> None:
    nowhere = urlsplit(migrated.url)._replace(netloc="postgres:x@127.0.0.1:1").geturl()
    with pytest.raises(PostgresUnreachable) as error:
        validate(nowhere, migrated.plan, proof_of(migrated.plan, ROWS), tmp_path)
    assert error.value.recovery == "automatic"


@pytest.mark.parametrize(("how", "kind"), [("pg_terminate_backend", ConnectionLost), ("pg_cancel_backend", StatementCancelled)])
def test_what_breaks_off_a_question_is_no_failed_expectation(
    how: str, kind: type[FireliftError], url: str, migrated: Arrival, tmp_path: Path
) -> None:
    with waiting_ended(url, "users", how), pytest.raises(kind) as error:
        validate(url, migrated.plan, proof_of(migrated.plan, ROWS), tmp_path)
    assert error.value.recovery == "automatic"
    assert not (tmp_path / "verification.json").exists()


@contextmanager
def waiting_ended(url: str, table: str, how: str) -> Iterator[None]:
    """The table is locked; whoever of the session waits for it is ended."""
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watcher:
        holder.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier("public", table)))
        ended = threading.Event()
        thread = threading.Thread(target=_end_waiting, args=(watcher, how, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _end_waiting(watcher: psycopg.Connection[Any], how: str, ended: threading.Event) -> None:
    ask = sql.SQL("SELECT {}(pid) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'").format(sql.SQL(how))
    while not ended.is_set() and watcher.execute(ask, [SESSION[:63]]).fetchone() is None:
        ended.wait(0.05)


@pytest.mark.parametrize(
    ("grant", "kind", "where"),
    [
        ("SELECT ON users", PermissionDenied, {"doing": "verifying the tables"}),
        ("SELECT ON users TO may_not_read; GRANT SELECT (gift_for) ON users_orders", ExpectationErrored, {"table": "users_orders"}),
    ],
)
def test_an_expectation_that_cannot_be_looked_at_is_said_to_be_so(
    grant: str, kind: type[FireliftError], where: dict[str, str], url: str, migrated: Arrival, tmp_path: Path
) -> None:
    spoil(url, "DROP ROLE IF EXISTS may_not_read; CREATE ROLE may_not_read LOGIN PASSWORD 'x'")
    spoil(
        url,
        f"ALTER TABLE users DISABLE ROW LEVEL SECURITY; ALTER TABLE users_orders DISABLE ROW LEVEL SECURITY; GRANT {grant} TO may_not_read",
    )
    try:
        with pytest.raises(kind, match="permission denied") as error:
            validate(as_role(url, "may_not_read", "x"), migrated.plan, proof_of(migrated.plan, ROWS), tmp_path)
        assert where.items() <= error.value.facts.items()
    finally:
        spoil(url, "DROP OWNED BY may_not_read; DROP ROLE may_not_read")


def test_a_second_validation_replaces_the_first(migrated: Arrival, tmp_path: Path) -> None:
    def ask(level: LevelName) -> Verified:
        return validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS, level), tmp_path)

    ask("comprehensive")
    ask("basic")
    assert read(tmp_path)["level"] == "basic"
    assert not [path for path in (tmp_path / "data-docs").rglob("*") if "rereads" in path.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-docs", "verification.json"]


def test_nothing_of_the_session_is_left(migrated: Arrival, tmp_path: Path) -> None:
    validate(migrated.url, migrated.plan, proof_of(migrated.plan, ROWS), tmp_path)
    with psycopg.connect(migrated.url, autocommit=True) as connection:
        ask = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        # PostgreSQL's process ends a moment after the connection that it has served.
        eventually(10, lambda: connection.execute(ask, [SESSION[:63]]).fetchone() == (0,))
