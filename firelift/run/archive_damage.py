"""How often a run's archive was found damaged: a resumed run checks again what was made before that."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from firelift.files import write_whole

_FILE: Final = "damaged"


def note_damage(run: Path) -> None:
    """Makes every task of the run do its work again: extraction then repairs what is damaged, and what is intact is skipped."""
    write_whole(run / _FILE, f"{times_damaged(run) + 1}\n")


def times_damaged(run: Path) -> int:
    """How often damage was found."""
    try:
        return int((run / _FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0
