"""A sample of a database: little of each collection, spread, with what it needs, and few reads for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firelift.firestore.channel import Source
from firelift.local.writer import Reference
from firelift.modes.test.draw_sample import SampleInputs
from firelift.modes.test.sample import MOST, sample_database
from firelift.paths import Selection, collection_of, path_order
from firelift.phases.pre_validation import root_found, survey
from firelift.receipts import CollectionSampled, Sampled
from firelift.settings.small_collections import SMALL
from firelift.storage.archive import file_name, ranges, read_chunk
from firelift.workers import Workers
from tests.support.whole_way import Things, new_source, write

SIZE = 5


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2) as pool:
        yield pool


@pytest.fixture
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        yield source


class Drawn:
    """A sample, and the paths of its documents as they lie in the archive."""

    def __init__(self, sampled: Sampled, archive: Path) -> None:
        self.sampled = sampled
        self.paths = [path for part in sampled.parts for path in self._below(archive / file_name(part.collection))]

    @staticmethod
    def _below(directory: Path) -> Iterator[str]:
        for part in ranges(directory):
            for chunk in part.chunks():
                yield from (path for path, _ in read_chunk(part.file(chunk)))

    def of(self, collection: str) -> list[str]:
        return [path for path in self.paths if collection_of(path) == collection]

    def told(self, collection: str) -> CollectionSampled:
        return next(sampled for sampled in self.sampled.collections if sampled.collection == collection)


def drawn(
    workers: Workers, source: Source, run: Path, documents: Things, *, size: int = SIZE, seed: str = "s", selection: Selection | None = None
) -> Drawn:
    """Writes the documents, if any, and draws."""
    write(source, documents)
    selection = selection or Selection()
    found = survey(source, "now", selection, SMALL * size, print)
    roots = [root_found(root) for root in found.roots]
    sampled = sample_database(workers, SampleInputs(source, found.read_time, selection, size, seed, 50), roots, run)
    return Drawn(sampled, run / "archive")


def at(source: Source, path: str) -> Reference:
    return Reference(f"{source.root}/{path}")


def test_a_small_collection_is_drawn_from_and_a_smaller_one_taken_whole(workers: Workers, source: Source, tmp_path: Path) -> None:
    found = drawn(workers, source, tmp_path, {f"a/{n:02}": {"n": n} for n in range(40)} | {f"b/{n}": {} for n in range(3)})
    assert (len(found.of("a")), found.of("b")) == (SIZE, ["b/0", "b/1", "b/2"])
    assert found.of("a") == sorted(found.of("a"))
    assert (found.told("a").documents, found.told("a").exact, found.told("a").drawn) == (40, True, SIZE)
    assert found.sampled.reads == 43


def test_the_same_seed_draws_the_same_sample_and_another_one_another(workers: Workers, source: Source, tmp_path: Path) -> None:
    first = drawn(workers, source, tmp_path, {f"a/{n:02}": {} for n in range(90)}, seed="one")
    again = drawn(workers, source, tmp_path, {}, seed="one")
    other = drawn(workers, source, tmp_path, {}, seed="other")
    assert first.paths == again.paths != other.paths


def test_each_depth_is_a_collection_of_its_own_and_brings_its_parents(workers: Workers, source: Source, tmp_path: Path) -> None:
    documents: Things = {f"users/{n:02}": {} for n in range(30)} | {f"users/{n:02}/orders/{o}": {} for n in range(30) for o in range(2)}
    found = drawn(workers, source, tmp_path, documents)
    orders = found.of("users/*/orders")
    assert len(orders) == SIZE
    assert {path.rsplit("/", 2)[0] for path in orders} <= set(found.of("users"))
    assert found.told("users").drawn == SIZE
    assert found.told("users").needed == len(found.of("users")) - SIZE


def test_a_parent_that_does_not_exist_is_looked_for_and_left_alone(workers: Workers, source: Source, tmp_path: Path) -> None:
    found = drawn(workers, source, tmp_path, {"ghosts/x/notes/1": {"n": 1}, "ghosts/x/notes/2": {"n": 2}, "other/y": {}})
    assert found.paths == ["ghosts/x/notes/1", "ghosts/x/notes/2", "other/y"]
    assert (found.told("ghosts").absent, found.told("ghosts").drawn, found.told("ghosts").left_out) == (1, 0, 0)


def test_references_are_followed_into_other_collections_and_on(workers: Workers, source: Source, tmp_path: Path) -> None:
    cities: Things = {f"cities/{n:03}": {"country": at(source, f"countries/{n:03}")} for n in range(90)}
    countries: Things = {f"countries/{n:03}": {} for n in range(90)}
    people: Things = {f"people/{n:02}": {"city": at(source, f"cities/{n:03}"), "gone": at(source, "cities/nowhere")} for n in range(90)}
    found = drawn(workers, source, tmp_path, {**cities, **countries, **people})
    drawn_people = {f"cities/0{path[-2:]}" for path in found.of("people")}
    assert drawn_people <= set(found.of("cities"))
    assert {path.replace("cities", "countries") for path in found.of("cities")} <= set(found.of("countries"))
    assert (len(found.of("people")), found.told("cities").absent) == (SIZE, 1)


def test_what_is_needed_has_an_end_and_what_is_left_out_is_counted(workers: Workers, source: Source, tmp_path: Path) -> None:
    chain = {f"a/{n:03}": {"next": at(source, f"a/{n + 1:03}")} for n in range(99)}
    found = drawn(workers, source, tmp_path, chain | {"a/099": {}}, size=2)
    told = found.told("a")
    assert told.drawn + told.needed == len(found.of("a")) <= MOST * 2
    assert told.left_out > 0 or "a/099" in found.paths


def test_what_the_patterns_leave_out_is_neither_drawn_nor_followed(workers: Workers, source: Source, tmp_path: Path) -> None:
    documents: Things = {"a/1": {"to": at(source, "b/1")}, "a/1/secret/1": {}, "b/1": {}}
    found = drawn(workers, source, tmp_path, documents, selection=Selection(exclude=["b", "a/*/secret"]))
    assert found.paths == ["a/1"]
    assert (found.sampled.parts[0].skipped, found.sampled.reads) == (1, 2)


def test_a_large_collection_is_looked_into_at_places_and_costs_no_more_than_they_do(
    workers: Workers, source: Source, tmp_path: Path
) -> None:
    many = 900
    documents = {f"big/{n * 7919 % 10_000:04}": {"n": n} for n in range(many)}
    beneath = {f"{path}/logs/{n}": {"n": n} for path in list(documents)[:300] for n in range(3)}
    found = drawn(workers, source, tmp_path, {**documents, **beneath})
    own, logs = found.of("big"), found.told("big/*/logs")
    assert found.told("big").drawn == SIZE
    assert len(found.of("big/*/logs")) == SIZE
    assert found.sampled.reads <= (SMALL + 1) * SIZE + 40 + MOST * SIZE
    assert (found.told("big").documents, found.told("big").exact) == (many, True)
    assert (logs.documents, logs.exact) == (900, False)
    assert found.sampled.counted == many
    assert len({path[4] for path in own}) > 1


@pytest.mark.parametrize("shape", ["user_{:05}", "{}", "u{:032x}"])
def test_a_large_collection_is_sampled_from_end_to_end(workers: Workers, source: Source, tmp_path: Path, shape: str) -> None:
    step = 2**122 if "x" in shape else 1
    ids = [shape.format(n * step // 600 if step > 1 else n) for n in range(600)]
    found = drawn(workers, source, tmp_path, {f"big/{name}": {} for name in ids}, size=20)
    rank = {name: place for place, name in enumerate(sorted(ids))}
    thirds = {rank[path.split("/")[1]] // 200 for path in found.of("big")}
    assert thirds == {0, 1, 2}
    assert found.sampled.reads <= (SMALL + 1) * 20 + 20


def test_an_attempt_that_died_leaves_nothing_of_its_own_in_the_sample(workers: Workers, source: Source, tmp_path: Path) -> None:
    drawn(workers, source, tmp_path, {f"a/{n}": {} for n in range(20)}, size=10)
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "a.parquet").write_bytes(b"half")
    found = drawn(workers, source, tmp_path, {}, size=3)
    assert len(found.of("a")) == 3
    assert not (tmp_path / "sample").exists()


def test_an_empty_database_gives_an_empty_sample(workers: Workers, source: Source, tmp_path: Path) -> None:
    assert drawn(workers, source, tmp_path, {}).sampled.parts == ()


def test_documents_lie_in_the_archive_in_firestores_order(workers: Workers, source: Source, tmp_path: Path) -> None:
    ids = ["__id7__", "__id-5__", "__id10__", "B", "a", "é", "𝄞", "10", "9"]
    found = drawn(workers, source, tmp_path, {f"a/{name}": {} for name in ids}, size=20)
    assert found.paths == [f"a/{name}" for name in ("__id-5__", "__id7__", "__id10__", "10", "9", "B", "a", "é", "𝄞")]


def test_keys_are_ordered_segment_by_segment() -> None:
    paths = ["a/b", "a/b/c/d", "a/b!/c/d", "a/b!", "a!/b"]
    assert sorted(paths, key=path_order) == ["a/b", "a/b/c/d", "a/b!", "a/b!/c/d", "a!/b"]
