"""What a test run leaves behind: nothing, once its tables have been weighed."""

from __future__ import annotations

from contextlib import closing

from firelift.planning.model import Plan
from firelift.postgres.publish.rollback import RolledBack
from firelift.postgres.publish.scratch_schema import Weight, drop_scratch, weigh
from firelift.postgres.session.connect import connect, connect_to_read
from firelift.postgres.session.lock import application_name


def weights(url: str, migration_id: str, plan: Plan) -> dict[str, Weight]:
    """What the tables in the run's scratch schema weigh, by name."""
    with closing(connect_to_read(url, application_name(migration_id))) as connection:
        return weigh(connection, migration_id, plan.tables)


def throw_away(url: str, migration_id: str) -> RolledBack:
    """Takes everything of a test run out of the target. The caller holds its lock."""
    with closing(connect(url, application_name(migration_id))) as connection:
        return drop_scratch(connection, migration_id)
