"""A migration from start to end: locks, workers and watches around it, its end in status, reports and target."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from firelift.errors import ConfigurationError, FireliftError, Stopped
from firelift.files import FileChanged
from firelift.firestore.source import source_label
from firelift.migration.context import Migration, Run
from firelift.migration.early_start import workers_of_run
from firelift.migration.identity import is_resume, register_run
from firelift.migration.rollback import roll_back
from firelift.migration.stop import asked_in_target, forget_stop_in_target
from firelift.migration.surroundings import Surroundings
from firelift.modes.test.scratch import throw_away
from firelift.phases.import_ import forget_refused, record_failure
from firelift.postgres.session.lock import LockLost, TargetLock, target_lock
from firelift.run.archive_damage import note_damage
from firelift.run.directory_lock import locked
from firelift.run.receipt_files import refuse_unskippable
from firelift.run.status import is_stop
from firelift.run.stop_request import BEGAN, forget_stop, stop_requested
from firelift.run.stop_watch import Look, Watch
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.storage.archive import ChunkDamaged

_open: dict[str, Migration] = {}


def migration_of(run: Run) -> Migration:
    """The migration that is open in this process for a run.

    Raises Stopped in a thread that has outlived its run: after a second Ctrl-C it would write on without the target's lock.
    """
    if run.migration_id not in _open:
        raise Stopped(migration=run.migration_id)
    return _open[run.migration_id]


def stop_all() -> bool:
    """Asks every run of this process to stop; False where there is none."""
    for migration in _open.values():
        threading.Thread(target=migration.stop, name="firelift-stop", daemon=True).start()
    return bool(_open)


@contextmanager
def open_migration(run: Run, surroundings: Surroundings, settings: Settings | None = None) -> Iterator[Migration]:
    """A run from start to end: workers and target lock held, its end in status, reports and target.

    Without `settings` they are those of the run, with their secrets from the environment. Raises what ended the run; that is Stopped
    for every kind of stop.
    """
    settings = settings or Settings.load(**run.settings)
    workspace = Workspace(settings.working_dir, run.migration_id)
    refuse_unskippable(workspace, settings.skip_phases)
    with ExitStack() as stack:
        workers = workers_of_run(settings.max_workers)
        stack.callback(workers.stop)
        # A run that goes on may be at work in another process: until the locks say no, its files are that one's.
        lock = stack.enter_context(_target_locked(settings, run, surroundings)) if is_resume(settings) else None
        stack.enter_context(locked(workspace))
        forget_stop(workspace, _seconds_since_begin(surroundings))
        migration = Migration(run, settings, workers, surroundings)
        surroundings.opened(run.migration_id, settings, migration.source.project)
        stack.callback(migration.close)
        try:
            if migration.status.state_of("pre_validation") != "completed":
                migration.start_phase("pre_validation")
            migration.report()
            migration.target_lock = lock or stack.enter_context(_target_locked(settings, run, surroundings))
            migration.token = register_run(workspace, settings, source_label(settings), surroundings.label)
            with _registered(migration), Watch(_looks(migration, stack), migration.stop), _ended_in_target(migration):
                yield migration
            migration.status.complete()
        except BaseException as error:
            ended = migration.broken or (Stopped(migration=run.migration_id) if migration.stopping or is_stop(error) else error)
            migration.status.fail(ended)
            if isinstance(error, ChunkDamaged | FileChanged) and settings.migration_mode == "full":
                note_damage(migration.directory)
            if ended is error:
                raise
            raise ended from error
        finally:
            _last_report(migration)


def _seconds_since_begin(surroundings: Surroundings) -> float:
    """How long ago this attempt was asked for: what was asked of the run before that was asked of an earlier attempt."""
    # The command asks half a minute before its flow run is there.
    of_command = time.time() - float(os.environ.get(BEGAN, time.time()))
    return max(0.0, surroundings.seconds_since_begin(), of_command)


@contextmanager
def _registered(migration: Migration) -> Iterator[None]:
    _open[migration.run.migration_id] = migration
    try:
        yield
    finally:
        del _open[migration.run.migration_id]


@contextmanager
def _target_locked(settings: Settings, run: Run, surroundings: Surroundings) -> Iterator[TargetLock | None]:
    """The target's lock; a dry run needs none."""
    if settings.dry_run:
        yield None
        return
    url = settings.target_url()
    with target_lock(url, run.migration_id, settings.target_schema) as lock:
        forget_stop_in_target(url, run.migration_id, _seconds_since_begin(surroundings))
        yield lock


def _looks(migration: Migration, stack: ExitStack) -> list[Look]:
    """Where a request to stop may come from."""
    elsewhere: Sequence[Look] = stack.enter_context(migration.surroundings.stop_requests())
    looks: list[Look] = [lambda: stop_requested(migration.workspace), *elsewhere, _lock_lost(migration)]
    if not migration.settings.dry_run:
        looks.append(stack.enter_context(asked_in_target(migration.database_url, migration.run.migration_id)))
    return looks


def _lock_lost(migration: Migration) -> Look:
    """Without its lock a run must not go on: another one may have begun on the same target and the same files."""

    def look() -> bool:
        try:
            if migration.target_lock is not None:
                migration.target_lock.check()
        except LockLost as lost:
            migration.broken = lost
        return migration.broken is not None

    return look


@contextmanager
def _ended_in_target(migration: Migration) -> Iterator[None]:
    """Where the run fails: no worker writes any more, and the target is put back or says how the run ended."""
    try:
        yield
    except BaseException as error:
        migration.workers.stop()
        # Without the lock the target may be another run's, and so may a record that this attempt has not made its own.
        if migration.is_registered and migration.broken is None:
            stopped = migration.stopping or is_stop(error)
            with suppress(FireliftError):
                if isinstance(error, ConfigurationError) and migration.is_new and migration.status.current_phase not in IN_TARGET:
                    forget_refused(migration.database_url, migration.run.migration_id)
                elif stopped or not _takes_back(migration, error) or not _take_back(migration):
                    record_failure(migration.database_url, migration.run.migration_id, "stopped" if stopped else "failed")
        raise


IN_TARGET = ("import", "verification", "post_migration")


def _takes_back(migration: Migration, error: BaseException) -> bool:
    """What failed in import or verification is taken back, unless a retry can succeed: that waits for --resume.

    So does what has nothing to do with the rows: the Prefect server, the network to it, the machine.
    """
    ours = isinstance(error, FireliftError)
    waits = error.recovery != "never" if isinstance(error, FireliftError) else isinstance(error, OSError | MemoryError)
    foreign = not ours and type(error).__module__.partition(".")[0] in ("prefect", "httpx", "httpcore", "anyio", "pydantic_core")
    # A test run has nothing in the target that anybody could want.
    wanted = migration.is_test or migration.status.current_phase in ("import", "verification")
    return migration.settings.auto_rollback and wanted and not waits and not foreign


def _take_back(migration: Migration) -> bool:
    try:
        done = (throw_away if migration.is_test else roll_back)(migration.database_url, migration.run.migration_id)
    except FireliftError as problem:
        migration.status.warn(f"the rollback did not succeed, run `firelift rollback`: {problem}")
        return False
    migration.status.add_statistics(rolledBack=done.model_dump(mode="json"))
    return True


def _last_report(migration: Migration) -> None:
    try:
        migration.report()
    except FireliftError as error:
        migration.status.warn(f"the reports could not be written: {error}")
    migration.surroundings.ended(migration.reported)
