"""Rollback: the target as it was before a run, from the target alone; and the end of what is kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta

from firelift.errors import ConfigurationError
from firelift.postgres.cleanup import ExpiredBackup, drop_backups, expired_backups
from firelift.postgres.connect import connect
from firelift.postgres.control import latest_migration
from firelift.postgres.lock import signature, target_lock
from firelift.postgres.rollback import RolledBack, rollback
from firelift.postgres.scratch import forget_test


class NothingToRollBack(ConfigurationError):
    """The target knows of no migration."""

    remedy = "Check --database-url; only what Firelift migrated can be rolled back."


def roll_back(url: str, migration_id: str) -> RolledBack:
    """Undoes a run whose lock the caller holds."""
    with closing(connect(url, signature(migration_id))) as connection:
        return rollback(connection, migration_id)


def roll_back_run(url: str, migration_id: str | None, force: bool) -> RolledBack:
    """Undoes a run, by default the latest that the target knows, under the target's lock."""
    with closing(connect(url, signature("rollback"))) as connection:
        wanted = migration_id or latest_migration(connection)
    if wanted is None:
        raise NothingToRollBack()
    with target_lock(url, wanted), closing(connect(url, signature(wanted))) as connection:
        done = rollback(connection, wanted, force=force)
        forget_test(connection, wanted)
        return done


def what_expired(url: str, days: int) -> list[ExpiredBackup]:
    """What `drop_expired` would drop."""
    with closing(connect(url, signature("cleanup"))) as connection:
        return expired_backups(connection, timedelta(days=days))


def drop_expired(url: str, migration_ids: Sequence[str]) -> list[str]:
    """Drops what is kept for these runs; they cannot be rolled back then."""
    with target_lock(url, "cleanup"), closing(connect(url, signature("cleanup"))) as connection:
        return drop_backups(connection, migration_ids)
