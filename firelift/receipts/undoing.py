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
