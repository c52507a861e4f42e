"""A PostgreSQL that stands still is given up; one that only takes its time is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGCONT, SIGSTOP

import psutil  # type: ignore[import-untyped]
import pytest

from firelift.local.postgres import PostgresServer
from firelift.postgres.session.connect import connect
from firelift.postgres.session.errors import ConnectionLost, translated

IMPATIENT = "?keepalives_idle=1&keepalives_interval=1&connect_timeout=2"


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """All its processes stand still; the kernel still takes connections for it."""
    main = psutil.Process(server.pid)
    processes = [main, *main.children(recursive=True)]
    for process in processes:
        process.send_signal(SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(SIGCONT)


def test_a_server_that_stands_still_is_given_up_and_a_slow_statement_is_not() -> None:
    with PostgresServer(fsync=False) as server:
        with connect(server.url() + IMPATIENT, "patient") as connection:
            # Eight times as long as the watch waits before it looks.
            assert connection.execute("SELECT 1 FROM pg_sleep(8)").fetchone() == (1,)
            with stopped(server), pytest.raises(ConnectionLost, match="--resume") as caught, translated("copying"):
                connection.execute("SELECT 1")
        assert caught.value.recovery == "automatic"
        with connect(server.url(), "afterwards") as again:
            assert again.execute("SELECT 2").fetchone() == (2,)
