"""Small root collections that lie side by side are counted, read and loaded together, and stay what each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.discovery import FEW, DiscoveredRoot, roots
from firelift.firestore.query import KeyRange, count, root_collection_ids, server_time
from firelift.local.postgres import PostgresServer
from firelift.local.writer import delete_documents
from firelift.paths import Selection
from firelift.phases.extraction import extract_collection
from firelift.phases.pre_validation import root_found, survey
from firelift.receipts import RootCollection
from firelift.storage.archive import file_name, listed_ranges, ranges
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.workers import Workers
from tests.support.differences import find, published
from tests.support.whole_way import Things, arrived, new_source, write

SIZES = {**{f"c{number:02}": 1 + number % 3 for number in range(30)}, "c04": 40, "c20": 25, "c20!": 8, "ä": 5, "🦊": 2}
DOCUMENTS: Things = {
    **{f"{name}/{number}": {"n": number} for name, size in SIZES.items() for number in range(size)},
    **{f"c07/missing/below/{number}": {"n": number} for number in range(6)},
}


@pytest.fixture(scope="module")
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, DOCUMENTS)
        yield source


def discovered(source: Source, together: int, selection: Selection | None = None) -> tuple[list[DiscoveredRoot], int, int]:
    """The roots, how many COUNTs they took, and how many documents there are."""
    with closing(open_firestore(source)) as firestore:
        moment, asked = server_time(firestore), []
        ask = firestore.collect

        def heard(method: str, request: bytes, *how: Any, **more: Any) -> list[bytes]:
            asked.append(method)
            return ask(method, request, *how, **more)

        firestore.collect = heard  # type: ignore[method-assign]
        ids = root_collection_ids(firestore, moment)
        assert ids == sorted(SIZES, key=str.encode)
        found = roots(firestore, ids, moment, together, (selection or Selection()).may_take_below)
        return found, asked.count("RunAggregationQuery"), _whole(firestore, moment)


def _whole(firestore: Firestore, moment: str) -> int:
    return count(firestore, KeyRange(), moment)


@pytest.mark.parametrize("together", [0, 3, 10, 30, 60, 10_000])
def test_the_ranges_tile_the_database_and_none_of_several_collections_is_large(source: Source, together: int) -> None:
    found, _, whole = discovered(source, together)
    assert [name for root in found for name in (root.collection_id, *root.beside)] == sorted(SIZES, key=str.encode)
    sizes = [root.documents or 0 for root in found]
    assert sum(sizes) == whole == len(DOCUMENTS)
    assert (found[0].keys.start, found[-1].keys.end) == (None, None)
    assert all(before.keys.end == after.keys.start for before, after in pairwise(found))
    assert all(size <= together for size, root in zip(sizes, found, strict=True) if root.beside)
    # No two neighbours would still have fitted.
    assert all(before + after > together for before, after in pairwise(sizes))
    for root in found:
        expected = root_found(root).expected()
        assert not expected or sum(expected.values()) == root.documents


def test_many_small_collections_take_one_count(source: Source) -> None:
    found, counts, _ = discovered(source, 10_000)
    assert (len(found), counts) == (1, 1)
    assert root_found(found[0]).label == f"c00 … 🦊 ({len(SIZES)} collections)"


def test_few_collections_are_counted_each_and_many_large_ones_hardly_more_than_once(source: Source) -> None:
    few, counts, _ = discovered(source, 10_000, Selection(["c0[0-4]"]))
    assert [(root.collection_id, root.beside, root.each) for root in few] == [("c00", ("c01", "c02", "c03", "c04"), (1, 2, 3, 1, 40))]
    assert counts == 5 <= FEW
    _, counts, _ = discovered(source, 0)
    assert counts <= 2 * len(SIZES)


def test_what_is_not_chosen_is_neither_counted_nor_between_what_is_read_together(source: Source) -> None:
    found, _, _ = discovered(source, 10_000, Selection([], ["c1*", "c04"]))
    assert [root.collection_id for root in found] == ["c00", "c05", "c20"]
    assert [root.documents for root in found] == [7, 10 + 6, sum(SIZES[name] for name in SIZES if name > "c2")]


def test_together_they_arrive_as_each_by_itself_would(source: Source, postgres: PostgresServer, tmp_path: Path) -> None:
    things = {path: {"n": 1, "other": f"{path[:3]}/0"} for path in DOCUMENTS}
    assert source.emulator_host
    with arrived(source.emulator_host, postgres, tmp_path, things, max_workers=2, batch_size=20, together=60) as arrival:
        arrival.check()
        assert len(arrival.validated.roots) == 3
        assert {name: counts.rows for name, counts in arrival.counts.items()} == {**SIZES, "c07/*/below": 6}


def extracted(pool: Workers, source: Source, root: RootCollection, archive: Path, read_time: str, most: int = 1000) -> dict[str, int]:
    """The documents by root collection that progress was heard of, which breaks off behind the first `most`."""
    heard: dict[str, int] = {}

    def progress(name: str, documents: int, size: int) -> None:
        heard[name] = heard.get(name, 0) + documents
        if sum(heard.values()) > most:
            raise InterruptedError

    inputs = ExtractionInputs(source, root, archive, read_time, Selection(), 10, 500_000)
    found = extract_collection(pool, inputs, progress)
    assert {name: counts["documents"] for name, counts in found.counts().items()} == heard
    assert found.documents == root.documents
    return heard


def test_reading_goes_on_behind_the_last_chunk_and_counts_each_collection(source: Source, tmp_path: Path) -> None:
    snapshot = survey(source, "now", Selection(), 10_000, print)
    root = root_found(snapshot.roots[0])
    with Workers(1) as pool, pytest.raises(InterruptedError):
        extracted(pool, source, root, tmp_path, snapshot.read_time, most=25)
    standing = [chunk for part in listed_ranges(tmp_path / file_name("c00")) for chunk in part.chunks()]
    assert standing
    with Workers(1) as pool:
        heard = extracted(pool, source, root, tmp_path, snapshot.read_time)
    assert heard == {**SIZES, "c07": SIZES["c07"] + 6}
    chunks = [chunk for part in ranges(tmp_path / file_name("c00")) for chunk in part.chunks()]
    assert chunks[: len(standing)] == standing
    assert sum(chunk.documents for chunk in chunks) == len(DOCUMENTS)


def test_an_increment_finds_what_differs_in_each_of_them(emulator_host: str, database_url: str, tmp_path: Path) -> None:
    with new_source(emulator_host) as source:
        write(source, {f"{name}/{number}": {"n": number} for name in "abcd" for number in range(4)})
        there = published(source, database_url)
        write(source, {"a/1": {"n": -1}, "b/new": {"n": 9}, "bb/1": {"n": 1}, "bb/1/below/1": {"n": 1}})
        delete_documents(emulator_host, source.name, ["c/2", *(f"d/{number}" for number in range(4))])
        found = find(there, tmp_path, "a", together=100)
        assert found.extracted.collections == ("a", "b", "bb", "c")
        assert found.counts() == {"a": (4, 0, 1, 0), "b": (5, 1, 0, 0), "bb": (1, 1, 0, 0), "bb/*/below": (1, 1, 0, 0), "c": (3, 0, 0, 1)}
        assert list(found.documents) == ["a/1", "b/new", "bb/1", "bb/1/below/1"]
        assert found.deleted == {"c": [("2",)]}
        assert {name: counts["documents"] for name, counts in found.extracted.counts().items()} == {"a": 1, "b": 1, "bb": 2, "c": 0}
        assert found.heard == (14, found.extracted.bytes)
