"""A key range that holds nearly all documents is divided while it is read: an idle worker takes the second half of what is left."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from firelift.errors import Stopped
from firelift.files import write_sealed
from firelift.firestore.channel import Source
from firelift.firestore.query import root_range
from firelift.local.firestore_server.answers import DatabaseAnswers
from firelift.local.firestore_server.database import Scan
from firelift.local.firestore_server.generated import Collection, Generated, datastore_ids, numbered_ids
from firelift.local.firestore_server.rules.counting import CountRefused
from firelift.local.firestore_server.rules.partitions import PartitionPages, PartitionsRefused
from firelift.local.firestore_server.rules.streams import Distance, StreamsOf
from firelift.local.firestore_server.server import FirestoreServer, Rule
from firelift.paths import Selection, path_order
from firelift.phases.extraction import extract_collection
from firelift.receipts import RootCollection
from firelift.storage.archive import file_name, listed_ranges, ranges, read_chunk
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.storage.key_ranges import NAME
from firelift.workers import Workers
from tests.support.migrating import SOAK
from tests.support.prefect_servers import eventually

DOCUMENTS = 24_000
READ_TIME = "2026-01-01T00:00:00Z"


def no_fields(number: int) -> bytes:
    return b""


def beside(*collections: Collection) -> Generated:
    """The database with a root collection on either side."""
    return Generated([Collection("a", 5, no_fields), *collections, Collection("z", 5, no_fields)])


SHAPES = {
    "drawn ids": beside(Collection("users", DOCUMENTS, no_fields)),
    "ids with a long common beginning": beside(Collection("users", DOCUMENTS, no_fields, numbered_ids)),
    "below one document": beside(Collection("users", 3, no_fields, below=(Collection("posts", DOCUMENTS, no_fields, parents=1),))),
    "each with documents below": beside(
        Collection("users", DOCUMENTS // 4, no_fields, numbered_ids, below=(Collection("posts", 3, no_fields),))
    ),
}
NO_CUTS = PartitionPages(share=0)
RULES: dict[str, Sequence[Rule]] = {
    "counted": [NO_CUTS],
    "not counted": [NO_CUTS, CountRefused()],
    "cut by Firestore": [PartitionPages()],
    "streams that end": [NO_CUTS, StreamsOf(3000)],
}


@contextmanager
def one_range(database: Generated, rules: Sequence[Rule], directory: Path) -> Iterator[ExtractionInputs]:
    """The root collection `users`, cut into one range."""
    keys = root_range("users")
    count = None if any(isinstance(rule, CountRefused) for rule in rules) else len(wanted(database))
    root = RootCollection(collection="users", start=keys.start, end=keys.end, documents=count)
    whole = {"keys": {"start": keys.start, "end": keys.end}, "documents": count}
    (directory / file_name("users")).mkdir()
    write_sealed(directory / file_name("users") / NAME, json.dumps({"read_time": READ_TIME, "ranges": [whole]}))
    with FirestoreServer(DatabaseAnswers(database), rules) as server:
        yield ExtractionInputs(Source("p", emulator_host=server.address), root, directory, READ_TIME, Selection(), 500, 10**9)


def wanted(database: Generated) -> list[str]:
    return [row.path for row in database.scan(Scan(), None) if row.path.startswith("users/")]


def by_range(directory: Path) -> list[list[str]]:
    """The archived paths of each range, the ranges in the order of their keys."""
    parts = ranges(directory / file_name("users"))
    found = [[path for chunk in part.chunks() for path, _ in read_chunk(part.file(chunk))] for part in parts]
    return sorted(found, key=lambda paths: path_order(paths[0]))


# All of them in `make soak`.
TRIED_HERE = {
    ("drawn ids", "streams that end"),
    ("ids with a long common beginning", "counted"),
    ("below one document", "not counted"),
    ("below one document", "cut by Firestore"),
    ("each with documents below", "counted"),
}
TRIED = [
    pytest.param(SHAPES[shape], RULES[rules], id=f"{shape}, {rules}")
    for shape in SHAPES
    for rules in RULES
    if SOAK or (shape, rules) in TRIED_HERE
]


@pytest.mark.parametrize(("database", "rules"), TRIED)
def test_an_idle_worker_takes_a_half_of_what_is_left(database: Generated, rules: Sequence[Rule], tmp_path: Path) -> None:
    with one_range(database, rules, tmp_path) as inputs, Workers(2) as pool:
        done = extract_collection(pool, inputs, lambda *_: None)
    found = by_range(tmp_path)
    assert [path for paths in found for path in paths] == wanted(database)
    assert done.ranges == len(found) >= 2
    if done.counted is not None:
        # Nobody knows otherwise how little is left.
        assert min(map(len, found)) > 500
    assert done.documents == (done.scanned if done.counted is None else done.counted)


@pytest.mark.parametrize("rules", [RULES[rules] for rules in (RULES if SOAK else ["not counted"])])
def test_killed_after_it_was_divided_and_resumed_nothing_is_read_again_or_missing(rules: Sequence[Rule], tmp_path: Path) -> None:
    database, directory = SHAPES["drawn ids"], tmp_path / file_name("users")
    with one_range(database, [*rules, Distance(0, 20_000)], tmp_path) as inputs:
        with Workers(2) as pool:

            def kill() -> None:
                eventually(60, lambda: (directory / "0001.jsonl").exists() and (directory / "0001.jsonl").read_text())
                pool.stop()

            killer = threading.Thread(target=kill)
            killer.start()
            with pytest.raises(Stopped):
                extract_collection(pool, inputs, lambda *_: None)
            killer.join()
        before = {path: path.stat().st_ino for path in directory.glob("*.parquet")}
        listed = sum(len(part.chunks()) for part in listed_ranges(directory))
        with Workers(2) as pool:
            done = extract_collection(pool, inputs, lambda *_: None)
    assert 2 <= listed < done.chunks
    assert [path for paths in by_range(tmp_path) for path in paths] == wanted(database)
    assert sum(path.stat().st_ino == inode for path, inode in before.items()) >= listed


def test_what_is_left_of_few_documents_is_not_divided(tmp_path: Path) -> None:
    with one_range(beside(Collection("users", 9000, no_fields)), [PartitionPages()], tmp_path) as inputs, Workers(2) as pool:
        done = extract_collection(pool, inputs, lambda *_: None)
    assert (done.ranges, done.documents) == (1, 9000)


def test_where_there_is_no_middle_the_range_is_read_to_its_end(tmp_path: Path) -> None:
    """Ids that Datastore gave are numbers, which no two ids show a middle of."""
    database = beside(Collection("users", 20_000, no_fields, datastore_ids))
    with one_range(database, [NO_CUTS], tmp_path) as inputs, Workers(2) as pool:
        done = extract_collection(pool, inputs, lambda *_: None)
    assert (done.ranges, done.documents) == (1, 20_000)


def test_the_emulator_is_asked_for_one_stream(tmp_path: Path) -> None:
    """It has no cuts, and a query that begins in the middle takes it as long as one for everything."""
    with one_range(SHAPES["drawn ids"], [PartitionsRefused()], tmp_path) as inputs, Workers(2) as pool:
        done = extract_collection(pool, inputs, lambda *_: None)
    assert (done.ranges, done.documents) == (1, DOCUMENTS)
