"""What is to be expected of the real Firestore, and of no emulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import grpc
import pytest

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.discovery import key_ranges
from firelift.firestore.errors import FirestoreDenied, ScansDiffer
from firelift.firestore.split_points import places
from firelift.local.firestore_server.answers import DatabaseAnswers
from firelift.local.firestore_server.calls import Answer as Answers
from firelift.local.firestore_server.calls import Call, Responses
from firelift.local.firestore_server.database import Scan
from firelift.local.firestore_server.generated import Collection, Generated
from firelift.local.firestore_server.rules.counting import CountLimit, CountRefused
from firelift.local.firestore_server.rules.partitions import PartitionPages
from firelift.local.firestore_server.server import FirestoreServer, Rule
from firelift.modes.test.draw_sample import SampleInputs
from firelift.modes.test.sample import sample_database
from firelift.paths import Selection, path_order
from firelift.phases.extraction import extract_collection
from firelift.phases.pre_validation import survey
from firelift.receipts import Completeness, Extracted, RootCollection
from firelift.storage.archive import file_name, ranges, read_chunk
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.workers import Workers
from tests.support.gateway import Answer, gateway
from tests.support.production_rules import Bent, partitions, refusing, without
from tests.support.whole_way import new_source, write

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
def production(source: Source, bend: Bent = lambda _, cursors: cursors, **answers: Answer) -> Iterator[Source]:
    """The same database as production may serve it; `answers` by method."""
    assert source.emulator_host
    with gateway(source.emulator_host, {"PartitionQuery": partitions(source.emulator_host, bend), **answers}) as through:
        yield replace(source, emulator_host=through.address)


def extract(
    source: Source, root: str, archive: Path, *, selection: Selection | None = None, read_time: str = "now"
) -> tuple[Extracted, list[str]]:
    """What was said of the root collection's extraction, and the paths in its archive."""
    snapshot = survey(source, read_time, Selection(), 0, print)
    found = next(each for each in snapshot.roots if each.collection_id == root)
    told = RootCollection(collection=root, start=found.keys.start, end=found.keys.end, documents=found.documents)
    inputs = ExtractionInputs(source, told, archive, snapshot.read_time, selection or Selection(), 200, 300)
    with Workers(2) as pool:
        done = extract_collection(pool, inputs, lambda *_: None)
    parts = ranges(archive / file_name(root))
    return done, [path for part in parts for chunk in part.chunks() for path, _ in read_chunk(part.file(chunk))]


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
    with production(source, bend) as through:
        firestore = open_firestore(through)
        snapshot = survey(through, "now", Selection(), 0, print)
        root = next(each for each in snapshot.roots if each.collection_id == "users")
        for cut in (key_ranges, places):
            found = cut(firestore, root, 8, snapshot.read_time)
            assert [found[0].start, found[-1].end] == [root.keys.start, root.keys.end]
            assert [keys.end for keys in found[:-1]] == [keys.start for keys in found[1:]]
            edges = [path_order(keys.start) for keys in found[1:] if keys.start is not None]
            assert all(one < other for one, other in pairwise(edges))
        firestore.close()


def test_a_large_collection_arrives_whole_though_firestores_cuts_come_in_no_order(source: Source, tmp_path: Path) -> None:
    with production(source) as through:
        done, paths = extract(through, "users", tmp_path)
    assert done.ranges > 4
    assert done.documents == len(paths) == len({*paths})
    assert paths == sorted(paths, key=path_order)
    assert sum(path.count("/") == 1 for path in paths) == USERS


class Asked:
    """Hears what is asked by one method."""

    documented: ClassVar[str] = "none: it changes nothing"

    def __init__(self, method: str) -> None:
        self.method = method
        self.requests: list[bytes] = []

    def around(self, call: Call, answer: Answers) -> Responses:
        if call.method == self.method:
            self.requests.append(call.body)
        return answer(call)


def no_fields(number: int) -> bytes:
    return b""


@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
def test_most_documents_below_few_parents_are_cut_into_ranges_of_about_the_same_size(counts: bool, tmp_path: Path) -> None:
    events = Collection("events", 500, no_fields, below=(Collection("notes", 1, no_fields, parents=10),))
    database = Generated(
        [Collection("orgs", 5, no_fields), Collection("tenants", 3, no_fields, below=(events,)), Collection("users", 9, no_fields)]
    )
    rules: list[Rule] = [PartitionPages(), *([] if counts else [CountRefused()])]
    with FirestoreServer(DatabaseAnswers(database), rules) as server:
        done, paths = extract(Source("p", emulator_host=server.address), "tenants", tmp_path)
    assert paths == [row.path for row in database.scan(Scan(), None) if row.path.startswith("tenants/")]
    sizes = [sum(chunk.documents for chunk in part.chunks()) for part in ranges(tmp_path / file_name("tenants"))]
    assert sum(sizes) == done.documents == 3 * (1 + 500 + 10)
    assert len(sizes) >= 4
    assert max(sizes) < 2 * done.documents / 4


def test_what_takes_too_long_to_count_at_once_is_counted_in_parts_and_not_scanned_again(tmp_path: Path) -> None:
    database = Generated([Collection("orgs", 5, no_fields), Collection("users", 1000, no_fields)])
    asked = Asked("RunAggregationQuery")
    with FirestoreServer(DatabaseAnswers(database), [asked, CountLimit(400, seconds=0.2), PartitionPages()]) as server:
        done, paths = extract(Source("p", emulator_host=server.address), "users", tmp_path)
    assert len(asked.requests) == len({*asked.requests}), "what took too long was tried again"
    assert len(paths) == 1000
    assert (done.counted, done.scanned) == (1000, None)
    assert Completeness.of([done]).in_words == "Firestore's COUNT (1,000 of 1,000 documents)"


def test_ranges_that_are_small_are_read_with_their_neighbours(tmp_path: Path) -> None:
    below = tuple(Collection(f"below{number}", 100, no_fields) for number in range(4))
    database = Generated([Collection("users", 8, no_fields, below=below)])
    with FirestoreServer(DatabaseAnswers(database), [PartitionPages()]) as server:
        done, _ = extract(Source("p", emulator_host=server.address), "users", tmp_path)
    assert done.documents == 8 * 401
    # Each of five collections is cut into eight.
    assert done.ranges <= 16


def test_a_collection_that_firestore_refuses_to_cut_is_cut_by_its_counts(source: Source) -> None:
    with production(source, PartitionQuery=refusing(grpc.StatusCode.INVALID_ARGUMENT)) as through:
        snapshot = survey(through, "now", Selection(), 0, print)
        firestore = open_firestore(through)
        assert len(key_ranges(firestore, next(each for each in snapshot.roots if each.collection_id == "users"), 3, snapshot.read_time)) > 1
        firestore.close()


REFUSED = [
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
]


@pytest.mark.parametrize("code", REFUSED, ids=lambda code: code.name)
def test_a_database_that_firestore_does_not_count_is_found_all_the_same(source: Source, code: grpc.StatusCode) -> None:
    with production(source, RunAggregationQuery=refusing(code)) as through:
        snapshot = survey(through, "now", Selection(), 0, print)
    assert [(root.documents, code.name in root.why_uncounted) for root in snapshot.roots] == [(None, True)] * 2


def test_where_firestore_does_not_count_a_second_scan_of_keys_shows_that_nothing_is_missing(source: Source, tmp_path: Path) -> None:
    with production(source, RunAggregationQuery=refusing(grpc.StatusCode.INVALID_ARGUMENT)) as through:
        done, paths = extract(through, "users", tmp_path, selection=Selection(exclude=["users/*/orders"]))
    assert len(paths) == USERS == done.documents
    assert (done.counted, done.scanned) == (None, USERS + done.skipped)
    assert done.skipped > 0
    assert done.ranges > 4
    assert done.breaks == ()
    assert Completeness.of([done]).in_words == f"a second scan of keys ({done.scanned:,} of {done.scanned:,} documents)"


def test_a_document_that_the_stream_lost_is_found_by_the_second_scan_and_its_range_is_read_again(source: Source, tmp_path: Path) -> None:
    lost = "users/00700"
    assert source.emulator_host
    refused = refusing(grpc.StatusCode.UNIMPLEMENTED)
    with production(source, RunAggregationQuery=refused, RunQuery=without(source.emulator_host, lost)) as through:
        moment = survey(through, "now", Selection(), 0, print).read_time
        with pytest.raises(ScansDiffer, match="found again: users/00700"):
            extract(through, "users", tmp_path, read_time=moment)
    with production(source, RunAggregationQuery=refused) as through:
        done, paths = extract(through, "users", tmp_path, read_time=moment)
    assert lost in paths
    assert done.documents == len(paths)


def test_an_account_that_may_not_read_is_told_so_although_counting_may_fail(source: Source) -> None:
    denied = refusing(grpc.StatusCode.PERMISSION_DENIED)
    with production(source, RunAggregationQuery=denied, RunQuery=denied) as through, pytest.raises(FirestoreDenied):
        survey(through, "now", Selection(), 0, print)


def test_a_sample_of_what_firestore_does_not_count_makes_up_no_number(source: Source, tmp_path: Path) -> None:
    (tmp_path / "archive").mkdir()
    with production(source, RunAggregationQuery=refusing(grpc.StatusCode.INVALID_ARGUMENT)) as through, Workers(1) as pool:
        snapshot = survey(through, "now", Selection(), 0, print)
        roots = [RootCollection(collection=r.collection_id, start=r.keys.start, end=r.keys.end, documents=None) for r in snapshot.roots]
        sampled = sample_database(pool, SampleInputs(through, snapshot.read_time, Selection(), 5, "s", 100), roots, tmp_path)
    told = {each.collection: (each.documents, each.exact) for each in sampled.collections}
    unknown = (None, False)
    assert told == {"orgs": (1, True), "orgs/*/users": (1, True), "users": unknown, "users/*/orders": unknown}
