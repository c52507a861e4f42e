"""A process that writes to the target, held in the middle by a lock of ours and killed there.

`python -m tests.support.held_write ACT URL RUN` carries an act of the engine out.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from firelift.migration.rollback import roll_back_run
from firelift.phases.import_ import publish_tables
from firelift.planning.model import Plan
from firelift.postgres.session.lock import target_lock
from tests.support.prefect_servers import CHECKOUT, eventually
from tests.support.refreshed_tables import NEW, READ_TIME, TABLES, stage, target


def importing(url: str, run: str) -> None:
    with target_lock(url, run, "public"), target(url) as connection:
        stage(connection, run, NEW)


def publishing(url: str, run: str) -> None:
    plan = Plan(database="projects/p/databases/(default)", tables=TABLES)
    with target_lock(url, run, "public"):
        publish_tables(url, run, plan, "public", READ_TIME.isoformat())


def rolling_back(url: str, run: str) -> None:
    roll_back_run(url, run, force=False)


ACTS: dict[str, Callable[[str, str], None]] = {act.__name__: act for act in (importing, publishing, rolling_back)}

# Each act writes to this table after all else that it does, and still before its commit.
LAST = {"importing": "firelift.loaded_chunks", "publishing": "firelift.tables", "rolling_back": "firelift.tables"}


@contextmanager
def held(url: str, act: str, run: str) -> Iterator[subprocess.Popen[bytes]]:
    """The act in a process of its own that waits, with everything done but its last word; it is killed at the end."""
    with psycopg.connect(url) as holder:
        holder.execute(f"LOCK TABLE {LAST[act]} IN SHARE MODE".encode())
        with subprocess.Popen([sys.executable, "-m", __name__, act, url, run], cwd=CHECKOUT) as process:
            try:
                eventually(60, lambda: process.poll() is not None or _waits(url, LAST[act]))
                assert process.poll() is None, "it ended before it had to wait"
                yield process
            finally:
                process.kill()
                process.wait()
        holder.rollback()


def kill_in(url: str, act: str, run: str) -> None:
    """Begins the act and kills it with SIGKILL in the middle. The server does not know yet that nobody is there any more."""
    with held(url, act, run):
        pass


def _waits(url: str, table: str) -> bool:
    with psycopg.connect(url) as connection:
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = %s::regclass)"
        return connection.execute(query, [table]).fetchone() == (True,)


if __name__ == "__main__":
    ACTS[sys.argv[1]](*sys.argv[2:])
