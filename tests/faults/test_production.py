"""What is to be expected of the real Firestore, and of no emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from firelift.archive import file_name, ranges, read_chunk
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.discovery import key_ranges
from firelift.firestore.places import places
from firelift.paths import Selection, path_order
from firelift.phases.extraction import extract_collection
from firelift.phases.pre_validation import survey
from firelift.receipts import Extracted, RootFound
from firelift.workers import Workers
from tests.faults.gateway import Gateway, gateway
from tests.faults.production import Bent, partitions, refusing
from tests.integration.way import new_source, write

USERS = 1500
NUMBERED = ["__id-3__", "__id7__", "__id10__"]


@pytest.fixture(scope="module")
def source(emulator_host: str) -> Iterator[Source]:
    """1500 users, some numbered by Datastore, some with documents beneath them, and a collection of the same name elsewhere."""
    with new_source(emulator_host) as source:
        ids = [*NUMBERED, *(f"{number:05}" for number in range(USERS - len(NUMBERED) - 1)), "ä"]
        below = [f"users/{name}/orders/1" for name in ids[::100]]
        write(source, {path: {} for path in [*(f"users/{name}" for name in ids), *below, "orgs/a/users/b", "orgs/z"]})
        yield source


@contextmanager
def production(source: Source, bend: Bent = lambda _, cursors: cursors) -> Iterator[tuple[Gateway, Source]]:
    assert source.emulator_host
    with gateway(source.emulator_host, {"PartitionQuery": partitions(source.emulator_host, bend)}) as through:
        yield through, replace(source, emulator_host=through.address)


def extract(source: Source, root: str, archive: Path, *, range_documents: int = 300) -> tuple[Extracted, list[str]]:
    """What was said of the root collection's extraction, and the paths in its archive."""
    snapshot = survey(source, "now", print)
    found = next(each for each in snapshot.roots if each.collection_id == root)
    told = RootFound(collection=root, start=found.keys.start, end=found.keys.end, documents=found.documents)
    with Workers(2) as pool:
        done = extract_collection(pool, source, told, archive, snapshot.read_time, Selection(), 200, range_documents, lambda *_: None)
    parts = ranges(archive / file_name(root))
    return done, [path for part in parts for chunk in part.chunks() for path, _ in read_chunk(part.path(chunk))]


def outside(parent: str, cursors: list[str]) -> list[str]:
    strange = [f"{parent}/orgs/a/users/b", f"{parent}/users/__id-9223372036854775808__", f"{parent}/zebras/1"]
    return [*cursors, *strange, "projects/another/databases/(default)/documents/users/00100"]


BENT: dict[str, Bent] = {
    "right": lambda _, cursors: cursors,
    "twice": lambda _, cursors: cursors * 2,
    "outside the range too": outside,
    "fewer than asked for": lambda _, cursors: cursors[:1],
    "none": lambda *_: [],
    "below documents": lambda parent, cursors: [*cursors, f"{parent}/users/00096/orders/1"],
}


@pytest.mark.parametrize("bend", BENT.values(), ids=BENT)
def test_a_collection_is_cut_in_key_order_wherever_and_in_whichever_order_firestore_cuts(source: Source, bend: Bent) -> None:
    with production(source, bend) as (_, through):
        firestore = open_firestore(through)
        snapshot = survey(through, "now", print)
        root = next(each for each in snapshot.roots if each.collection_id == "users")
        for cut in (key_ranges, places):
            found = cut(firestore, root, 8, snapshot.read_time)
            assert [found[0].start, found[-1].end] == [root.keys.start, root.keys.end]
            assert [keys.end for keys in found[:-1]] == [keys.start for keys in found[1:]]
            edges = [path_order(keys.start) for keys in found[1:] if keys.start is not None]
            assert all(one < other for one, other in pairwise(edges))
        firestore.close()


def test_a_large_collection_arrives_whole_though_firestores_cuts_come_in_no_order(source: Source, tmp_path: Path) -> None:
    with production(source) as (_, through):
        done, paths = extract(through, "users", tmp_path)
    assert done.ranges > 4
    assert done.documents == len(paths) == len({*paths})
    assert paths == sorted(paths, key=path_order)
    assert sum(path.count("/") == 1 for path in paths) == USERS


def test_a_collection_that_firestore_refuses_to_cut_is_cut_by_its_counts(source: Source) -> None:
    assert source.emulator_host
    with gateway(source.emulator_host, {"PartitionQuery": refusing(grpc.StatusCode.INVALID_ARGUMENT)}) as gate:
        through = replace(source, emulator_host=gate.address)
        snapshot = survey(through, "now", print)
        firestore = open_firestore(through)
        assert len(key_ranges(firestore, next(each for each in snapshot.roots if each.collection_id == "users"), 3, snapshot.read_time)) > 1
        firestore.close()
