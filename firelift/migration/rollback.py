"""Rollback: the target as it was before a run, from the target alone; and the end of what is kept for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from firelift.errors import ConfigurationError
from firelift.postgres.publish.cleanup import drop_backups, expired_backups
from firelift.postgres.publish.rollback import UnknownMigration, rollback
from firelift.postgres.publish.scratch_schema import forget_test
from firelift.postgres.schema.control_schema import RecordedRun, recorded_runs
from firelift.postgres.session.lock import session_of, target_lock
from firelift.receipts import ExpiredBackup, RolledBack


class NothingToRollBack(ConfigurationError):
    """The target knows of no migration of this target schema and working directory."""

    remedy = (
        "Check --database-url, --target-schema and --working-dir, or name the run with --migration-id; "
        "only what Firelift migrated can be rolled back."
    )


def roll_back(url: str, migration_id: str) -> RolledBack:
    """Undoes a run whose lock the caller holds."""
    with session_of(url, migration_id).open() as connection:
        return rollback(connection, migration_id)


def roll_back_run(
    url: str, migration_id: str | None, force: bool, target_schema: str = "public", working_dir: Path | None = None
) -> RolledBack:
    """Undoes a run under the lock of its target schema; by default the latest of this target schema and working directory."""
    with session_of(url, "rollback").open() as connection:
        known = recorded_runs(connection)
    run = (
        next((run for run in known if run.migration_id == migration_id), None)
        if migration_id
        else _latest(known, target_schema, working_dir)
    )
    if run is None:
        raise UnknownMigration(migration_id=migration_id)
    with target_lock(url, run.migration_id, run.target_schema), session_of(url, run.migration_id).open() as connection:
        done = rollback(connection, run.migration_id, force=force)
        forget_test(connection, run.migration_id)
    is_latest = migration_id is not None or run == known[0]
    return done if is_latest else done.model_copy(update={"latest_of_database": str(known[0])})


def _named(known: Sequence[RecordedRun], migration_id: str) -> RecordedRun:
    for run in known:
        if run.migration_id == migration_id:
            return run
    raise UnknownMigration(migration_id=migration_id)


def _latest(known: Sequence[RecordedRun], target_schema: str, working_dir: Path | None) -> RecordedRun:
    """Raises NothingToRollBack, which says what else there is."""
    found = next((run for run in known if run.target_schema == target_schema and _is_of(run, working_dir)), None)
    if found is None:
        other = {"latest_of_the_database": str(known[0])} if known else {}
        raise NothingToRollBack(target_schema=target_schema, working_dir=str(working_dir), **other)
    return found


def _is_of(run: RecordedRun, working_dir: Path | None) -> bool:
    """Whether the run was started in this directory, or has its files in it, where that was moved; so is one that does not say."""
    if working_dir is None or run.working_dir is None:
        return True
    return run.working_dir == os.path.abspath(working_dir) or (working_dir / "runs" / run.migration_id).is_dir()


def what_expired(url: str, days: int, target_schema: str) -> list[ExpiredBackup]:
    """What `drop_expired` would drop."""
    with session_of(url, "cleanup").open() as connection:
        return expired_backups(connection, timedelta(days=days), target_schema)


def drop_expired(url: str, migration_ids: Sequence[str], target_schema: str) -> list[str]:
    """Drops what is kept for these runs of a target schema; they cannot be rolled back then."""
    with target_lock(url, "cleanup", target_schema), session_of(url, "cleanup").open() as connection:
        return drop_backups(connection, migration_ids)
