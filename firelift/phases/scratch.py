"""What a test run leaves behind: nothing, once its tables have been weighed."""

from __future__ import annotations

from contextlib import closing

from firelift.plan import Plan
from firelift.postgres.connect import connect, connect_to_read
from firelift.postgres.lock import signature
from firelift.postgres.rollback import RolledBack
from firelift.postgres.scratch import Weight, drop_scratch, weigh


def weights(url: str, migration_id: str, plan: Plan) -> dict[str, Weight]:
    """What the tables in the run's scratch schema weigh, by name."""
    with closing(connect_to_read(url, signature(migration_id))) as connection:
        return weigh(connection, migration_id, plan.tables)


def throw_away(url: str, migration_id: str) -> RolledBack:
    """Takes everything of a test run out of the target. The caller holds its lock."""
    with closing(connect(url, signature(migration_id))) as connection:
        return drop_scratch(connection, migration_id)
