"""A migration that is under way in this process: its settings with their secrets, directory, status, workers, source and target."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from firelift.app_config.update import AppConfig
from firelift.errors import FireliftError, Stopped
from firelift.files import FileChanged
from firelift.firestore.source import source_label, source_of
from firelift.migration.fingerprint import fingerprint
from firelift.migration.stop import cancel_statements
from firelift.migration.surroundings import Surroundings
from firelift.modes.incremental.baseline import BASELINE, Baseline, check_baseline, read_baseline
from firelift.paths import Selection
from firelift.phases.post_migration import app_config_of
from firelift.planning.build import PlanOptions
from firelift.planning.increment import Increment, read_increment
from firelift.planning.mapping import read_mapping
from firelift.planning.model import Plan, read_plan
from firelift.planning.shown_plan import shown_plan
from firelift.postgres.schema.names import scratch_schema
from firelift.postgres.session.lock import TargetLock
from firelift.receipts import Receipt, TransformedAll
from firelift.run.progress import Phase
from firelift.run.receipt_files import Receipts
from firelift.run.reports import TableReport, write_reports
from firelift.run.status import Status
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.workers import Workers


class Run(Receipt):
    """One migration, as it travels between tasks: its id and its settings, without secrets."""

    migration_id: str
    settings: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.settings)


class Migration:
    """Everything that is open for a run in this process."""

    def __init__(self, run: Run, settings: Settings, workers: Workers, surroundings: Surroundings) -> None:
        self.run, self.settings, self.workers, self.surroundings = run, settings, workers, surroundings
        self.source = source_of(settings)
        self.workspace = Workspace(Path(settings.working_dir), run.migration_id).create()
        log = surroundings.log(self.workspace, settings.secrets())
        self.status = Status.open(self.workspace, settings.migration_mode, settings.secrets(), log)
        self.selection = Selection(settings.collections, settings.exclude_collections)
        self._lock = threading.Lock()
        self._stopping, self._closed = threading.Event(), threading.Event()
        self.target_lock: TargetLock | None = None
        self.token: str | None = None
        """Tells this run from any other of its name."""
        self.is_registered, self.is_new = False, False
        """The target's record of this name is the run's own; and it heard of the run by this attempt: it may forget it again."""
        self.reported: dict[str, Any] = {}
        """The long report as it was last written."""
        self._base: Baseline | None = None
        self.broken: FireliftError | None = None
        """What ended the run from outside, other than a wish to stop it."""

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ends the run soon: what is being worked on is dropped, and no phase begins any more. Returns when the run has ended."""
        self._stopping.set()
        self.workers.stop()
        while not self.settings.dry_run and not self._closed.wait(0.5):
            with suppress(FireliftError):
                cancel_statements(self.database_url, self.run.migration_id)

    def close(self) -> None:
        self._closed.set()
        self.status.close()

    def check(self) -> None:
        """For what cannot be undone: raises Stopped where somebody asked for it, LockLost where another run may have taken the target."""
        if self.stopping:
            raise Stopped()
        if self.target_lock is not None:
            self.target_lock.check()

    @property
    def migration_id(self) -> str:
        return self.run.migration_id

    @property
    def directory(self) -> Path:
        return self.workspace.run

    @property
    def receipts(self) -> Receipts:
        """What the run has done so far."""
        return Receipts(self.directory)

    @property
    def database_url(self) -> str:
        return self.settings.target_url()

    @property
    def is_test(self) -> bool:
        """A sample is tried out, in a schema of its own."""
        return self.settings.migration_mode == "test"

    @property
    def verifies(self) -> bool:
        """Whether the rows are to be verified, if there are any."""
        return self.settings.auto_verification and not self.settings.dry_run and "verification" not in self.settings.skip_phases

    @property
    def target_schema(self) -> str:
        """Where the run publishes."""
        return scratch_schema(self.run.migration_id) if self.is_test else self.settings.target_schema

    def plan_options(self) -> PlanOptions:
        return PlanOptions(naming=self.settings.naming, mapping=read_mapping(self.settings.mapping))

    def plan(self) -> Plan:
        return read_plan(self.directory)

    def _plan_to_report(self) -> Plan | None:
        """None before there is one. Of one that was changed nothing is told: whoever goes by it says so, or makes it again."""
        try:
            return self.plan()
        except (FileNotFoundError, FileChanged):
            return None

    @property
    def is_increment(self) -> bool:
        return self.settings.migration_mode == "incremental"

    def baseline(self, *, anew: bool = False) -> Baseline:
        """What the target holds of earlier runs. It must be what this run's first attempt found, unless nothing was read yet (`anew`)."""
        with self._lock:
            if self._base is None:
                if anew:
                    (self.directory / BASELINE).unlink(missing_ok=True)
                where = (self.database_url, self.run.migration_id, self.settings.target_schema)
                self._base = read_baseline(*where, self.selection, source_label(self.settings))
                check_baseline(self._base, self.directory, self.run.migration_id)
        return self._base

    def increment(self) -> Increment | None:
        """What an incremental run does to each table, once that is planned."""
        return read_increment(self.directory)

    def app_config(self) -> AppConfig:
        """The app's configuration and what the run is to put there."""
        return app_config_of(self.settings, self.run.migration_id, self.status.data()["readTime"])

    def start_phase(self, phase: Phase) -> Status:
        """The status, with this phase running; raises Stopped where somebody asked for it."""
        if self.stopping:
            raise Stopped()
        with self._lock:
            if self.status.current_phase != phase:
                self.status.start_phase(phase)
        return self.status

    def skip(self, phase: Phase, reason: str) -> None:
        """Says, once, that the phase is left out."""
        with self._lock:
            if self.status.state_of(phase) != "skipped":
                self.status.skip_phase(phase, reason)

    def mark_done_if_cached(self, phase: Phase, receipt: Receipt, counts: Mapping[str, Mapping[str, int]]) -> None:
        """For a phase whose receipt was kept, but of whose end the status has not heard: an attempt died in between."""
        if self.status.state_of(phase) in ("completed", "skipped"):
            return
        self.start_phase(phase)
        for collection, counted in counts.items():
            self.status.set_counts(phase, collection, **counted)
        self.finish_phase(phase, receipt)

    def finish_phase(self, phase: Phase, receipt: Receipt) -> None:
        """The phase is done; the reports say so."""
        self.start_phase(phase).finish_phase(phase, receipt.model_dump(mode="json"))
        self.report()

    def report(self) -> dict[str, Any]:
        """Writes both reports as of now and returns the long one."""
        plan = self._plan_to_report()
        self.reported = write_reports(
            self.workspace,
            settings=self.settings.public(),
            status=self.status.data(),
            plan=shown_plan(plan) if plan else None,
            tables=self._tables(plan) if plan else None,
            target=self.settings.target(),
            warn=self.status.warn,
        )
        return self.reported

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
