"""Says in a run's own files that it was rolled back, where they are at hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firelift.run.reports.write import write_reports
from firelift.run.status_files import write_checkpoint
from firelift.run.timestamps import now
from firelift.run.workspace import REPORT, STATUS, Workspace

ROLLED_BACK = "rolled_back"


def note_rollback(working_dir: Path | str, done: Mapping[str, Any]) -> bool:
    """After `firelift rollback`: status, checkpoint and reports of the run say so; False where its directory is somewhere else.

    `done` is the rollback's receipt. A run that had taken itself back already keeps its own end, which says why.
    """
    workspace = Workspace(Path(working_dir), str(done["migration_id"]))
    status = _status(workspace)
    if status is None or status["status"] in ("in_progress", ROLLED_BACK):
        return False
    if done.get("already") and (status["statistics"].get("rolledBack") or status["status"] == "failed"):
        return False
    rolled_back = {"at": now(), "was": status["status"], "by": "firelift rollback", "result": dict(done)}
    status |= {"status": ROLLED_BACK, "rolledBack": rolled_back}
    workspace.write_json(STATUS, status, durable=True)
    write_checkpoint(workspace, status)
    before = workspace.read_json(REPORT) or {}
    write_reports(workspace, before.get("settings") or {}, status, before.get("plan"), before.get("tables"), before.get("target"))
    return True


def _status(workspace: Workspace) -> dict[str, Any] | None:
    """The status of a run that got as far as to have one."""
    found: dict[str, Any] | None = workspace.read_json(STATUS)
    return found if found and "progress" in found else None
