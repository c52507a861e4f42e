"""The reports say how a run went: to machines in full, to people on a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from firelift.receipts import Completeness, Verified
from firelift.run.reports import TableReport, executive_summary, final_report, html_report, note_rollback, write_reports
from firelift.run.reports.headline import headline
from firelift.run.status import Status
from firelift.run.workspace import CHECKPOINT, PAGE, REPORT, STATUS, SUMMARY, Workspace
from tests.support.report_cases import EVIL, REASONS, SETTINGS, Differs, WrongKey, report_of, samples, table, tables_of, verified
from tests.support.reported import undocumented

TABLES: list[TableReport] = [table("users", 1200, 1, 7), table("users/*/orders", 30)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, "migration-1").create()


@pytest.fixture
def status(workspace: Workspace) -> Status:
    return Status.open(workspace)


def finished(status: Status) -> dict[str, Any]:
    status.set_read_time("2026-11-22T10:30:00Z")
    status.start_phase("extraction")
    status.advance("extraction", "users", documents=1230, bytes=5_000_000)
    status.finish_phase("extraction", {"documents": 1230})
    status.start_phase("import")
    status.advance("import", "users", rows=1229)
    status.finish_phase("import", {"rows": 1229})
    status.add_statistics(rowsRejected=1, residueRows=7)
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


def test_a_test_run_says_what_a_full_one_would_take_and_how_that_was_reckoned(tmp_path: Path) -> None:
    report = report_of(tmp_path, tried=True)
    page = executive_summary(report)
    assert "**Tried out: a sample went through all phases." in page
    assert "| Firestore reads billed | 1,001 |" in page
    assert "| Time, at most | 3 min 20 s |" in page
    assert "$0.06 for 100,000 reads, as --read-price says" in page
    assert "row-level security" not in page
    assert report["estimate"]["diskBytes"] == {"archive": 100_000, "tables": 10_000, "total": 110_000}


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


MANY = tables_of([f"collection{number}" for number in range(500)])
WAYS: dict[str, dict[str, Any]] = {
    "verified to the last document": {"proof": verified(tables_of()), "throughput": samples(), "reasons": REASONS},
    "verified by a sample": {"proof": verified(tables_of(), level="standard"), "throughput": samples(pause=7200)},
    "failed in verification": {"proof": verified(tables_of(), differing=37), "error": Differs(differences=37), "rolled_back": True},
    "failed otherwise": {"error": OSError("no")},
    "stopped": {"error": KeyboardInterrupt()},
    "a plan": {"dry_run": True},
    "a test run": {"tried": True, "proof": verified(tables_of())},
    "a plan of a sample": {"tried": True, "dry_run": True},
    "empty": {"tables": []},
    "500 tables": {"tables": MANY, "proof": verified(MANY)},
    "ugly names": {
        "tables": tables_of([EVIL, "a" * 300, "x`|y"]),
        "proof": verified(tables_of([EVIL]), differing=1),
        "error": WrongKey(file=EVIL),
    },
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_report_is_as_documented(way: dict[str, Any], tmp_path: Path) -> None:
    report = report_of(tmp_path, **way)
    assert undocumented(report) == []
    page = html_report(report)
    assert page.count("<script") == 0
    assert re.findall(r"""(?:src|href)=["'](?!#)|@import|url\(|https?://""", page) == []
    assert len(page) < 100_000
    assert len(executive_summary(report).splitlines()) < 80


def test_reports_of_a_run_that_has_only_begun_are_as_documented(workspace: Workspace, status: Status) -> None:
    assert undocumented(workspace.read_json(REPORT)) == []
    assert undocumented(write_reports(workspace, SETTINGS, status.data())) == []


def test_the_first_lines_of_a_failed_verification_say_what_was_wrong_and_where(tmp_path: Path) -> None:
    report = report_of(tmp_path, proof=verified(tables_of(), differing=37), error=Differs(differences=37), rolled_back=True)
    title, _, outcome, _, found = executive_summary(report).splitlines()[:5]
    assert title == "# Migration migration-1"
    assert outcome == "**Failed in verification: nothing was published, and the target is restored: it is as it was before this run.**"
    assert found.startswith("37 differences, the first: table `events`, key `u0`, field `address.zip`: value,")
    assert "expected `string '04109'`, found `string '04109 '`" in found
    assert report["verification"]["expectationsFailed"] == 1
    assert "no difference" in executive_summary(report)


def test_what_an_earlier_attempt_verified_is_not_said_of_this_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "migration-1").create()
    with Status.open(workspace) as status:
        status.start_phase("verification")
        status.finish_phase("verification", verified(tables_of()).model_dump(mode="json"))
    with Status.open(workspace) as again:
        again.start_phase("verification")
        again.fail(OSError("connection lost"))
        assert write_reports(workspace, SETTINGS, again.data())["verification"] is None


def test_small_tables_are_summed_and_one_that_differs_stands_first(tmp_path: Path) -> None:
    last = MANY[-1]["table"]
    proof = verified(MANY)
    compared = [each.model_copy(update={"differing": 3}) if each.table == last else each for each in proof.tables]
    report = report_of(tmp_path, tables=MANY, proof=proof.model_copy(update={"tables": tuple(compared)}))
    assert f"| `{last}` |" in executive_summary(report).split("## Verification")[1].split("## Collections")[0].splitlines()[6]
    assert "| 490 others |" in executive_summary(report)
    page = html_report(report)
    assert page.index(f'data-table="{last}"') < page.index(f'data-table="{MANY[0]["table"]}"')
    assert "480 others" in page


def test_reads_are_computed_by_firestores_price_list(tmp_path: Path) -> None:
    report = report_of(tmp_path, tables=[table("small", 1), table("middling", 2_500), table("cut", 120_000)], proof=verified(tables_of()))
    billed = report["readsBilled"]
    assert billed["documents"] == 122_501
    assert billed["counts"] == 1 + 3 + 120 + 120
    assert billed["rereads"] == 200
    assert billed["total"] == 122_501 + 244 + 200


def test_it_is_said_how_it_was_shown_that_no_document_is_missing(tmp_path: Path) -> None:
    report = report_of(tmp_path, tables=[table("small", 12), table("large", 30_000)], completeness=Completeness(counted=12, scanned=30_000))
    said = "Firestore's COUNT (12 of 30,012 documents), a second scan of keys (30,000 of 30,012 documents)"
    assert report["completeness"] == {"byCount": 12, "bySecondScan": 30_000, "unproven": 0, "said": said}
    assert f"| None is missing, as shown by | {said} |" in executive_summary(report)
    assert report["readsBilled"]["scans"] == 30_000
    assert report["readsBilled"]["total"] == 30_012 + report["readsBilled"]["counts"] + 30_000
    assert undocumented(report) == []


def test_the_page_appears_when_the_run_is_over_and_goes_when_it_goes_on(workspace: Workspace, status: Status) -> None:
    write_reports(workspace, SETTINGS, status.data())
    assert not (workspace.working_dir / PAGE).is_symlink()
    write_reports(workspace, SETTINGS, finished(status), None, TABLES)
    assert "1,230" in (workspace.working_dir / PAGE).read_text()
    with Status.open(workspace) as again:
        write_reports(workspace, SETTINGS, again.data())
        assert not (workspace.working_dir / PAGE).is_symlink()
    write_reports(workspace, SETTINGS, finished(Status.open(workspace)))
    Workspace(workspace.working_dir, "migration-2").create()
    assert not (workspace.working_dir / PAGE).is_symlink()
    assert (workspace.run / PAGE).exists()


def test_a_page_that_cannot_be_written_is_a_warning(workspace: Workspace, status: Status) -> None:
    (workspace.run / PAGE).mkdir()
    warnings: list[str] = []
    report = write_reports(workspace, SETTINGS, finished(status), None, TABLES, warn=warnings.append)
    assert report["status"] == "completed"
    assert len(warnings) == 1
    assert warnings[0].startswith("migration-report.html could not be written")


DONE = {"migration_id": "migration-1", "already": False, "tables": [{"table": "users", "action": "created"}], "staging_dropped": False}


def test_after_a_rollback_the_reports_say_so(workspace: Workspace, status: Status) -> None:
    write_reports(workspace, SETTINGS, finished(status), None, TABLES, "db/postgres")
    assert note_rollback(workspace.working_dir, DONE)
    report = workspace.read_json(REPORT)
    assert undocumented(report) == []
    assert (report["status"], report["rolledBack"]["was"], report["rolledBack"]["result"]) == ("rolled_back", "completed", DONE)
    assert (report["tables"], report["target"], report["settings"]) == (TABLES, "db/postgres", SETTINGS)
    assert workspace.read_json(STATUS)["status"] == "rolled_back"
    assert workspace.read_json(CHECKPOINT)["migrationState"]["overallStatus"] == "rolled_back"
    assert (workspace.run / SUMMARY).read_text().splitlines()[2] == "**Rolled back: the target is as it was before this run.**"
    assert "Rolled back" in (workspace.run / PAGE).read_text()
    assert not note_rollback(workspace.working_dir, {**DONE, "already": True})


def test_a_rollback_of_a_run_that_is_not_here_changes_nothing(tmp_path: Path) -> None:
    assert not note_rollback(tmp_path, DONE)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_that_took_itself_back_keeps_its_reason(tmp_path: Path) -> None:
    report_of(tmp_path, error=Differs(), rolled_back=True)
    assert not note_rollback(tmp_path, {**DONE, "already": True})
    assert Workspace(tmp_path, "migration-1").status()["status"] == "failed"


SMALL = [table("users", 1001, rejected=1), table("teams", 40)]
PROOFS = {
    "a sample": (
        verified(SMALL, level="standard"),
        "Verified (standard): 140 of 1,040 documents compared to the last bit with the archive",
    ),
    "small tables": (verified(SMALL[1:], level="basic"), "Verified (basic): all 40 documents compared to the last bit with the archive"),
    "every document": (
        verified(SMALL),
        "all 1,040 documents compared to the last bit with the archive of what was read, 200 of them with",
    ),
    "nothing read again": (verified(SMALL).model_copy(update={"reread": 0}), "none of them with Firestore once more, no difference."),
    "read again": (verified(SMALL).model_copy(update={"against": "firestore"}), "to the last bit with Firestore, read again"),
    "none": (None, "Nothing was verified: rows and documents were only counted."),
}


@pytest.mark.parametrize(("proof", "said"), PROOFS.values(), ids=PROOFS)
def test_the_headline_says_what_was_compared_with_what_how_many_of_how_many(proof: Verified | None, said: str, tmp_path: Path) -> None:
    assert said in headline(report_of(tmp_path, SMALL, proof=proof))
