"""Holds a migration inside a phase, as long as it takes: Firestore does not answer, a file hangs, somebody has locked a table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from firelift.postgres.schema.names import staging_schema
from tests.support.gateway import Gateway
from tests.support.migrating import BATCH, VERIFIED, Ground, Place
from tests.support.proxy import Strike, proxy

Reached = Callable[[], bool]
Held = Iterator[tuple[Place, Reached]]
"""The place to start the run from, and whether it has come to where it is held."""


@contextmanager
def held_in(phase: str, place: Place, front: Gateway) -> Held:
    """A run started from the place that is yielded gets no further than the middle of the phase until the block ends."""
    staging = staging_schema(place.migration_id)
    match phase:
        case "pre_validation":
            with front.held("ListCollectionIds") as reached:
                # The survey begins before the run does, for which Prefect must be imported first.
                yield place, lambda: reached.is_set() and _is_running(phase, place)
        case "extraction":
            with front.held("RunQuery", after=3 * BATCH + 7) as reached:
                # What has passed is not archived yet.
                yield place, lambda: reached.is_set() and place.archived().documents >= 3 * BATCH
        case "transformation":
            with _hanging(place.run / "transformed" / "users" / "0000-000001.json") as opened:
                yield place, opened
        case "import":
            with _locked(place, [f'COPY "{staging}"."users"'] * 3, staging, "users") as held:
                yield held
        case "verification":
            with _locked(place, [f'SELECT pg_catalog.count(*) FROM "{staging}"."cities"'], staging, "cities") as (held, reached):
                yield held.with_(**VERIFIED), reached
        case "publish":
            with psycopg.connect(place.url) as reader, psycopg.connect(place.url, autocommit=True) as onlooker:
                reader.execute("SELECT count(*) FROM public.cities")
                yield place, lambda: _somebody_waits(onlooker)
        case _:
            raise ValueError(f"nothing to hold in {phase}")


def _is_running(phase: str, place: Place) -> bool:
    phases = place.status().get("progress", {}).get("phases", {})
    return bool(phases.get(phase, {}).get("state") == "running")


@contextmanager
def dead_in(phase: str, ground: Ground, front: Gateway, **variables: str) -> Iterator[Place]:
    """The place of a run that was killed in the middle of the phase."""
    with ground.place(**variables) as place:
        kill_in(phase, place, front)
        yield place


def kill_in(phase: str, place: Place, front: Gateway) -> None:
    """Begins a run there and kills it in the middle of the phase."""
    with held_in(phase, place, front) as (held, reached):
        started = held.start()
        started.until(reached)
        started.kill()


@contextmanager
def _hanging(file: Path) -> Iterator[Reached]:
    """A file that opens, or is read, only when we say so."""
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    ours: list[int] = []

    def opened() -> bool:
        try:
            ours.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads yet
            return False
        return True

    try:
        yield opened
    finally:
        file.unlink()
        for descriptor in ours:
            os.close(descriptor)


@contextmanager
def _locked(place: Place, statements: Sequence[str], schema: str, table: str) -> Held:
    """The last of a connection's statements waits for a table that somebody else has locked."""
    parts = urlsplit(place.url)
    address = parts.netloc.rpartition("@")[2]
    # It is held up on its way, so that the lock is there first.
    with (
        proxy(address, Strike("stall", at=[statement.encode() for statement in statements], seconds=1.0)) as between,
        psycopg.connect(place.url) as holder,
        psycopg.connect(place.url, autocommit=True) as onlooker,
    ):
        locked: list[bool] = []

        def reached() -> bool:
            if between.struck and not locked:
                holder.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.Identifier(schema, table)))
                locked.append(True)
            return bool(locked) and _somebody_waits(onlooker)

        yield place.with_(SUPABASE_DB_URL=place.url.replace(address, between.address)), reached


def _somebody_waits(onlooker: psycopg.Connection) -> bool:
    return onlooker.execute("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'relation'").fetchone() == (True,)
