"""The target's speed, measured on tables as they are loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from firelift.planning.model import Plan, ReferenceTarget
from firelift.postgres.inspect.performance import drawn
from firelift.postgres.load.constraints import constrain
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification.checks.performance import measure, too_slow
from firelift.verification.proof import Limits, Measured
from tests.support.postgres_tables import HOSTILE, RUN, load, plan, row, started

STAGING = staging_schema(RUN)
USERS = plan("users", boss=ReferenceTarget(collection="users"))
ORDERS = plan("users/*/orders", parent="users", table=HOSTILE, gift_for=ReferenceTarget(collection="users"))
EMPTY = plan("empty", name="string")
PLAN = Plan(database="projects/lab/databases/(default)", tables=(USERS, ORDERS, EMPTY))
LIMITS = Limits(lookup_ms=60_000, count_ms=60_000)
PEOPLE = 3000


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    users = [row(USERS, f"u'%{n:05}\\", f"u'%{n // 10:05}\\" if n else None) for n in range(PEOPLE)]
    orders = [row(ORDERS, f"u'%{n:05}\\", str(m), f"u'%{n:05}\\" if m else None) for n in range(300) for m in range(3)]
    with started(database_url, *PLAN.tables) as connection:
        load(connection, STAGING, [(USERS, users), (ORDERS, orders)])
        constrain(connection, STAGING, PLAN.tables, "report")
        yield connection


def measured(url: str, level: LevelName, limits: Limits = LIMITS, earlier: Path | None = None) -> dict[tuple[str, str], Measured]:
    session = Session(url, "firelift-test")
    return {(one.table, one.what): one for one in measure(session, STAGING, PLAN, LEVELS[level], limits, "seed", earlier)}


def test_basic_measures_nothing(database_url: str) -> None:
    assert measured(database_url, "basic") == {}


def test_standard_looks_up_keys_and_counts(connection: Connection, database_url: str) -> None:
    figures = measured(database_url, "standard")
    assert {place: one.samples for place, one in figures.items()} == {
        ("users", "key lookup"): 20,
        ("users", "count"): 1,
        (HOSTILE, "key lookup"): 20,
        (HOSTILE, "count"): 1,
        ("empty", "count"): 1,
    }
    assert all(0 < one.p50 <= one.p95 <= one.p99 for one in figures.values())
    assert figures["empty", "count"].rows_per_second is None


def test_comprehensive_follows_references_scans_and_joins(connection: Connection, database_url: str) -> None:
    figures = measured(database_url, "comprehensive")
    assert {place: one.samples for place, one in figures.items()} == {
        ("users", "key lookup"): 200,
        ("users", "count"): 3,
        ("users", "range scan"): 20,
        ("users", "reference lookup"): 200,
        (HOSTILE, "key lookup"): 200,
        (HOSTILE, "count"): 3,
        (HOSTILE, "range scan"): 20,
        (HOSTILE, "join to parent"): 20,
        (HOSTILE, "reference lookup"): 200,
        ("empty", "count"): 3,
    }
    for (table, _), one in figures.items():
        assert one.rows_per_second or table == "empty"
        assert connection.execute(one.query.encode()).fetchone() is not None


def test_every_answer_of_a_lookup_is_one_row(connection: Connection, database_url: str) -> None:
    query = measured(database_url, "standard")[HOSTILE, "key lookup"].query
    assert len(connection.execute(query.encode()).fetchall()) == 1


def test_figures_stand_beside_those_of_the_earlier_run(connection: Connection, database_url: str, tmp_path: Path) -> None:
    first = measured(database_url, "standard")
    earlier = tmp_path / "verification.json"
    earlier.write_text(json.dumps({"performance": [one.model_dump() for one in first.values()]}))
    again = measured(database_url, "comprehensive", earlier=earlier)
    assert {place: again[place].earlier_p50 for place in first} == {place: one.p50 for place, one in first.items()}
    assert again["users", "range scan"].earlier_p50 is None


def test_what_takes_longer_than_its_limit_is_a_warning(connection: Connection, database_url: str) -> None:
    assert too_slow(list(measured(database_url, "standard").values())) == ()
    slow = too_slow(list(measured(database_url, "standard", Limits(lookup_ms=1e-6, count_ms=60_000)).values()))
    assert [warning.partition(": ")[0] for warning in slow] == ["users", HOSTILE]
    assert all("MIGRATION_MAX_LOOKUP_MS" in warning for warning in slow)


def test_drawn_keys_are_the_same_for_a_seed_and_spread_over_the_table(connection: Connection) -> None:
    users = TargetTable(STAGING, USERS)
    keys = drawn(connection, users, USERS.keys, 200, 7)
    assert keys == drawn(connection, users, USERS.keys, 200, 7) != drawn(connection, users, USERS.keys, 200, 8)
    numbers = sorted(int(key[3:8]) for (key,) in keys)
    assert len({*numbers}) == 200
    assert numbers[20] < PEOPLE / 4
    assert numbers[-20] > PEOPLE * 3 / 4


def test_tables_that_are_not_whole_are_not_measured(connection: Connection, database_url: str) -> None:
    connection.execute(f"ALTER TABLE {STAGING}.users DROP COLUMN boss; DROP TABLE {STAGING}.empty".encode())
    assert {table for table, _ in measured(database_url, "comprehensive")} == {HOSTILE}
