"""Which migration a flow run carries out, and what the engine is told of the flow run around it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.settings import get_current_settings

import expectations
from firelift.firelift_home import refuse_wrong_home
from firelift.firestore.source import source_label
from firelift.migration.context import Run
from firelift.migration.identity import resolve_run
from firelift.migration.surroundings import Advance, Surroundings
from firelift.run.log import Log
from firelift.run.stop_watch import Look
from firelift.run.workspace import Workspace, new_migration_id
from firelift.settings.settings import Settings
from tasks.artifacts import announce_begin, announce_end, leave_artifacts, name_flow_run
from tasks.flow_run import cancelled_in_prefect, current_flow_run
from tasks.prefect_log import LogInPrefect, reasons_first
from tasks.prefect_server import standstill_warning
from tasks.progress import ProgressArtifact


def named_run(options: dict[str, Any]) -> Run:
    """The run that these options mean, above environment, `.env` and defaults: a new one, or one to go on with."""
    reasons_first()
    refuse_wrong_home()
    flow_run = current_flow_run()
    new_id = migration_id_of(flow_run) if flow_run else new_migration_id()
    settings = resolve_run(Settings.load(**options), new_id, source_label, _label(flow_run))
    public = settings.public()
    public["working_dir"] = os.path.abspath(str(settings.working_dir))
    return Run(migration_id=str(settings.migration_id), settings=public)


def migration_id_of(flow_run: FlowRun) -> str:
    """The name of what a flow run does, always the same: a flow run that Prefect carries out again is the same migration.

    A schedule makes many at one time, hours before they are due, with ids (UUIDv7) that begin with that time and are random at their end.
    """
    return new_migration_id(flow_run.expected_start_time or flow_run.created, flow_run.id.hex[-6:])


def _label(flow_run: FlowRun | None) -> str | None:
    return str(flow_run.id) if flow_run else None


class FlowRunSurroundings(Surroundings):
    """A flow run, its server and its UI around a migration."""

    def __init__(self) -> None:
        super().__init__(expectations)

    @property
    def label(self) -> str | None:
        return _label(current_flow_run())

    def seconds_since_begin(self) -> float:
        flow_run = current_flow_run()
        asked = flow_run.expected_start_time if flow_run else None
        return (datetime.now(UTC) - asked).total_seconds() if asked else 0.0

    def log(self, workspace: Workspace, secrets: Sequence[str]) -> Log:
        return LogInPrefect(workspace, secrets)

    def opened(self, migration_id: str, settings: Settings, project: str) -> None:
        name_flow_run(migration_id, settings, project)
        announce_begin(migration_id, settings, project)

    def ended(self, report: Mapping[str, Any]) -> None:
        leave_artifacts(report)
        announce_end(report)

    @contextmanager
    def stop_requests(self) -> Iterator[Sequence[Look]]:
        with cancelled_in_prefect() as look:
            yield (look,)

    def warnings(self) -> Sequence[str]:
        warning = standstill_warning(get_current_settings())
        return (warning,) if warning else ()

    def progress(self, phase: str, label: str, expected: int | None) -> AbstractContextManager[Advance]:
        return ProgressArtifact(phase, label, expected)
