"""What a rollback has put back, what it found changed by others, and what is kept for rollbacks that are no longer wanted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from firelift.receipts.receipt import Receipt

Action = Literal["created", "replaced", "merged"]
"""What publishing did to a table."""


class Restored(Receipt):
    """A table after the rollback: dropped, or with its old rows, whose digest is the one from before the migration."""

    table: str
    action: Action
    rows: int | None = None
    """Of a merged table: the rows that the migration had changed and that were there before it; all others are as they were."""
    digest: str | None = None


class ChangedTable(Receipt):
    """A table that is no longer as it was published, as far as that can be determined.

    Written rows are those whose last writer (`xmin`) came after the run: inserted or updated, which PostgreSQL does not distinguish. Of
    deleted rows only their number is known. Of a table into which the run merged rows only those are compared.
    """

    table: str
    rows_then: int
    rows_now: int
    written: int = 0
    written_keys: tuple[str, ...] = ()
    """The first few."""
    columns_gone: tuple[str, ...] = ()


class ExpiredBackup(Receipt):
    """What is kept for the rollback of one run."""

    migration_id: str
    backup_schema: str | None
    """None for a run that only made new tables: there are no old rows, but its rollback ends here too."""
    made_at: datetime
    age: timedelta
    tables: tuple[str, ...]
    bytes: int


class Index(Receipt):
    """An index of whole columns as it is in the target."""

    table: str
    name: str
    columns: tuple[str, ...]
    plain: bool
    """True for what CREATE INDEX makes from the columns and nothing else."""
    comment: str | None


class LeftIndex(Receipt):
    """An index of ours that could not be made yet."""

    target_schema: str
    index: Index


class RolledBack(Receipt):
    """The receipt of a rollback."""

    migration_id: str
    already: bool = False
    """True when an earlier call did it and this one found nothing to do."""
    tables: tuple[Restored, ...] = ()
    staging_dropped: bool = False
    overridden: tuple[ChangedTable, ...] = ()
    """Changes by others that were undone as well, with `force`."""
    indexes_left: tuple[LeftIndex, ...] = ()
    """Indexes of Firelift's own that the run had dropped and that cannot be made again yet."""
    app_config: str | None = None
    """What the app's configuration was before the run updated it, which a rollback does not undo."""
    latest_of_database: str | None = None
    """The latest run of the database, with its schema and working directory, where nobody named a run and another was taken back."""
