"""More tables than the server has room for the locks of: what a transaction of them all says, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest

from firelift.local.postgres import PostgresServer
from firelift.planning.model import ReferenceTarget
from firelift.postgres.inspect.published_keys import Between, published_keys
from firelift.postgres.load.constraints import constrain
from firelift.postgres.load.staging import create_staging
from firelift.postgres.publish.publish import publish, unpublished
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.schema.control_schema import create_control, record_start
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.preflight import lock_warning
from firelift.postgres.session.connect import Connection, Session, connect
from firelift.postgres.session.errors import TooManyLocks
from firelift.postgres.session.foreign_owners import schema_exists
from tests.support.postgres_tables import RUN, plan, values

READ_TIME = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
FIRST = plan("c0", tags="strings")
TABLES = (FIRST, *(plan(f"c{number}", name="string", friend=ReferenceTarget(collection="c0")) for number in range(1, 230)))
FEW, SLICE = 10, 10
# Whatever else the server has room for would be room for locks too.
SMALL = {"max_connections": "8", "max_wal_senders": "0", "max_worker_processes": "0", "autovacuum": "off"}


@pytest.fixture(scope="module")
def small() -> Iterator[PostgresServer]:
    with PostgresServer(fsync=False, settings=SMALL) as server:
        yield server


def with_locks(server: PostgresServer, setting: object) -> Connection:
    """A connection to the server, started again with so many locks a transaction, as its operator would."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET max_locks_per_transaction = {setting}".encode())
    server.restart()
    return connect(server.url(), "firelift-test")


def refused(connection: Connection, work: Callable[[], object]) -> int:
    """Does what there is too little room for; what to raise the setting to, as the error says it."""
    with pytest.raises(TooManyLocks, match="Raise max_locks_per_transaction") as caught:
        work()
    facts, enough = caught.value.facts, caught.value.facts["raise_to"]
    assert (facts["tables"], facts["max_locks_per_transaction"]) == (len(TABLES), FEW)
    assert (caught.value.recovery, caught.value.exit_code) == ("after_fix", 1)
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert isinstance(enough, int)
    return enough


def test_too_little_room_for_locks_is_said_by_name_and_leaves_nothing_half_done(small: PostgresServer) -> None:
    with closing(with_locks(small, FEW)) as connection:
        create_control(connection)
        record_start(connection, RUN, "full", {"target_schema": "public"})
        warning = lock_warning(connection, "public", TABLES)
        assert warning is not None
        assert f"raise max_locks_per_transaction from {FEW} to" in warning
        refused(connection, lambda: create_staging(connection, RUN, TABLES))
        assert not schema_exists(connection, staging_schema(RUN))

        slices = [TABLES[at : at + SLICE] for at in range(0, len(TABLES), SLICE)]
        for tables in slices:
            create_staging(connection, RUN, tables)
        refused(connection, lambda: constrain(connection, staging_schema(RUN), TABLES, "report"))
        for tables in slices:
            constrain(connection, staging_schema(RUN), list(dict.fromkeys([FIRST, *tables])), "report")
        refused(connection, lambda: rollback(connection, RUN))
        enough = refused(connection, lambda: publish(connection, RUN, "public", TABLES, READ_TIME))
        assert unpublished(connection, RUN, "public", TABLES) == [table.table for table in TABLES]

    with closing(with_locks(small, enough)) as connection:
        assert lock_warning(connection, "public", TABLES) is None
        publish(connection, RUN, "public", TABLES, READ_TIME)

    with closing(with_locks(small, FEW)) as connection:
        refused(connection, lambda: read_all_keys(small))
        enough = refused(connection, lambda: rollback(connection, RUN))
        assert unpublished(connection, RUN, "public", TABLES) == []

    with closing(with_locks(small, enough)) as connection:
        assert len(rollback(connection, RUN).tables) == len(TABLES)
        assert values(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [0]


def read_all_keys(server: PostgresServer) -> None:
    with published_keys(Session(server.url(), "firelift-test"), "public", len(TABLES), Between()) as rows_of:
        for table in TABLES:
            rows_of(table)
