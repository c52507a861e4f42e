"""The verification before this one, for figures to compare with."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from firelift.run.workspace import REPORT, VERIFICATION, Workspace

RESULT = "verification.json"
# A working directory may hold the runs of years.
MOST_RUNS = 50


def earlier_verification(workspace: Workspace, target: str | None) -> Path | None:
    """The latest result in this working directory that says how fast the same target answered; None if there is none.

    For other runs, the verification before publishing; for all runs, every verification of a published target.
    """
    runs = workspace.working_dir / "runs"
    before = [file for file in runs.glob(f"*/{VERIFICATION}/{RESULT}") if file.parents[1] != workspace.run]
    files = [*before, *runs.glob(f"*/verifications/*/{RESULT}")]
    latest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[:MOST_RUNS]
    return next(
        (
            file
            for file in latest
            # How fast a sample is counted says nothing about whole tables.
            if _member(report := runs / file.relative_to(runs).parts[0] / REPORT, "target") == target
            and _member(report, "mode") != "test"
            and _member(file, "performance")
        ),
        None,
    )


def _member(file: Path, key: str) -> object:
    return _read_or_empty(file).get(key)


def _read_or_empty(file: Path) -> dict[str, Any]:
    """The content of a file that is only used for comparison; empty if it is missing, damaged or not a JSON object."""
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(file.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def earlier_full_run(workspace: Workspace, target: str | None) -> dict[str, Any] | None:
    """The report of the latest full run in this working directory that came to its end in the same target; None where there is none."""
    files = sorted((workspace.working_dir / "runs").glob(f"*/{REPORT}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[:MOST_RUNS]:
        report = _read_or_empty(file)
        outcome = (report.get("mode"), report.get("status"), report.get("dryRun"), report.get("target"))
        if outcome == ("full", "completed", False, target):
            return report
    return None
