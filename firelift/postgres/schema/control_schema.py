"""The schema `firelift`: what the target knows of its migrations, its tables and the chunks it has received."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from firelift.errors import ConfigurationError
from firelift.planning.model import Frozen, TablePlan
from firelift.postgres.schema.privileges import close_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import own_schema_exists, refuse_foreign, schema_exists
from firelift.postgres.session.lock import LOCK_CLASS
from firelift.postgres.session.queries import CONTROL_TABLES, QUERY

CONTROL_SCHEMA = "firelift"
CONTROL_LOCK = int.from_bytes(b"firelift", "big")
LONGEST_LABEL = 2600
"""Bytes: together with the name of a schema it fits into an entry of the key's index."""
Phase = Literal["pre_validation", "extraction", "transformation", "import", "verification", "post_migration"]


class LoadedChunk(Frozen):
    """The receipt of a chunk: how many rows of which table the target got with it."""

    chunk: str
    rows: dict[str, int]


class SavedTable(Frozen):
    """A published table as the target remembers it."""

    plan: TablePlan
    watermark: datetime | None
    migration_id: str
    runs_since_scan: int = 0
    """How many runs have published it after all its keys were compared."""


def create_control(connection: Connection) -> None:
    """Makes the control schema where it is missing and closes it to everybody else.

    Runs into other schemas may do so at the same time: they wait for one another, each to the end of its transaction.
    """
    with translated("creating the control schema"), connection.transaction():
        connection.execute(QUERY["lock_control"], {"key": CONTROL_LOCK})
        # Not IF NOT EXISTS: that asks for the right to create a schema even where there is one.
        if not own_schema_exists(connection, CONTROL_SCHEMA):
            connection.execute("CREATE SCHEMA firelift")
        connection.execute(CONTROL_TABLES)
        # Again: IF NOT EXISTS takes whatever table has come by that name.
        refuse_foreign(connection, own=[CONTROL_SCHEMA])
        close_schema(connection, CONTROL_SCHEMA)


class KnownElsewhere(ConfigurationError):
    """The target knows a run of this name, and its working directory is not this one."""

    remedy = "Resume it where its working directory is, or give a new run another --migration-id."


def record_start(connection: Connection, migration_id: str, mode: str, settings: Mapping[str, object], token: str | None = None) -> bool:
    """Whether the run is new to the target. `settings` must hold no secret. A resumed run keeps its row, its beginning and its read time.

    Raises KnownElsewhere where the name is that of a run with another token: chunks it loaded are of another snapshot.
    """
    given = {"migration_id": migration_id, "mode": mode, "settings": Jsonb(dict(settings)), "token": token}
    with translated("recording the migration"):
        row = connection.execute(QUERY["record_start"], given).fetchone()
    if row is None:
        raise KnownElsewhere(migration_id=migration_id)
    return bool(row[0])


def published_later(connection: Connection, migration_id: str, target_schema: str, read_time: datetime) -> dict[str, str]:
    """The collections whose table holds a later snapshot than this run's, with the run that put it there."""
    given = {"migration_id": migration_id, "target_schema": target_schema, "read_time": read_time}
    with translated("comparing snapshots"):
        return dict(connection.execute(QUERY["published_later"], given).fetchall())


def has_published(connection: Connection, migration_id: str) -> bool:
    with translated("looking for what the run published"):
        return connection.execute(QUERY["has_published"], {"migration_id": migration_id}).fetchone() == (True,)


def record_progress(
    connection: Connection,
    migration_id: str,
    *,
    status: str | None = None,
    phase: Phase | None = None,
    read_time: datetime | None = None,
    counts: Mapping[str, object] | None = None,
) -> None:
    """Changes what is given and leaves the rest."""
    given = {"migration_id": migration_id, "status": status, "phase": phase, "read_time": read_time, "counts": _jsonb(counts)}
    with translated("recording the migration's progress"):
        connection.execute(QUERY["record_progress"], given)


def record_finish(connection: Connection, migration_id: str, status: str, counts: Mapping[str, object] | None = None) -> None:
    with translated("recording the migration's end"):
        connection.execute(QUERY["record_finish"], {"migration_id": migration_id, "status": status, "counts": _jsonb(counts)})


def forget_run(connection: Connection, migration_id: str) -> None:
    """Removes the record of a run that was refused before it wrote anything, and the control schema if it has never held anything else."""
    with translated("forgetting the refused run"), connection.transaction():
        connection.execute(QUERY["lock_control"], {"key": CONTROL_LOCK})
        if schema_exists(connection, CONTROL_SCHEMA):
            connection.execute(QUERY["forget_run"], {"migration_id": migration_id})
            if connection.execute(QUERY["control_is_empty"], {"class": LOCK_CLASS}).fetchone() == (True,):
                connection.execute("DROP SCHEMA firelift CASCADE")


def migration(connection: Connection, migration_id: str) -> dict[str, Any] | None:
    """The row of a migration, or None."""
    with translated("reading the migration's record"), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERY["migration"], {"migration_id": migration_id}).fetchone()


class RecordedRun(Frozen):
    """A run that the target knows, and where it was started to write what."""

    migration_id: str
    mode: str
    target_schema: str
    working_dir: str | None

    def __str__(self) -> str:
        return f"{self.migration_id} (schema {self.target_schema}, working directory {self.working_dir or 'unknown'})"


def recorded_runs(connection: Connection) -> list[RecordedRun]:
    """Every run that the target knows, the one that began last first."""
    with translated("looking for the migrations of the target"):
        if not own_schema_exists(connection, CONTROL_SCHEMA):
            return []
        rows = connection.execute(QUERY["recorded_runs"]).fetchall()
    return [RecordedRun.model_validate(dict(zip(RecordedRun.model_fields, row, strict=True))) for row in rows]


def save_table(
    connection: Connection, migration_id: str, target_schema: str, table: TablePlan, watermark: datetime | None, *, scanned: bool = True
) -> None:
    """Remembers a published table. `scanned`: it is whole at the watermark, as all keys were compared or all documents read."""
    given = {
        "collection": label_of(table.collection),
        "target_schema": target_schema,
        "table_name": table.table,
        "plan": table.model_dump_json(),
        "watermark": watermark,
        "migration_id": migration_id,
        "scanned": scanned,
    }
    with translated("saving a table's plan"):
        connection.execute(QUERY["forget_namesakes"], given)
        connection.execute(QUERY["save_table"], given)


def label_of(collection: str) -> str:
    """The collection's name as a key of text can hold it, without NUL and not too long for an index; the plan has the exact one."""
    label = collection.replace("\0", "\ufffd")
    if len(label.encode()) <= LONGEST_LABEL:
        return label
    digest = hashlib.sha256(collection.encode()).hexdigest()
    return f"{label.encode()[: LONGEST_LABEL - len(digest) - 1].decode(errors='ignore')} {digest}"


def saved_tables(connection: Connection, target_schema: str) -> dict[str, SavedTable]:
    """The published tables of a schema by collection; none where there is no control schema."""
    with translated("reading the plans of published tables"):
        if not schema_exists(connection, CONTROL_SCHEMA):
            return {}
        rows = connection.execute(QUERY["saved_tables"], {"target_schema": target_schema}).fetchall()
    saved = [
        SavedTable(plan=TablePlan.model_validate_json(plan), watermark=watermark, migration_id=by, runs_since_scan=runs)
        for plan, watermark, by, runs in rows
    ]
    return {table.plan.collection: table for table in saved}


def sources_of_tables(connection: Connection, target_schema: str) -> dict[str, str]:
    """Which Firestore database the rows of each published table came from, by collection, where that was recorded."""
    with translated("looking where published tables came from"):
        if not schema_exists(connection, CONTROL_SCHEMA):
            return {}
        rows = connection.execute(QUERY["sources_of_tables"], {"target_schema": target_schema}).fetchall()
    return {TablePlan.model_validate_json(plan).collection: source for plan, source in rows}


def saved_plans(connection: Connection, target_schema: str) -> dict[str, TablePlan]:
    """The plans of the published tables of a schema by collection."""
    return {collection: saved.plan for collection, saved in saved_tables(connection, target_schema).items()}


def loaded_chunks(connection: Connection, migration_id: str) -> dict[str, LoadedChunk]:
    """The receipts of a migration by chunk."""
    with translated("reading the receipts of loaded chunks"):
        rows = connection.execute(QUERY["loaded_chunks"], {"migration_id": migration_id}).fetchall()
    return {chunk: LoadedChunk(chunk=chunk, rows=counts) for chunk, counts in rows}


def _jsonb(value: Mapping[str, object] | None) -> Jsonb | None:
    return None if value is None else Jsonb(dict(value))
