"""Connections that break, stall, crawl or go deaf, and servers that restart in mid-run: the target comes out right, or stays as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from firelift.local.postgres import PostgresServer
from tests.acceptance.operator import Said
from tests.faults.migrating import Content, Ground, Place, Undisturbed, differences
from tests.faults.proxy import Proxy, Strike, proxy

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


ON_THE_WAY_TO_POSTGRES = [
    *((point, Strike("cut", at=words)) for point, words in POINTS.items()),
    *((point, Strike("half_open", at=words)) for point, words in POINTS.items()),
    *((f"{point} answered", Strike("cut", at=words, answered=True)) for point, words in POINTS.items() if "commit" in point),
    *((f"{point} answered", Strike("half_open", at=words, answered=True)) for point, words in POINTS.items() if "commit" in point),
    ("all at a chunk", Strike("cut", at=POINTS["chunk"], everywhere=True)),
    ("all at publishing", Strike("half_open", at=POINTS["publishing"], everywhere=True)),
    ("chunk", Strike("stall", at=POINTS["chunk"], everywhere=True)),
    ("chunk", Strike("slow", at=POINTS["chunk"], everywhere=True)),
    ("publishing", Strike("stall", at=POINTS["publishing"], everywhere=True)),
    ("every chunk", Strike("cut", at=POINTS["chunk"], times=8)),
    ("chunk, for a time that is longer than patience", Strike("refuse", at=POINTS["chunk"], everywhere=True, seconds=30)),
]


@pytest.mark.parametrize(("point", "strike"), [pytest.param(*case, id=f"{case[1].fault} {case[0]}") for case in ON_THE_WAY_TO_POSTGRES])
def test_a_fault_on_the_way_to_postgres(place: Place, ground: Ground, undisturbed: Undisturbed, point: str, strike: Strike) -> None:
    before = place.content()
    with proxy(server_of(ground.postgres), strike) as front:
        said = place.with_(SUPABASE_DB_URL=through(front, place.url)).migrate()
        assert front.struck, "the run never came to it"
    came_out_right(place, said, before, undisturbed)
