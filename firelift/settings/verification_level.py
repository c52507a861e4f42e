"""The three verification levels: how much is compared, and how many times the target is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from firelift.settings.types import LevelName


@dataclass(frozen=True)
class Level:
    """One level. Every number is per table."""

    name: LevelName
    documents: int | None
    """Documents that are compared; None: all."""
    rereads: int = 0
    """Documents that are read from Firestore again."""
    lookups: int = 0
    """Key lookups whose time is measured."""
    counts: int = 0
    """Counts whose time is measured."""
    scans: int = 0
    """Range scans and joins whose time is measured."""

    def includes(self, name: LevelName) -> bool:
        """Whether what the level of this name asks is asked at this level too."""
        return _ORDER.index(name) <= _ORDER.index(self.name)


_ORDER: Final[tuple[LevelName, ...]] = get_args(LevelName)
LEVELS: Final[Mapping[LevelName, Level]] = {
    level.name: level
    for level in (
        Level("basic", documents=10),
        Level("standard", documents=100, lookups=20, counts=1),
        Level("comprehensive", documents=None, rereads=200, lookups=200, counts=3, scans=20),
    )
}
