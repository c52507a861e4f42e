"""What a task needs to do its work: settings with their secrets, the run's directory, status, workers and source."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from firelift.errors import FireliftError, Stopped
from firelift.firestore.channel import Source, project_of
from firelift.firestore.errors import NoProject
from firelift.mapping import read_mapping
from firelift.paths import Selection
from firelift.plan import Plan
from firelift.planning import Rules
from firelift.receipts import Receipt, TransformedAll
from firelift.run.fingerprint import fingerprint
from firelift.run.log import Log
from firelift.run.reports import TableReport, write_reports
from firelift.run.status import Phase, Status
from firelift.run.workspace import Workspace, new_migration_id
from firelift.settings import Settings
from firelift.workers import Workers


class Run(Receipt):
    """One migration, as it travels between tasks: its id and its settings, without secrets."""

    migration_id: str
    settings: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.settings)


class World:
    """Everything that is open for a run in this process."""

    def __init__(self, run: Run, settings: Settings, workers: Workers) -> None:
        self.run, self.settings, self.workers = run, settings, workers
        self.source = source_of(settings)
        self.workspace = Workspace(Path(settings.working_dir), run.migration_id).create()
        log = Log(self.workspace, settings.secrets())
        self.status = Status.open(self.workspace, settings.migration_mode, settings.secrets(), log)
        self.selection = Selection(settings.collections, settings.exclude_collections)
        self._lock = threading.Lock()

    @property
    def directory(self) -> Path:
        return self.workspace.run

    @property
    def database_url(self) -> str:
        self.settings.require_target()
        assert self.settings.database_url is not None
        return self.settings.database_url.get_secret_value()

    def rules(self) -> Rules:
        return Rules(naming=self.settings.naming, mapping=read_mapping(self.settings.mapping))

    def plan(self) -> Plan:
        return Plan.model_validate_json((self.directory / "plan.json").read_text())

    def begin(self, phase: Phase) -> Status:
        """The status, with this phase running."""
        with self._lock:
            if self.status.current_phase != phase:
                self.status.start_phase(phase)
        return self.status

    def end(self, phase: Phase, receipt: Receipt) -> None:
        """The phase is done; the reports say so."""
        self.begin(phase).finish_phase(phase, receipt.model_dump(mode="json"))
        self.report()

    def report(self) -> dict[str, Any]:
        """Writes both reports as of now and returns the long one."""
        plan = self.plan() if (self.directory / "plan.json").exists() else None
        return write_reports(
            self.workspace,
            settings=self.settings.public(),
            status=self.status.data(),
            plan=plan.model_dump(mode="json") if plan else None,
            tables=self._tables(plan) if plan else None,
            target=self.settings.target(),
        )

    def _tables(self, plan: Plan) -> list[TableReport]:
        results = self.status.data()["results"]
        if "transformation" not in results:
            return []
        counts = TransformedAll.model_validate(results["transformation"]).tables
        return [
            TableReport(
                collection=table.collection,
                table=table.table,
                documents=counts[table.collection].rows + counts[table.collection].rejected,
                rows=counts[table.collection].rows,
                rejected=counts[table.collection].rejected,
                residue=counts[table.collection].residue,
            )
            for table in plan.tables
            if table.collection in counts
        ]


def source_of(settings: Settings) -> Source:
    """The Firestore database that the settings name; an emulator needs no credentials."""
    key_file = str(settings.firebase_service_account) if settings.firebase_service_account else None
    emulator = settings.firestore_emulator_host
    project = settings.project_id or (None if emulator else project_of(key_file))
    if project is None:
        raise NoProject()
    return Source(project, settings.firestore_database, None if emulator else key_file, emulator)


_worlds: dict[str, World] = {}


def world(run: Run) -> World:
    """The world of a run that is open in this process; a process that got only a task opens its own."""
    if run.migration_id not in _worlds:
        settings = Settings.load(**run.settings)
        _worlds[run.migration_id] = World(run, settings, Workers(settings.max_workers))
    return _worlds[run.migration_id]


def named_run(options: dict[str, Any]) -> Run:
    """The run with these options above environment, `.env` and defaults, under a new name unless one is given."""
    settings = Settings.load(**options)
    migration_id = settings.migration_id or new_migration_id()
    public = settings.named(migration_id).public()
    public["working_dir"] = os.path.abspath(str(settings.working_dir))
    return Run(migration_id=migration_id, settings=public)


@contextmanager
def opened(run: Run) -> Iterator[World]:
    """A run from its first to its last word: workers and target lock held, its end in status, reports and target."""
    settings = Settings.load(**run.settings)
    with ExitStack() as stack:
        workers = Workers(settings.max_workers)
        stack.callback(workers.stop)
        here = World(run, settings, workers)
        _worlds[run.migration_id] = here
        stack.callback(_worlds.pop, run.migration_id, None)
        stack.callback(here.status.close)
        try:
            here.begin("pre_validation")
            here.report()
            with _target_held(here):
                yield here
            here.status.complete()
        except (KeyboardInterrupt, Stopped):
            here.status.stop()
            raise
        except BaseException as error:
            here.status.fail(error)
            raise
        finally:
            _last_report(here)


@contextmanager
def _target_held(here: World) -> Iterator[None]:
    """The target's lock, kept until no worker writes any more; a dry run needs none."""
    if here.settings.dry_run:
        yield
        return
    from firelift.postgres.lock import target_lock

    with target_lock(here.database_url, here.run.migration_id):
        try:
            yield
        finally:
            here.workers.stop()


def _last_report(here: World) -> None:
    try:
        here.report()
    except FireliftError as error:
        here.status.warn(f"the reports could not be written: {error}")
