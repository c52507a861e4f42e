"""Root collections that have tables and no document any more."""

from __future__ import annotations

from firelift.firestore.query import root_range
from firelift.modes.incremental.baseline import dropped_roots
from firelift.paths import Selection


def test_those_side_by_side_are_looked_at_together_and_none_reaches_into_what_is_there() -> None:
    tables = ["a", "b", "b/*/below", "c", "e", "f", "g"]
    found = dropped_roots([], ["c", "d"], tables, Selection([], ["f"]))
    assert [root.collections for root in found] == [("a", "b"), ("e", "g")]
    assert [(root.start, root.end) for root in found] == [(root_range("a").start, root_range("c").start), (root_range("e").start, None)]
    assert [root.expected() for root in found] == [{"a": 0, "b": 0}, {"e": 0, "g": 0}]


def test_where_there_is_nothing_and_never_was_nothing_has_vanished() -> None:
    assert dropped_roots([], [], [], Selection()) == []
