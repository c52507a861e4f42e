"""The sample of a verification is random, can be drawn again, and reaches over all keys of a table."""

from __future__ import annotations

import pytest

from firelift.verification.random_sample import draw

STORED = [500, 0, 1, 250, 249, 1000]
TOTAL = sum(STORED)


def places(seed: str, wanted: int | None, stored: list[int] = STORED) -> list[int]:
    """Where each document drawn stands among all of its collection."""
    drawn = draw("users", stored, wanted, seed)
    before = [sum(stored[:chunk]) for chunk in range(len(stored))]
    return sorted(
        before[chunk] + place for chunk, listed in drawn.items() for place in (range(stored[chunk]) if listed is None else listed)
    )


@pytest.mark.parametrize("wanted", [1, 10, 100, TOTAL - 1])
def test_as_many_are_drawn_as_are_wanted_and_none_twice(wanted: int) -> None:
    drawn = places("seed", wanted)
    assert len(drawn) == len(set(drawn)) == wanted
    assert 0 <= drawn[0] <= drawn[-1] < TOTAL


def test_one_seed_draws_the_same_and_another_one_others() -> None:
    assert places("a", 100) == places("a", 100)
    assert len({tuple(places(str(seed), 100)) for seed in range(20)}) == 20


def test_every_part_of_the_key_range_has_its_share() -> None:
    for seed in range(20):
        drawn = places(str(seed), 100)
        assert all(part * TOTAL // 100 <= place < (part + 1) * TOTAL // 100 for part, place in enumerate(drawn))


def test_every_document_has_its_chance() -> None:
    assert {place for seed in range(400) for place in places(str(seed), 10, [7, 13])} == set(range(20))


@pytest.mark.parametrize("wanted", [None, TOTAL, TOTAL + 1])
def test_a_small_table_is_taken_whole(wanted: int | None) -> None:
    assert draw("users", STORED, wanted, "seed") == {0: None, 2: None, 3: None, 4: None, 5: None}
    assert places("seed", wanted) == list(range(TOTAL))


def test_a_collection_without_stored_documents_has_no_sample() -> None:
    assert draw("users", [0, 0], 10, "seed") == {}
    assert draw("users", [], None, "seed") == {}
