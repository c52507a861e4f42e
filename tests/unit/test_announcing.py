"""Which event a run's report becomes, and with which labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firelift.phases.verification import TargetDiffers
from tasks import artifacts
from tests.support.report_cases import report_of, tables_of, verified

FAILED: dict[str, Any] = {"proof": verified(tables_of(), differing=37), "error": TargetDiffers(differences=37)}


def announced(monkeypatch: pytest.MonkeyPatch, report: dict[str, Any]) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    found: list[tuple[str, dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(artifacts, "announce", lambda what, _, labels, facts: found.append((what, labels, facts)))
    artifacts.announce_end(report)
    return found


def test_rows_that_differ_are_a_failed_verification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((what, labels, facts),) = announced(monkeypatch, report_of(tmp_path, **FAILED))
    assert what == "failed"
    assert (labels["firelift.verification"], labels["firelift.mode"]) == ("failed", "full")
    assert facts["phase"] == "verification"


def test_a_run_that_took_itself_back_says_that_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = announced(monkeypatch, report_of(tmp_path, **FAILED, rolled_back=True))
    assert [what for what, _, _ in found] == ["failed", "rolled-back"]


def test_another_failure_is_none_of_the_verification_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = report_of(tmp_path, error=TargetDiffers()) | {"currentPhase": "extraction"}
    ((what, labels, _),) = announced(monkeypatch, report)
    assert (what, labels["firelift.verification"]) == ("failed", "none")


@pytest.mark.parametrize("how", [{"dry_run": True}, {"tried": True}], ids=str)
def test_a_plan_and_a_test_publish_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]) -> None:
    assert announced(monkeypatch, report_of(tmp_path, **how)) == []
