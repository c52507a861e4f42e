"""The flow called directly, as Prefect shows it."""

from __future__ import annotations

import json
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from firelift.local.emulator import clear
from firelift.local.postgres import PostgresServer
from firelift.local.sample_app import load_sample
from firelift.local.writer import values, write_documents
from tests.support.browser import Browser, browser
from tests.support.prefect_servers import PHASES, Api, database, environment, eventually, run, sample_tables, tables_of, text_below
from tests.support.reported import undocumented_below

__all__ = ["browser"]

MIGRATION = "sample-run"
# They have few documents, so they are worked on together.
SMALL = "archive … users (6 collections)"
CALL = """
import json, sys, tasks.progress
from flows.migration import migration
tasks.progress.EVERY = 0.0
migration(**json.loads(sys.argv[1]))
"""


def migrate(cwd: Path, options: dict[str, Any], **more: str) -> str:
    """Calls the flow in a process of its own; returns what it said."""
    done = run([sys.executable, "-c", CALL, json.dumps(options)], environment(**more), cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Migrated:
    """The sample app after its migration: where everything about it is to be found."""

    project: str
    database_url: str
    workspace: Path
    directory: Path
    run: dict[str, Any]


@pytest.fixture(scope="module")
def sample(api: Api, emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    project, directory = "sample-of-the-flow", tmp_path_factory.mktemp("flow")
    load_sample(emulator_host, project)
    with database(postgres) as database_url:
        migrate(
            directory,
            {"project_id": project, "migration_id": MIGRATION, "batch_size": 200, "working_dir": "workspace"},
            PREFECT_API_URL=api.url,
            FIRESTORE_EMULATOR_HOST=emulator_host,
            SUPABASE_DB_URL=database_url,
        )
        found = api.run_named(f"full {MIGRATION}")
        # The server hears of tasks through events, a moment after the run has ended.
        eventually(
            90, lambda: all(task["state_type"] == "COMPLETED" for task in api.tasks_of(found["id"])) and phases(api, found) == PHASES
        )
        yield Migrated(project, database_url, directory / "workspace", directory / "workspace" / "runs" / MIGRATION, found)
        clear(emulator_host, project)


def test_the_whole_sample_arrives(sample: Migrated) -> None:
    assert sample.run["state_name"] == "Completed"
    assert tables_of(sample.database_url) == sample_tables(sample.project)


def test_its_checkpoint_says_that_the_connections_are_valid_as_the_original_spelled_it(sample: Migrated) -> None:
    checkpoint = json.loads((sample.workspace / "migration-checkpoint.json").read_text())
    assert checkpoint["migrationState"]["results"]["pre_validation"]["connectionsValid"] is True


def test_its_reports_are_as_documented_and_seen_so_in_a_browser(sample: Migrated, browser: Browser) -> None:
    assert undocumented_below(sample.workspace) == []
    report = json.loads((sample.workspace / "final-migration-report.json").read_text())
    assert {table["collection"] for table in report["choices"]} == {table["collection"] for table in report["tables"]}
    assert sum(report["residue"]["causes"].values()) >= report["residue"]["rows"] > 0
    assert report["throughput"]["samples"]
    assert report["versions"]["postgres"]
    seen = browser.see(sample.workspace / "migration-report.html")
    assert (seen.console, seen.loads) == ((), [])
    for table in report["tables"]:
        assert f'data-figure="documents">{table["documents"]:,}<' in seen.dom.split(f'data-collection="{table["collection"]}"')[1]
    assert f'data-figure="documentsRead">{report["statistics"]["documentsRead"]:,}<' in seen.dom


def test_the_six_phases_are_tasks_in_their_order(sample: Migrated, api: Api) -> None:
    assert phases(api, sample.run) == PHASES
    tasks = [task for task in api.tasks_of(sample.run["id"]) if task["name"] in PHASES]
    assert {task["state_name"] for task in tasks} == {"Completed"}
    ends = [task["end_time"] for task in tasks]
    assert ends == sorted(ends)


def test_small_collections_are_together_a_subflow_of_each_phase_below_the_run(sample: Migrated, api: Api) -> None:
    subflows = api.subflows_of(sample.run["id"])
    assert sorted(flow["name"] for flow in subflows) == [f"{verb} {SMALL}" for verb in ("extract", "load", "transform")]
    assert {flow["state_name"] for flow in subflows} == {"Completed"}
    parents = {task["id"]: task for task in api.tasks_of(sample.run["id"])}
    for flow in subflows:
        parent = parents[flow["parent_task_run_id"]]
        assert parent["name"] == flow["name"]
        assert parent["state_name"] == "Completed"
        assert [task["name"] for task in api.tasks_of(flow["id"])] == [flow["name"]]


def test_the_run_graph_has_a_node_for_each_step(sample: Migrated, api: Api) -> None:
    nodes = [node for _, node in api.get(f"flow_runs/{sample.run['id']}/graph-v2")["nodes"]]
    labels = [node["label"] for node in nodes]
    assert set(PHASES) | {"planning", "staging", "publish"} <= set(labels)
    subflows = {node["label"] for node in nodes if node["kind"] == "flow-run"}
    assert subflows == {f"{verb}-collection / {verb} {SMALL}" for verb in ("extract", "transform", "load")}


def test_receipts_are_kept_as_json_under_readable_names(sample: Migrated) -> None:
    kept = {path.stem: json.loads(path.read_text()) for path in files_below(sample.directory / "receipts")}
    assert {"pre_validation", "extraction", "planning", "transformation", "import"} <= kept.keys()
    assert {"extract-archive", "transform-archive", "load-archive"} <= kept.keys()
    assert {name: found["kind"] for name, found in kept.items() if name in ("extract-archive", "import")} == {
        "extract-archive": "Extracted",
        "import": "Imported",
    }
    assert max(map(len, map(json.dumps, kept.values()))) < 20_000


def test_nothing_but_the_report_is_kept_for_prefect_beside_the_receipts(sample: Migrated) -> None:
    (result,) = files_below(sample.directory / "prefect-results")
    assert json.loads(json.loads(result.read_text())["result"])["migrationId"] == MIGRATION
    assert stat.S_IMODE(result.stat().st_mode) == 0o600


def test_no_document_is_in_a_receipt_or_a_parameter(sample: Migrated, api: Api) -> None:
    shown = (
        api.everything(datetime.fromisoformat(sample.run["created"]))
        + text_below(sample.directory / "receipts")
        + text_below(sample.directory / "prefect-results")
    )
    assert "prefect.flow-run.Completed" in shown
    assert "user17@example.com" not in shown


def test_progress_is_an_artifact_a_subflow(sample: Migrated, api: Api) -> None:
    keys = {artifact["key"] for artifact in api.every("artifacts", artifacts={"type": {"any_": ["progress"]}})}
    assert {f"{phase}-archive-users-6-collections" for phase in ("extraction", "transformation", "import")} <= keys
    assert all(re.fullmatch("[a-z0-9-]+", key) for key in keys)


def test_without_a_server_prefect_starts_a_temporary_one(
    emulator_host: str, project: str, database_url: str, tmp_path: Path, workspace: Path
) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    migrate(
        tmp_path,
        {"project_id": project, "working_dir": str(workspace)},
        PREFECT_HOME=str(tmp_path / "prefect"),
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="180",
        FIRESTORE_EMULATOR_HOST=emulator_host,
        SUPABASE_DB_URL=database_url,
    )
    assert tables_of(database_url) == {"users": 1}
    assert json.loads((workspace / "migration-status.json").read_text())["status"] == "completed"


def phases(api: Api, run: dict[str, Any]) -> list[str]:
    return [task["name"] for task in api.tasks_of(run["id"]) if task["name"] in PHASES]


def files_below(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())
