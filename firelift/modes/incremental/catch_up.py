"""The incremental run that follows a full one whose snapshot expired: it brings all documents to one moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firelift.run.workspace import catch_up_id
from firelift.settings.settings import Settings


def catching_up(settings: Settings, report: Mapping[str, Any]) -> Settings | None:
    """The settings of that run; None where the full one, of which this is the report, has published documents of one moment, or nothing.

    It compares all keys, also where a field tells what has changed: that says nothing of deleted documents, nor of missed ones.
    """
    if not report["statistics"].get("readLater") or report["dryRun"] or report["status"] != "completed":
        return None
    own = {
        "migration_mode": "incremental",
        "migration_id": catch_up_id(str(report["migrationId"])),
        "read_time": "now",
        "full_scan_every": 1,
        "resume": False,
        "checkpoint_file": None,
        "skip_phases": (),
    }
    return settings.model_copy(update=own)
