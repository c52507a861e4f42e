"""Takes a migration back: restores what it replaced, removes what it made, and proves it."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from firelift.errors import ConfigurationError, FireliftError
from firelift.postgres.load.staging import drop_staging
from firelift.postgres.publish.backups import KeptTable, kept_tables
from firelift.postgres.publish.external_changes import changed_tables, described_change
from firelift.postgres.publish.stages.rolling_back import CannotRestore, locking_again, rollback_stages_of
from firelift.postgres.publish.stages.stage import Done, evaluate
from firelift.postgres.schema.compatibility import ExistingTable, existing_tables
from firelift.postgres.schema.control_schema import CONTROL_SCHEMA, create_control
from firelift.postgres.schema.indexes import make_left
from firelift.postgres.schema.names import backup_schema, scratch_schema, staging_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import refuse_foreign, schema_exists
from firelift.postgres.session.lock_capacity import explaining_locks, tables_in
from firelift.postgres.session.queries import QUERY
from firelift.receipts import ChangedTable, Restored, RolledBack

ROLLED_BACK = "rolled_back"


class UnknownMigration(ConfigurationError):
    """The target knows no migration of this id."""

    remedy = "`firelift status` and the table firelift.migrations show the ids; check the database URL."


class LaterRunPublished(FireliftError):
    """A later migration has put its rows on top of those of this one."""

    remedy = "Roll back the later one first."


class BackupGone(FireliftError):
    """The old rows of this migration are no longer kept, so it cannot be rolled back."""

    remedy = "Backups are kept for MIGRATION_BACKUP_RETENTION; restore the database from a backup of your own."


class ChangedSince(FireliftError):
    """Somebody changed tables since this migration published them, and a rollback would undo that too."""

    remedy = "Save what must not be lost, then roll back with --force."


class DependentObjects(FireliftError):
    """Something of yours depends on what would be removed, and Firelift never drops that along with it, not even with --force."""

    remedy = "Drop what is named yourself, then try again. Nothing was changed."


def rollback(connection: Connection, migration_id: str, *, force: bool = False) -> RolledBack:
    """Undoes a migration in one transaction, whatever state it is in, from the target alone. Call it under the target's lock.

    An index that rows which are taken back would be too long for, as long as they are in the table's file, is made after that transaction.
    After it every table that the run replaced has its old rows again, which its digest proves; tables, columns, indexes and foreign keys
    that the run made are dropped, those of our foreign keys and indexes that had to go are back, and so are plans and watermarks. Sequences
    are not turned back. Views, policies, grants, triggers and foreign keys of the user's stay, and what they need is never dropped.
    Raises UnknownMigration, LaterRunPublished, BackupGone, ChangedSince (unless `force`), CannotRestore, DependentObjects,
    ForeignKeyBroken, RefusedByConstraint, TooLongForIndex, RollbackDiffers; after each of them the target is as it was.
    """
    if schema_exists(connection, CONTROL_SCHEMA):
        # In a transaction of its own: runs into other schemas need not wait for all the rows.
        create_control(connection)
    many = explaining_locks(connection, lambda: _tables_of(connection, migration_id))
    with many, translated("rolling back the migration"), connection.transaction():
        done = _rolled_back(connection, migration_id, force=force)
    left = make_left(connection, done.indexes_left)
    if left == done.indexes_left:
        return done
    done = done.model_copy(update={"indexes_left": left})
    _remember(connection, done.model_copy(update={"already": False}))
    return done


def _rolled_back(connection: Connection, migration_id: str, *, force: bool) -> RolledBack:
    refuse_foreign(connection, own=[CONTROL_SCHEMA, staging_schema(migration_id), backup_schema(migration_id)])
    status, made_schema, earlier, app_config = _record(connection, migration_id)
    kept = kept_tables(connection, migration_id)
    staged = schema_exists(connection, staging_schema(migration_id))
    _refuse_lost(connection, migration_id, kept)
    if status == ROLLED_BACK and not kept and not staged:
        receipt = RolledBack.model_validate_json(earlier) if earlier else RolledBack(migration_id=migration_id)
        return receipt.model_copy(update={"already": True})
    overridden, taken_back = _take_back(connection, migration_id, kept, made_schema, force=force)
    drop_staging(connection, migration_id)
    tables = tuple(
        Restored(table=published.name, action=published.action, rows=published.rows_before, digest=published.digest_before)
        for published in kept
        if not published.only_moved_on
    )
    done = RolledBack(
        migration_id=migration_id,
        tables=tables,
        staging_dropped=staged,
        overridden=tuple(overridden),
        app_config=app_config,
        indexes_left=taken_back.indexes_left,
    )
    _remember(connection, done)
    if made_schema != scratch_schema(migration_id):
        connection.execute("NOTIFY pgrst, 'reload schema'")
    return done


def _remember(connection: Connection, done: RolledBack) -> None:
    connection.execute(QUERY["record_rolled_back"], {"migration_id": done.migration_id, "receipt": done.model_dump_json()})


def _record(connection: Connection, migration_id: str) -> tuple[str, str | None, str | None, str | None]:
    if not schema_exists(connection, CONTROL_SCHEMA):
        raise UnknownMigration(migration_id=migration_id)
    row = connection.execute(QUERY["record_to_roll_back"], {"migration_id": migration_id}).fetchone()
    if row is None:
        raise UnknownMigration(migration_id=migration_id)
    return row[0], row[1], row[2], row[3]


def _tables_of(connection: Connection, migration_id: str) -> int:
    """How many tables there are to take back, published or staged."""
    return len(kept_tables(connection, migration_id)) + tables_in(connection, staging_schema(migration_id))


def _refuse_lost(connection: Connection, migration_id: str, kept: Sequence[KeptTable]) -> None:
    if covered := [published for published in kept if published.published_by not in (None, migration_id)]:
        by = ", ".join(sorted({str(published.published_by) for published in covered}))
        raise LaterRunPublished(by=by, tables=", ".join(published.name for published in covered))
    dropped = [published.name for published in kept if published.dropped_at]
    known = {published.table for published in kept}
    never = [name for (name,) in connection.execute(QUERY["published_without_backup"], {"migration_id": migration_id}) if name not in known]
    if dropped or never:
        raise BackupGone(migration_id=migration_id, tables=", ".join([*dropped, *never]))


def _take_back(
    connection: Connection, migration_id: str, kept: Sequence[KeptTable], made_schema: str | None, *, force: bool
) -> tuple[list[ChangedTable], Done]:
    """Locks, looks whether the old rows still fit and whether others have changed anything since, and runs the stages."""
    changed = [published for published in kept if not published.only_moved_on]
    existing = {
        published.name: found
        for published in changed
        for found in existing_tables(connection, published.target_schema, [published.table]).values()
    }
    done = Done()
    evaluate(connection, locking_again(changed, existing), done)
    replaced = [published for published in changed if published.backup_schema]
    created = [published for published in changed if published.action == "created" and published.name in existing]
    _refuse_unrestorable(replaced, existing)
    overridden = changed_tables(connection, [*replaced, *created], existing)
    if overridden and not force:
        raise ChangedSince(migration_id=migration_id, changed="; ".join(map(described_change, overridden)))
    try:
        evaluate(connection, rollback_stages_of(migration_id, kept, existing, made_schema), done)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise dependent_objects(error) from error
    return overridden, done


def dependent_objects(error: psycopg.errors.DependentObjectsStillExist) -> DependentObjects:
    return DependentObjects(needed="; ".join((error.diag.message_detail or str(error)).splitlines()))


def _refuse_unrestorable(replaced: Sequence[KeptTable], existing: dict[str, ExistingTable]) -> None:
    for published in replaced:
        where = f"{published.backup_schema}.{published.table}"
        table = existing.get(published.name)
        if table is None:
            raise CannotRestore(table=published.name, why="it no longer exists", old_rows=where)
        if missing := [column for column in published.columns if column not in table.columns]:
            raise CannotRestore(table=published.name, why=f"without the columns {', '.join(missing)}", old_rows=where)
        if table.obstacle or not table.primary_key:
            raise CannotRestore(table=published.name, why=table.obstacle or "it no longer has a primary key", old_rows=where)
        if published.changes.keys and table.primary_key != published.changes.keys:
            raise CannotRestore(table=published.name, why="it has another primary key", old_rows=where)
