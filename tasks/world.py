"""What a task needs to do its work: settings with their secrets, the run's directory, status, workers and source."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import FlowRun

from firelift.app_config.update import AppConfig
from firelift.errors import ConfigurationError, FireliftError, Stopped
from firelift.files import FileChanged
from firelift.firestore.source import source_label, source_of
from firelift.home import refuse_wrong_home
from firelift.migration.fingerprint import fingerprint
from firelift.migration.identity import claim, meant, resumes
from firelift.migration.prefetch import workers_of_run
from firelift.migration.rollback import roll_back
from firelift.migration.stop import asked_in_target, cancel_statements, forget_stop_in_target
from firelift.modes.incremental.baseline import BASE, Base, base_of, hold_to
from firelift.modes.test.scratch import throw_away
from firelift.paths import Selection
from firelift.phases.import_ import forget_refused, record_failure
from firelift.phases.post_migration import app_config_of
from firelift.plan.build import Rules
from firelift.plan.increment import Increment, read_increment
from firelift.plan.mapping import read_mapping
from firelift.plan.model import Plan, read_plan
from firelift.postgres.schema.ddl import scratch_schema
from firelift.postgres.session.lock import LockLost, TargetLock, target_lock
from firelift.receipts import Receipt, TransformedAll
from firelift.run.damage import note_damage
from firelift.run.directory_lock import held
from firelift.run.receipt_files import refuse_unskippable
from firelift.run.reports import TableReport, write_reports
from firelift.run.status import Phase, Status, is_stop
from firelift.run.stop_request import BEGAN, forget_stop, stop_requested
from firelift.run.workspace import Workspace, new_migration_id
from firelift.settings.settings import Settings
from firelift.storage.archive import ChunkDamaged
from firelift.workers import Workers
from tasks.artifacts import leave_artifacts, name_flow_run
from tasks.reasons import LogInPrefect, reasons_first
from tasks.watch import Look, Watch, cancelled_in_prefect, current_flow_run


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
        log = LogInPrefect(self.workspace, settings.secrets())
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
        self._base: Base | None = None
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
    def directory(self) -> Path:
        return self.workspace.run

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

    def rules(self) -> Rules:
        return Rules(naming=self.settings.naming, mapping=read_mapping(self.settings.mapping))

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

    def base(self, *, anew: bool = False) -> Base:
        """What the target holds of earlier runs. It must be what this run's first attempt found, unless nothing was read yet (`anew`)."""
        with self._lock:
            if self._base is None:
                if anew:
                    (self.directory / BASE).unlink(missing_ok=True)
                where = (self.database_url, self.run.migration_id, self.settings.target_schema)
                self._base = base_of(*where, self.selection, source_label(self.settings))
                hold_to(self._base, self.directory, self.run.migration_id)
        return self._base

    def increment(self) -> Increment | None:
        """What an incremental run does to each table, once that is planned."""
        return read_increment(self.directory)

    def app_config(self) -> AppConfig:
        """The app's configuration and what the run is to put there."""
        return app_config_of(self.settings, self.run.migration_id, self.status.data()["readTime"])

    def begin(self, phase: Phase) -> Status:
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

    def settle(self, phase: Phase, receipt: Receipt, counts: Mapping[str, Mapping[str, int]]) -> None:
        """For a phase whose receipt Prefect had, but of whose end the status has not heard: an attempt died in between."""
        if self.status.state_of(phase) in ("completed", "skipped"):
            return
        self.begin(phase)
        for collection, counted in counts.items():
            self.status.found(phase, collection, **counted)
        self.end(phase, receipt)

    def end(self, phase: Phase, receipt: Receipt) -> None:
        """The phase is done; the reports say so."""
        self.begin(phase).finish_phase(phase, receipt.model_dump(mode="json"))
        self.report()

    def report(self) -> dict[str, Any]:
        """Writes both reports as of now and returns the long one."""
        plan = self._plan_to_report()
        self.reported = write_reports(
            self.workspace,
            settings=self.settings.public(),
            status=self.status.data(),
            plan=plan.model_dump(mode="json") if plan else None,
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


_worlds: dict[str, World] = {}
_ended: set[str] = set()


def world(run: Run) -> World:
    """The world of a run that is open in this process; a process that got only a task opens its own.

    Raises Stopped in a thread that has outlived its run: after a second Ctrl-C it would write on without the target's lock.
    """
    if run.migration_id not in _worlds:
        if run.migration_id in _ended:
            raise Stopped(migration=run.migration_id)
        settings = Settings.load(**run.settings)
        _worlds[run.migration_id] = World(run, settings, workers_of_run(settings.max_workers))
    return _worlds[run.migration_id]


def named_run(options: dict[str, Any]) -> Run:
    """The run that these options mean, above environment, `.env` and defaults: a new one, or one to go on with."""
    reasons_first()
    refuse_wrong_home()
    flow_run = current_flow_run()
    new_id = migration_id_of(flow_run) if flow_run else new_migration_id()
    settings = meant(Settings.load(**options), new_id, source_label, _label(flow_run))
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


def stop_all() -> bool:
    """Asks every run of this process to stop; False where there is none."""
    for here in _worlds.values():
        threading.Thread(target=here.stop, name="firelift-stop", daemon=True).start()
    return bool(_worlds)


@contextmanager
def opened(run: Run) -> Iterator[World]:
    """A run from its first to its last word: workers and target lock held, its end in status, reports and target.

    Raises what ended the run; that is Stopped for every kind of stop.
    """
    settings = Settings.load(**run.settings)
    workspace = Workspace(settings.working_dir, run.migration_id)
    refuse_unskippable(workspace, settings.skip_phases)
    with ExitStack() as stack:
        workers = workers_of_run(settings.max_workers)
        stack.callback(workers.stop)
        # A run that goes on may be at work in another process: until the locks say no, its files are that one's.
        lock = stack.enter_context(_target_held(settings, run)) if resumes(settings) else None
        stack.enter_context(held(workspace))
        forget_stop(workspace, _seconds_since_begin())
        here = World(run, settings, workers)
        name_flow_run(run.migration_id, settings, here.source.project)
        stack.callback(here.close)
        try:
            if here.status.state_of("pre_validation") != "completed":
                here.begin("pre_validation")
            here.report()
            here.target_lock = lock or stack.enter_context(_target_held(settings, run))
            here.token = claim(workspace, settings, source_label(settings), _label(current_flow_run()))
            with _world_of(here), Watch(_looks(here, stack), here.stop), _ended_in_target(here):
                yield here
            here.status.complete()
        except BaseException as error:
            ended = here.broken or (Stopped(migration=run.migration_id) if here.stopping or is_stop(error) else error)
            here.status.fail(ended)
            if isinstance(error, ChunkDamaged | FileChanged) and settings.migration_mode == "full":
                note_damage(here.directory)
            if ended is error:
                raise
            raise ended from error
        finally:
            _last_report(here)


def _seconds_since_begin() -> float:
    """How long ago this attempt was asked for: what was asked of the run before that was asked of an earlier attempt."""
    flow_run = current_flow_run()
    asked = flow_run.expected_start_time if flow_run else None
    of_flow = (datetime.now(UTC) - asked).total_seconds() if asked else 0.0
    # The command asks half a minute before its flow run is there.
    of_command = time.time() - float(os.environ.get(BEGAN, time.time()))
    return max(0.0, of_flow, of_command)


@contextmanager
def _world_of(here: World) -> Iterator[None]:
    _worlds[here.run.migration_id] = here
    try:
        yield
    finally:
        _ended.add(here.run.migration_id)
        del _worlds[here.run.migration_id]


@contextmanager
def _target_held(settings: Settings, run: Run) -> Iterator[TargetLock | None]:
    """The target's lock; a dry run needs none."""
    if settings.dry_run:
        yield None
        return
    url = settings.target_url()
    with target_lock(url, run.migration_id, settings.target_schema) as lock:
        forget_stop_in_target(url, run.migration_id, _seconds_since_begin())
        yield lock


def _looks(here: World, stack: ExitStack) -> list[Look]:
    """Where a request to stop may come from."""
    looks: list[Look] = [lambda: stop_requested(here.workspace), stack.enter_context(cancelled_in_prefect()), _lock_lost(here)]
    if not here.settings.dry_run:
        looks.append(stack.enter_context(asked_in_target(here.database_url, here.run.migration_id)))
    return looks


def _lock_lost(here: World) -> Look:
    """Without its lock a run must not go on: another one may have begun on the same target and the same files."""

    def look() -> bool:
        try:
            if here.target_lock is not None:
                here.target_lock.check()
        except LockLost as lost:
            here.broken = lost
        return here.broken is not None

    return look


@contextmanager
def _ended_in_target(here: World) -> Iterator[None]:
    """Where the run fails: no worker writes any more, and the target is put back or says how the run ended."""
    try:
        yield
    except BaseException as error:
        here.workers.stop()
        # Without the lock the target may be another run's, and so may a record that this attempt has not made its own.
        if here.is_registered and here.broken is None:
            stopped = here.stopping or is_stop(error)
            with suppress(FireliftError):
                if isinstance(error, ConfigurationError) and here.is_new and here.status.current_phase not in IN_TARGET:
                    forget_refused(here.database_url, here.run.migration_id)
                elif stopped or not _takes_back(here, error) or not _take_back(here):
                    record_failure(here.database_url, here.run.migration_id, "stopped" if stopped else "failed")
        raise


IN_TARGET = ("import", "verification", "post_migration")


def _takes_back(here: World, error: BaseException) -> bool:
    """What failed in import or verification is taken back, unless it will do later: that waits for --resume.

    So does what has nothing to do with the rows: the Prefect server, the network to it, the machine.
    """
    ours = isinstance(error, FireliftError)
    waits = (error.retry or error.mendable) if isinstance(error, FireliftError) else isinstance(error, OSError | MemoryError)
    foreign = not ours and type(error).__module__.partition(".")[0] in ("prefect", "httpx", "httpcore", "anyio", "pydantic_core")
    # A test run has nothing in the target that anybody could want.
    wanted = here.is_test or here.status.current_phase in ("import", "verification")
    return here.settings.auto_rollback and wanted and not waits and not foreign


def _take_back(here: World) -> bool:
    try:
        done = (throw_away if here.is_test else roll_back)(here.database_url, here.run.migration_id)
    except FireliftError as problem:
        here.status.warn(f"the rollback did not succeed, run `firelift rollback`: {problem}")
        return False
    here.status.note(rolledBack=done.model_dump(mode="json"))
    return True


def _last_report(here: World) -> None:
    try:
        here.report()
    except FireliftError as error:
        here.status.warn(f"the reports could not be written: {error}")
    leave_artifacts(here.reported)
