"""Where a collection is looked into, as its ids look."""

from __future__ import annotations

import pytest

from firelift.firestore.split_points import between


def test_ids_with_a_common_beginning_are_cut_behind_it() -> None:
    assert between(["user_0000", "user_0999", "user_0123456789"], 5) == ["user_0199800", "user_0399600", "user_0599400", "user_0799200"]


@pytest.mark.parametrize(
    "ids", [[], ["a"], ["a", "a"], ["__id5__", "__id7__"], ["b", "a"], ["", "ä", "ö"], ["x" * 1500, "y" * 1500]], ids=str
)
def test_cuts_rise_and_lie_between_the_ids(ids: list[str]) -> None:
    found = between(ids, 20)
    assert found == sorted(set(found))
    assert all(min(ids) < name <= max(ids) for name in found)
