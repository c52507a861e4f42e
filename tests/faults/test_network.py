"""Connections that break, stall, crawl or go deaf, and servers that restart in mid-run: the target comes out right, or stays as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.query import KeyRange, server_time
from firelift.firestore.stream import read_documents
from firelift.local.emulator import Emulator
from firelift.local.postgres import PostgresServer
from tests.support.command_line import Said
from tests.support.gateway import gateway
from tests.support.migrating import SOAK, VERIFIED, Content, Ground, Place, Started, Undisturbed, differences
from tests.support.nasty_database import fill
from tests.support.proxy import Proxy, Strike, proxy
from tests.support.warm_commands import BY_PREFECT

# What a connection to the target says at a certain point of the run, word after word.
POINTS: dict[str, Sequence[bytes]] = {
    "lock": [b"pg_try_advisory_lock"],
    "begin": [b"INSERT INTO firelift.migrations"],
    "staging": [b"CREATE TABLE"],
    "chunk": [b"firelift.loaded_chunks", b"COPY "],
    "chunk's commit": [b"firelift.loaded_chunks", b"COPY ", b"COMMIT"],
    "keys": [b"PRIMARY KEY"],
    "verification": [b"count(*)"],
    "publishing": [b"SET SCHEMA"],
    "publishing's commit": [b"NOTIFY pgrst", b"COMMIT"],
}
# How the URL of the target says that silence is to be looked into soon.
IMPATIENT = "?keepalives_idle=2&keepalives_interval=1"


def rows(content: Content) -> Content:
    """What readers of the target see."""
    return {what: lines for what, lines in content.items() if what.startswith("rows of ")}


def came_out_right(place: Place, said: Said, before: Content, undisturbed: Undisturbed) -> None:
    """The migration is there exactly; or there was one clear line and nothing half, and a resume brings it about."""
    if said.code != 0:
        stopped_cleanly(place, said, before, undisturbed)
        said = place.migrate("--resume")
    assert said.code == 0, said.err
    assert differences(place.content(), undisturbed.content) == []
    assert place.status()["status"] == "completed"


def stopped_cleanly(place: Place, said: Said, before: Content, undisturbed: Undisturbed) -> None:
    assert said.code == 1, said.err
    assert said.error.startswith("error: "), said.err
    assert "Traceback" not in said.err
    assert rows(place.content()) in (rows(before), rows(undisturbed.content))


def through(front: Proxy, url: str) -> str:
    """The target's URL by way of a proxy."""
    head, _, tail = url.rpartition(front.upstream)
    return f"{head}{front.address}{tail}{IMPATIENT}"


def server_of(postgres: PostgresServer) -> str:
    return f"127.0.0.1:{postgres.port}"


@pytest.fixture
def place(ground: Ground) -> Iterator[Place]:
    with ground.place() as made:
        yield made


# Where what was done and what was answered may differ most; `make soak` takes every point.
SHORT = [
    ("chunk's commit answered", Strike("cut", at=POINTS["chunk's commit"], answered=True)),
    ("verification", Strike("cut", at=POINTS["verification"])),
    ("publishing's commit answered", Strike("cut", at=POINTS["publishing's commit"], answered=True)),
    ("every chunk", Strike("cut", at=POINTS["chunk"], times=8)),
    ("all at publishing", Strike("half_open", at=POINTS["publishing"], everywhere=True)),
    ("publishing's commit answered", Strike("half_open", at=POINTS["publishing's commit"], answered=True)),
    ("chunk", Strike("slow", at=POINTS["chunk"], everywhere=True)),
    ("all at a chunk", Strike("refuse", at=POINTS["chunk"], everywhere=True, seconds=5)),
]
LONG = [
    ("all at a chunk", Strike("cut", at=POINTS["chunk"], everywhere=True)),
    ("all at a chunk", Strike("refuse", at=POINTS["chunk"], everywhere=True, seconds=60)),
    *((point, Strike("cut", at=words)) for point, words in POINTS.items()),
    *((point, Strike("half_open", at=words)) for point, words in POINTS.items()),
    ("chunk's commit answered", Strike("half_open", at=POINTS["chunk's commit"], answered=True)),
    *((f"all at {point}", Strike("stall", at=words, everywhere=True)) for point, words in POINTS.items()),
]
ON_THE_WAY_TO_POSTGRES = [*SHORT, *(LONG if SOAK else [])]


@pytest.mark.parametrize(("point", "strike"), [pytest.param(*case, id=f"{case[1].fault} {case[0]}") for case in ON_THE_WAY_TO_POSTGRES])
def test_a_fault_on_the_way_to_postgres(place: Place, ground: Ground, undisturbed: Undisturbed, point: str, strike: Strike) -> None:
    before = place.content()
    with proxy(server_of(ground.postgres), strike) as front:
        verified = VERIFIED if "verification" in point else {}
        # Steps are begun anew by whoever carries them out, and that often by Prefect too.
        by = BY_PREFECT if strike.times > 1 else {}
        said = place.with_(SUPABASE_DB_URL=through(front, place.url), **verified, **by).migrate()
        assert front.struck, "the run never came to it"
    came_out_right(place, said, before, undisturbed)


# Bytes that a connection to Firestore has brought: in pre-validation, in the middle of a range, and in each of many streams.
ON_THE_WAY_TO_FIRESTORE = [
    Strike("cut", after=0),
    Strike("cut", after=30_000),
    Strike("cut", after=1_000, times=6),
    Strike("refuse", after=30_000, everywhere=True),
    Strike("slow", after=10_000, everywhere=True),
]


@pytest.mark.parametrize("strike", ON_THE_WAY_TO_FIRESTORE, ids=lambda strike: f"{strike.fault} {strike.times} after {strike.after}")
def test_a_fault_on_the_way_to_firestore(place: Place, ground: Ground, undisturbed: Undisturbed, strike: Strike) -> None:
    before = place.content()
    with proxy(ground.firestore, strike) as front:
        said = place.with_(FIRESTORE_EMULATOR_HOST=front.address).migrate()
        assert front.struck, "the run never came to it"
    came_out_right(place, said, before, undisturbed)


def test_firestore_goes_silent(ground: Ground, undisturbed: Undisturbed) -> None:
    """gRPC notices after 50 s; so all at once."""
    strikes = [Strike("half_open", after=0), Strike("half_open", after=30_000), Strike("stall", after=30_000, everywhere=True, seconds=600)]
    with ExitStack() as stack:
        runs: list[tuple[Place, Content, Proxy, Started]] = []
        for strike in strikes:
            place, front = stack.enter_context(ground.place()), stack.enter_context(proxy(ground.firestore, strike))
            runs.append((place, place.content(), front, place.with_(FIRESTORE_EMULATOR_HOST=front.address).start()))
        for place, before, front, started in runs:
            said = started.wait()
            assert front.struck, "the run never came to it"
            came_out_right(place, said, before, undisturbed)


def test_a_stream_that_the_server_has_lost_is_read_on(ground: Ground, emulator_host: str) -> None:
    """Its connection lives, so that only the time it takes tells."""
    reasons: list[str] = []
    with gateway(emulator_host) as front, front.held("RunQuery", after=5):
        firestore = open_firestore(Source(ground.project, emulator_host=front.address))
        firestore.longest_stream = 1
        reading = read_documents(firestore, KeyRange(), ground.read_time, None, 20, reasons.append)
        read = [path for path, _ in (next(reading) for _ in range(12))]
        firestore.close()
    assert len(set(read)) == 12
    assert [reason.partition(":")[0] for reason in reasons] == ["DEADLINE_EXCEEDED"] * 2


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.mark.parametrize("point", ["chunk", "publishing", "publishing's commit"])
def test_postgres_crashes_and_comes_back(ground: Ground, own_postgres: PostgresServer, undisturbed: Undisturbed, point: str) -> None:
    stall = Strike("stall", at=POINTS[point], everywhere=True, seconds=600)
    with dataclasses.replace(ground, postgres=own_postgres).place() as place, proxy(server_of(own_postgres), stall) as front:
        before = place.content()
        started = place.with_(SUPABASE_DB_URL=through(front, place.url)).start()
        started.until(lambda: front.struck)
        own_postgres.restart("immediate")
        came_out_right(place, started.wait(), before, undisturbed)


# Patience with one that stays away lasts some minutes.
@pytest.mark.parametrize("comes_back", [True, False] if SOAK else [True], ids=lambda back: "comes back empty" if back else "stays away")
def test_the_emulator_dies_with_its_documents(ground: Ground, tmp_path: Path, comes_back: bool) -> None:
    """It keeps them in memory: there is nothing to go on with, and nothing of it may arrive."""
    with Emulator(heap_mb=512) as own, gateway(own.host) as front:
        fill(own.host, ground.project)
        firestore = open_firestore(Source(ground.project, emulator_host=own.host))
        read_time = server_time(firestore)
        firestore.close()
        lost = {"FIRESTORE_EMULATOR_HOST": front.address, "MIGRATION_READ_TIME": read_time}
        with ground.place(**lost) as place:
            before = place.content()
            with front.held("RunQuery", after=50) as reached:
                started = place.start()
                started.until(reached.is_set)
                own.stop(hard=True)
                if comes_back:
                    own.start()
            said = started.wait()
            assert said.code == 1, said.err
            assert ("Firestore does not answer" in said.error) != comes_back, said.err
            assert rows(place.content()) == rows(before)
            assert place.status()["status"] == "failed"
