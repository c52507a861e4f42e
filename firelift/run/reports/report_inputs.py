"""What the reports say beyond the status: files in the run's directory, and the versions of what is installed."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from firelift.files import FileChanged
from firelift.run.throughput import THROUGHPUT
from firelift.run.workspace import ESTIMATE, PLAN_SQL, REASONS, Workspace

if TYPE_CHECKING:
    from firelift.planning.increment import Increment

VERIFICATION_RESULT: Final = "verification.json"
_PACKAGES: Final = ("firelift", "prefect", "great-expectations", "pyarrow", "psycopg")


@dataclass(frozen=True)
class Material:
    """What the run's directory holds beside the status; any of it may be missing."""

    reasons: list[dict[str, Any]] = field(default_factory=list)
    throughput: dict[str, Any] = field(default_factory=dict)
    proved: dict[str, Any] | None = None
    """`verification-results/verification.json`, where this attempt's verification failed; of one that passed the status has the receipt."""
    increment: Increment | None = None
    """Of an incremental run, once it is planned."""
    sampled: dict[str, Any] | None = None
    """The receipt of a test run's sample."""
    estimate: dict[str, Any] | None = None
    """What a test run reckons that a full run would take."""
    sql: str | None = None
    """What makes the new tables of the plan."""


def material_of(workspace: Workspace, status: Mapping[str, Any]) -> Material:
    """Reads what is there; what cannot be read is taken for missing, as the reports must be written all the same."""
    return Material(
        reasons=_read(workspace, REASONS, list) or [],
        throughput=_read(workspace, THROUGHPUT, dict) or {},
        sampled=_read(workspace, "receipts/sampling.json", dict),
        estimate=_read(workspace, ESTIMATE, dict),
        proved=_proved(workspace, status),
        increment=_increment(workspace) if status.get("mode") == "incremental" else None,
        sql=_text(workspace, PLAN_SQL),
    )


def versions(postgres: str | None) -> dict[str, str | None]:
    """What the run was made with; no package is imported for it."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}, "postgres": postgres}


@cache  # to look for them all takes 60 ms, which a run would spend at the end of each phase
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _proved(workspace: Workspace, status: Mapping[str, Any]) -> dict[str, Any] | None:
    name = f"{workspace.verification_results.name}/{VERIFICATION_RESULT}"
    phase: Mapping[str, Any] = status.get("progress", {}).get("phases", {}).get("verification", {})
    try:
        written = (workspace.run / name).stat().st_mtime
        # What an earlier attempt found says nothing of this one.
        began = datetime.fromisoformat(phase["startedAt"]).timestamp()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if phase.get("state") != "failed" or written < began - 1:
        return None
    found: dict[str, Any] | None = _read(workspace, name, dict)
    return found if found and found.get("migrationId") in (None, workspace.migration_id) else None


def _increment(workspace: Workspace) -> Increment | None:
    from firelift.planning.increment import read_increment  # not for --help

    try:
        return read_increment(workspace.run)
    except (OSError, ValueError, FileChanged):
        return None


def _text(workspace: Workspace, name: str) -> str | None:
    try:
        return (workspace.run / name).read_bytes().decode()
    except (OSError, UnicodeError):
        return None


def _read(workspace: Workspace, name: str, kind: type) -> Any:
    try:
        found = workspace.read_json(name)
    except (OSError, ValueError, FileChanged):
        return None
    return found if isinstance(found, kind) else None
