"""How much room in the working directory a run asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from firelift.firestore.discovery import DiscoveredRoot
from firelift.firestore.query import root_range
from firelift.paths import Selection
from firelift.phases.pre_validation import InsufficientDiskSpace, Snapshot, validate
from firelift.planning.mapping import Mapping

HUGE = Snapshot("2026-11-23T03:00:00Z", [DiscoveredRoot("users", root_range("users"), 10**15)])


def test_what_is_migrated_whole_must_have_room(tmp_path: Path) -> None:
    with pytest.raises(InsufficientDiskSpace):
        validate(HUGE, Selection(), "snake_case", Mapping(), tmp_path, None, ("teams", "teams/*/users"))


def test_of_a_collection_that_has_a_table_there_is_only_the_difference(tmp_path: Path) -> None:
    assert validate(HUGE, Selection(), "snake_case", Mapping(), tmp_path, None, ("users/*/orders",)).documents == 10**15
