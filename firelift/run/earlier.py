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
    """The latest result in this working directory that tells how fast the same target answered; None where there is none.

    Of other runs the verification before publishing, and every one of a published target.
    """
    runs = workspace.working_dir / "runs"
    before = [file for file in runs.glob(f"*/{VERIFICATION}/{RESULT}") if file.parents[1] != workspace.run]
    files = [*before, *runs.glob(f"*/verifications/*/{RESULT}")]
    latest = sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[:MOST_RUNS]
    return next(
        (
            file
            for file in latest
            if _says(runs / file.relative_to(runs).parts[0] / REPORT, "target") == target and _says(file, "performance")
        ),
        None,
    )


def _says(file: Path, key: str) -> object:
    with suppress(OSError, ValueError):
        return json.loads(file.read_bytes()).get(key)
    return None
