"""Backups are shown before they are dropped, and dropped without what a user built on them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from firelift.postgres.publish.cleanup import drop_backups, expired_backups
from firelift.postgres.publish.rollback import BackupGone, DependentObjects, rollback
from firelift.postgres.schema.names import backup_schema
from firelift.postgres.session.foreign_owners import schema_exists
from tests.support.refreshed_tables import FIRST, NEW, OLD, SECOND, THIRD, contents, migrate, target

WEEK = timedelta(days=7)


def test_only_backups_older_than_the_retention_are_listed_with_size_and_age(database_url: str) -> None:
    with target(database_url) as connection:
        assert expired_backups(connection, timedelta(0), "public") == []
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, NEW)
        migrate(connection, THIRD, OLD)
        connection.execute("UPDATE firelift.backups SET made_at = made_at - interval '8 days' WHERE migration_id <> %s", (THIRD,))
        first, second = expired_backups(connection, WEEK, "public")
        assert (first.migration_id, first.backup_schema, first.bytes) == (FIRST, None, 0)
        assert (second.migration_id, second.backup_schema, second.tables) == (SECOND, backup_schema(SECOND), ("users", "users_orders"))
        assert second.bytes > 0
        assert WEEK < second.age < timedelta(days=9)
        assert len(expired_backups(connection, timedelta(0), "public")) == 3


def test_what_is_kept_of_one_target_schema_is_not_that_of_another(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, OLD, schema="apart")
        listed = {
            schema: [each.migration_id for each in expired_backups(connection, timedelta(0), schema)] for schema in ("public", "apart")
        }
    assert listed == {"public": [FIRST], "apart": [SECOND]}


def test_a_dropped_backup_is_gone_and_so_is_the_rollback(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, NEW)
        after = contents(connection)
        assert drop_backups(connection, [SECOND, "unknown"]) == [SECOND]
        assert drop_backups(connection, [SECOND]) == []
        assert not schema_exists(connection, backup_schema(SECOND))
        assert [found.migration_id for found in expired_backups(connection, timedelta(0), "public")] == [FIRST]
        with pytest.raises(BackupGone, match=r"public\.users"):
            rollback(connection, SECOND, force=True)
        assert contents(connection) == after
        migrate(connection, THIRD, OLD)
        rollback(connection, THIRD)
        assert contents(connection) == after


def test_what_a_user_built_on_a_backup_keeps_it(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, NEW)
        connection.execute(f"CREATE VIEW public.old AS SELECT id FROM {backup_schema(SECOND)}.users".encode())
        with pytest.raises(DependentObjects, match=r"view public\.old"):
            drop_backups(connection, [SECOND])
        assert schema_exists(connection, backup_schema(SECOND))
        with pytest.raises(DependentObjects, match=r"view public\.old"):
            rollback(connection, SECOND)
