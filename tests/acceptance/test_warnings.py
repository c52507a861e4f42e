"""What a run warns of stands in its log, in its report and in the summary for people."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from firelift.local.postgres import PostgresServer
from firelift.local.writer import Reference
from firelift.run.workspace import LOG, REPORT, SUMMARY
from tests.support.command_line import QUICKLY
from tests.support.flow_runner import Runner
from tests.support.synced_database import Steps, steps
from tests.support.whole_way import new_source, write

FEW_LOCKS = {"max_connections": "8", "max_wal_senders": "0", "max_locks_per_transaction": "10"}


@pytest.fixture
def stepping(runner: Runner, emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> Iterator[Steps]:
    with steps(runner, emulator_host, postgres, tmp_path) as stepping:
        yield stepping


def warnings_of(directory: Path) -> list[str]:
    """What the latest run warned of, which log, report and summary say alike."""
    report = json.loads((directory / REPORT).read_text())
    told = [warning["message"] for warning in report["warnings"]]
    log = json.loads((directory / LOG).read_text())
    assert [entry["message"] for entry in log if entry["level"] == "warning"] == told
    _, _, after = (directory / SUMMARY).read_text().partition("## Warnings\n")
    shown = [line for line in after.partition("\n## ")[0].splitlines() if line.startswith("- ")]
    assert [line.replace("\\", "") for line in shown] == [f"- {message}" for message in told]
    return told


def long_id(seed: int) -> str:
    """One that PostgreSQL cannot compress."""
    return base64.urlsafe_b64encode(random.Random(seed).randbytes(1490)).decode()[:1490]


def test_what_a_full_run_does_to_standing_tables_beside_filling_them(stepping: Steps, tmp_path: Path) -> None:
    orders = f"{stepping.source.root}/users"
    stepping.write({"users/ann/orders/1": {"total": 3}, "users/ann": {"name": "Ann"}, "teams/red": {"size": 2}})
    stepping.write({"notes/short": {"seen": Reference(f"{orders}/ann/orders/1")}})
    stepping.full()
    assert [said for said in warnings_of(stepping.directory) if "Verification was switched off" not in said] == []

    # A reference that no index holds, and another name for a table, which somebody has filled.
    stepping.write({"notes/long": {"seen": Reference(f"{orders}/{long_id(1)}/orders/{long_id(2)}")}})
    stepping.ask("CREATE TABLE public.squads (id text PRIMARY KEY); INSERT INTO public.squads VALUES ('red'), ('blue')")
    mapping = tmp_path / "names.json"
    mapping.write_text('{"collections": {"teams": {"table": "squads"}}}')
    stepping.full(mapping=str(mapping))
    told = warnings_of(stepping.directory)
    assert "teams: its table is squads now; teams stays as the last run left it" in told
    assert "squads: this run replaces 2 rows that no run has put there, as far as is recorded" in told
    (dropped,) = [said for said in told if "2704 bytes" in said]
    assert dropped.startswith(
        "public.notes: the index notes_seen_users_id_seen_idx (seen_users_id, seen) that Firelift had made was dropped"
    )
    assert "`firelift rollback` makes it again" in dropped
    assert stepping.ask("SELECT id FROM public.teams") == [("red",)]
    assert stepping.ask("SELECT id FROM public.squads") == [("red",)]

    with new_source(str(stepping.source.emulator_host)) as other:
        write(other, {"notes/short": {}, "notes/other": {}})
        elsewhere = stepping.variables | QUICKLY | {"GOOGLE_CLOUD_PROJECT": other.project}
        planned = stepping.runner.migrate(elsewhere, dry_run=True)
        assert planned.error is None, planned.message
        (replaced,) = [said for said in warnings_of(stepping.directory) if said.startswith("notes: ")]
        assert replaced.startswith("notes: this run replaces the rows that came from ")
        assert stepping.source.project in replaced.partition(" with those of ")[0]
        assert other.project in replaced.partition(" with those of ")[2]


def test_a_server_with_too_little_room_for_the_locks_of_all_tables_is_told_of_by_the_plan(stepping: Steps) -> None:
    stepping.write({f"c{number}/only": {} for number in range(12)})
    with PostgresServer(fsync=False, settings=FEW_LOCKS) as small:
        planned = stepping.runner.migrate(stepping.unverified | {"SUPABASE_DB_URL": small.url()}, dry_run=True)
    assert planned.error is None, planned.message
    (told,) = warnings_of(stepping.directory)
    assert told.startswith("Publishing 12 tables in one transaction, or taking them back, needs some 108 locks")
    assert "the server promises room for 80: raise max_locks_per_transaction from 10 to 17" in told
