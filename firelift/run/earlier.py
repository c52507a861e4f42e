"""The verification before this one, for figures to compare with."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from firelift.run.workspace import REPORT, VERIFICATION, Workspace

RESULT = "verification.json"
# A working directory may hold the runs of years.
MOST_RUNS = 50


def earlier_verification(workspace: Workspace, target: str | None) -> Path | None:
    """The result of the latest other run of this working directory that verified the same target; None where there is none."""
    files = [file for file in (workspace.working_dir / "runs").glob(f"*/{VERIFICATION}/{RESULT}") if file.parents[1] != workspace.run]
    latest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[:MOST_RUNS]
    return next((file for file in latest if _target_of(file.parents[1] / REPORT) == target), None)


def _target_of(report: Path) -> object:
    with suppress(OSError, ValueError):
        return json.loads(report.read_bytes()).get("target")
    return None
