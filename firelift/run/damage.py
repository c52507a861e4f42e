"""How often a run's archive was found damaged: what was made before that is looked at anew when the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from firelift.files import write_whole

_FILE: Final = "damaged"


def note_damage(run: Path) -> None:
    """Has every task of the run do its work again: extraction then mends what is damaged, and what stands is passed over as it comes."""
    write_whole(run / _FILE, f"{times_damaged(run) + 1}\n")


def times_damaged(run: Path) -> int:
    """How often damage was found."""
    try:
        return int((run / _FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0
