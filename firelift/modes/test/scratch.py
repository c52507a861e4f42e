"""What a test run leaves behind: nothing, once its tables have been weighed."""

from __future__ import annotations

from firelift.planning.model import Plan
from firelift.postgres.publish.scratch_schema import Weight, drop_scratch, weigh
from firelift.postgres.session.lock import session_of
from firelift.receipts import RolledBack


def weights(url: str, migration_id: str, plan: Plan) -> dict[str, Weight]:
    """What the tables in the run's scratch schema weigh, by name."""
    with session_of(url, migration_id).open_to_read() as connection:
        return weigh(connection, migration_id, plan.tables)


def throw_away(url: str, migration_id: str) -> RolledBack:
    """Takes everything of a test run out of the target. The caller holds its lock."""
    with session_of(url, migration_id).open() as connection:
        return drop_scratch(connection, migration_id)
