"""The reports say how a run went: to machines in full, to people on a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firelift.errors import FireliftError
from firelift.run.reports import TableReport, executive_summary, final_report, write_reports
from firelift.run.status import Status
from firelift.run.workspace import REPORT, SUMMARY, Workspace

SETTINGS: dict[str, Any] = {"dry_run": False, "target_schema": "public", "working_dir": "migration-workspace"}
TABLES: list[TableReport] = [
    {"collection": "users", "table": "users", "documents": 1200, "rows": 1199, "rejected": 1, "residue": 7},
    {"collection": "users/*/orders", "table": "users_orders", "documents": 30, "rows": 30, "rejected": 0, "residue": 0},
]


class WrongKey(FireliftError):
    """Firestore does not take the key."""

    remedy = "Give another key file."


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, "migration-1").create()


@pytest.fixture
def status(workspace: Workspace) -> Status:
    return Status.open(workspace)


def finished(status: Status) -> dict[str, Any]:
    status.read_at("2026-11-22T10:30:00Z")
    status.start_phase("extraction")
    status.advance("extraction", "users", documents=1230, bytes=5_000_000)
    status.finish_phase("extraction", {"documents": 1230})
    status.start_phase("import")
    status.advance("import", "users", rows=1229)
    status.finish_phase("import", {"rows": 1229})
    status.note(rowsRejected=1, residueRows=7)
    status.complete()
    status.close()
    return status.data()


def test_the_report_has_figures_phases_tables_and_settings(status: Status) -> None:
    report = final_report(SETTINGS, finished(status), {"database": "d", "tables": []}, TABLES, "db/postgres")
    assert report["status"] == "completed"
    assert report["statistics"].items() >= {"documentsRead": 1230, "rowsLoaded": 1229, "rowsRejected": 1, "residueRows": 7}.items()
    assert report["phases"]["extraction"]["result"] == {"documents": 1230}
    assert report["phases"]["extraction"]["durationSeconds"] >= 0
    assert report["tables"] == TABLES
    assert report["settings"] == SETTINGS
    json.dumps(report, allow_nan=False)


def test_the_summary_is_a_page_with_the_key_figures(status: Status) -> None:
    page = executive_summary(final_report(SETTINGS, finished(status), None, TABLES, "db/postgres"))
    for said in (
        "Completed",
        "| Documents read | 1,230 |",
        "| Rows loaded | 1,229 |",
        "2026-11-22T10:30:00Z",
        "| `users/*/orders` | `users_orders` | 30 |",
    ):
        assert said in page
    assert "rejects/" in page
    assert len(page.splitlines()) < 60


def test_an_empty_database_is_a_success_that_says_so(status: Status) -> None:
    status.complete()
    page = executive_summary(final_report(SETTINGS, status.data()))
    assert "Completed: the database held no documents" in page
    assert "## Collections" not in page


def test_a_failure_names_cause_and_remedy(status: Status) -> None:
    status.start_phase("extraction")
    status.fail(WrongKey(file="a|b\n# c.json"))
    report = final_report(SETTINGS, status.data())
    page = executive_summary(report)
    assert report["nextSteps"][0] == "Give another key file."
    assert "Failed in extraction" in page
    assert "WrongKey" in page
    assert "\n# c" not in page


def test_ctrl_c_is_a_stop_and_no_failure(status: Status) -> None:
    status.fail(KeyboardInterrupt())
    assert "Stopped on request" in executive_summary(final_report(SETTINGS, status.data()))


def test_a_dry_run_says_that_nothing_was_written(status: Status) -> None:
    page = executive_summary(final_report({**SETTINGS, "dry_run": True}, finished(status), None, TABLES))
    assert "nothing has been written" in page
    assert "none (dry run)" in page
    assert "row-level security" not in page


def test_names_cannot_break_the_page(status: Status) -> None:
    ugly: list[TableReport] = [{**TABLES[0], "collection": "a|b`\n# <img src=x> [l](u) \x1b[31m"}]
    page = executive_summary(final_report(SETTINGS, finished(status), None, ugly))
    row = next(line for line in page.splitlines() if "img src" in line)
    assert row.replace("\\|", "").count("|") == 7
    assert "\x1b" not in page
    assert "\\<img" in row


def test_both_reports_stand_in_the_directory_from_the_start(status: Status, workspace: Workspace) -> None:
    written = write_reports(workspace, SETTINGS, status.data())
    assert workspace.read_json(REPORT) == json.loads(json.dumps(written))
    assert written["status"] == "in_progress"
    assert "In progress" in (workspace.working_dir / SUMMARY).read_text()
