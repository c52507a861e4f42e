"""The checkpoint file: which phase is done, with what result, so that a run can go on from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firelift.run.workspace import CHECKPOINT, Workspace


def checkpoint(status: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint as a file, made from the status."""
    return {
        "migrationId": status["migrationId"],
        "lastCompletedPhase": status["lastCompletedPhase"],
        "timestamp": status["updatedAt"],
        "migrationState": {
            "currentPhase": status["currentPhase"],
            "overallStatus": status["status"],
            "results": status["results"],
        },
    }


def write_checkpoint(workspace: Workspace, status: Mapping[str, Any]) -> None:
    workspace.write_json(CHECKPOINT, checkpoint(status), durable=True)


def read_checkpoint(workspace: Workspace) -> dict[str, Any] | None:
    found: dict[str, Any] | None = workspace.read_json(CHECKPOINT)
    return found
