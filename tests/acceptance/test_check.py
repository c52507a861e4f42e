"""`firelift check` says what a migration would meet and cost, and `--max-reads` and `--max-cost` hold it to that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from firelift.firestore.channel import Source
from firelift.local.firestore_server.passthrough import EmulatorAnswers
from firelift.local.firestore_server.rules.counting import CountRefused
from firelift.local.firestore_server.server import FirestoreServer
from tests.support.command_line import CANARY, QUICKLY, Operator
from tests.support.prefect_servers import schemas_of, tables_of, text_below
from tests.support.warm_commands import WITHOUT_PREFECT
from tests.support.whole_way import new_source, write

USERS = 300


@pytest.fixture(scope="module")
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, {f"users/u{number:03}": {"n": number} for number in range(USERS - 1)} | {"Old Things/1": {"n": 1}})
        yield source


@pytest.fixture
def operator(source: Source, tmp_path: Path, database_url: str) -> Operator:
    assert source.emulator_host
    given = {"FIRESTORE_EMULATOR_HOST": source.emulator_host, "GOOGLE_CLOUD_PROJECT": source.project}
    return Operator(tmp_path, {**QUICKLY, **WITHOUT_PREFECT, **given, "SUPABASE_DB_URL": database_url})


def checked(operator: Operator, *options: str, code: int = 0) -> dict[str, Any]:
    said = operator.firelift("check", "--json", *options)
    assert said.code == code, said.err
    found: dict[str, Any] = json.loads(said.out)
    assert found["ready"] == (code == 0)
    return found


def test_it_says_what_a_migration_costs_and_writes_nothing(operator: Operator, source: Source, database_url: str) -> None:
    found = checked(operator)
    assert (found["source"], found["documents"], found["rootCollections"], found["problems"]) == (source.name, USERS, 2, [])
    # Both collections are counted, each for one read.
    assert found["full"]["reads"] in (USERS + 1, USERS + 2)
    assert found["full"]["price"] == {"usd": pytest.approx(found["full"]["reads"] * 6e-7, abs=1e-4), "perHundredThousandReads": 0.06}
    assert found["renamed"] == {"Old Things": "old_things"}
    assert (found["seconds"], found["paceOf"]) == (None, None)
    assert all(abs(found["clocks"][side]) < 60 for side in ("firestore", "target"))
    assert found["disk"]["free"] > found["disk"]["needed"] > 0
    assert found["databaseBytes"] > 0
    assert schemas_of(database_url) == ["public"]
    assert not operator.workspace.exists()


def test_people_read_a_verdict_and_figures(operator: Operator) -> None:
    said = operator.firelift("check", "--read-price", "0.03")
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0] == "Ready: nothing was found that would keep a migration from running."
    assert any(line.split()[:3] == ["Documents", "300", "in"] for line in lines)
    assert "hourly $0.00 a day" in said.out
    assert "$0.03 for 100,000 reads, as --read-price says" in said.out
    assert lines[-1] == "Documents were only counted, and nothing was written."


def test_after_a_run_it_says_how_long_one_takes(operator: Operator) -> None:
    assert operator.firelift("migrate", "--migration-id", "first").code == 0
    found = checked(operator)
    assert found["paceOf"] == "first"
    assert found["seconds"] > 0
    assert found["documents"] == USERS


def test_everything_that_is_wrong_is_said_at_once(operator: Operator, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE VIEW users AS SELECT 1")
    found = checked(operator, "--collections", "nobody", "--target-schema", "public", code=2)
    assert len(found["problems"]) == 1
    assert "matches no collection" in found["problems"][0]
    found = checked(operator.with_(SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SERVICE_ROLE_KEY="some-key"), code=2)
    assert ["users" in problem for problem in found["problems"]] == [True, False]
    nowhere = operator.with_(FIRESTORE_EMULATOR_HOST="127.0.0.1:9", SUPABASE_DB_URL=f"postgresql://a:{CANARY}@127.0.0.1:9/x")
    said = nowhere.firelift("check")
    assert said.code == 2
    assert said.out.startswith("NOT ready:\n  Firestore does not answer")
    assert "127.0.0.1:9/x" in said.out
    assert CANARY not in said.out + said.err


def test_without_a_target_firestore_is_checked_all_the_same(operator: Operator) -> None:
    found = checked(operator.with_(SUPABASE_DB_URL=None))
    assert (found["documents"], found["target"], found["databaseBytes"]) == (USERS, None, None)
    assert "no target was given" in found["warnings"][0]


def test_where_firestore_does_not_count_no_number_is_made_up(operator: Operator, source: Source) -> None:
    assert source.emulator_host
    with FirestoreServer(EmulatorAnswers(source.emulator_host), [CountRefused()]) as server:
        found = checked(operator.with_(FIRESTORE_EMULATOR_HOST=server.address))
    assert (found["documents"], found["full"]["reads"], found["full"]["price"]["usd"], found["disk"]["needed"]) == (None, None, None, None)
    assert any("does not count" in warning or "COUNT" in warning for warning in found["warnings"])


@pytest.mark.parametrize("limit", [("--max-reads", "300"), ("--max-cost", "0.00018")], ids=["reads", "cost"])
def test_a_run_that_would_read_more_than_it_may_stops_before_it_reads(
    operator: Operator, database_url: str, limit: tuple[str, str]
) -> None:
    assert "more document reads than it may have billed" in checked(operator, *limit, code=2)["problems"][0]
    said = operator.firelift("migrate", *limit, "--migration-id", "night")
    assert said.code == 1, said.err
    assert "more document reads than it may have billed" in said.error
    assert "most: 300" in said.error
    assert tables_of(database_url) == {}
    assert not list((operator.workspace / "runs" / "night" / "archive").rglob("*.parquet"))
    again = operator.firelift("migrate", "--resume")
    assert again.code == 1, again.err
    allowed = operator.firelift("migrate", "--resume", limit[0], "1000")
    assert allowed.code == 0, allowed.err
    assert tables_of(database_url) == {"old_things": 1, "users": USERS - 1}


def test_where_nothing_is_counted_a_budget_cannot_be_kept_and_nothing_is_read(operator: Operator, source: Source) -> None:
    assert source.emulator_host
    with FirestoreServer(EmulatorAnswers(source.emulator_host), [CountRefused()]) as server:
        far = operator.with_(FIRESTORE_EMULATOR_HOST=server.address)
        assert "does not count" in checked(far, "--max-reads", "100000", code=2)["problems"][0]
        said = far.firelift("migrate", "--max-reads", "100000")
        assert said.code == 1, said.err
        assert "Firestore does not count the documents" in said.error
        assert not list(operator.workspace.rglob("*.parquet"))
        assert far.firelift("migrate", "--resume").code == 1
        assert far.firelift("migrate").code == 0


def test_an_increment_is_held_to_it_too(operator: Operator, source: Source) -> None:
    assert operator.firelift("migrate").code == 0
    said = operator.firelift("migrate", "--migration-mode", "incremental", "--max-reads", "300")
    assert said.code == 1, said.err
    assert "more document reads than it may have billed" in said.error
    enough = operator.firelift("migrate", "--migration-mode", "incremental", "--max-reads", "302")
    assert enough.code == 0, enough.err
    write(source, {f"users/u{number:03}": {"n": -number} for number in range(10)})
    changed = operator.firelift("migrate", "--migration-mode", "incremental", "--max-reads", "305")
    assert changed.code == 1, changed.err
    assert "more document reads than it may have billed" in changed.error
    kept = set((operator.workspace / "runs").rglob("archive/*/*.parquet"))
    assert operator.firelift("migrate", "--resume").code == 1
    assert operator.firelift("migrate", "--resume", "--max-reads", "400").code == 0
    assert kept <= set((operator.workspace / "runs").rglob("archive/*/*.parquet"))


def test_no_secret_is_shown(operator: Operator, tmp_path: Path) -> None:
    hidden = operator.with_(SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SERVICE_ROLE_KEY=f"{CANARY}-key")
    said = hidden.firelift("check", "--json")
    assert (said.code, len(json.loads(said.out)["problems"])) == (2, 1)
    assert CANARY not in said.out + said.err + text_below(tmp_path)
