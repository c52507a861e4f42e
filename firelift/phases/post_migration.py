"""Post-migration: writes into the app's configuration where its data is now, and drops what only the migration needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from firelift.app_config.update import AppConfig
from firelift.errors import FireliftError
from firelift.files import read_sealed, write_sealed
from firelift.firestore.source import source_of
from firelift.receipts import Dropped
from firelift.settings.settings import Settings

# What is read only together with it: the counts of every archived chunk, with which a check against the archive begins.
_READ_WITH = {"archive": ("transformed",), "tables": ()}


class NotDropped(FireliftError):
    """The tables ARE published, but a temporary directory could not be removed."""

    recovery = "after_fix"
    remedy = "Remove it yourself, or fix that and continue with --resume, which migrates nothing again."


def app_config_of(settings: Settings, migration_id: str, read_time: str | None = None) -> AppConfig:
    """The app's configuration as the settings name it. Before the snapshot is chosen its time is a word."""
    host = None
    if settings.database_url is not None:
        host = urlsplit(settings.database_url.get_secret_value()).hostname or "localhost"
    elif settings.dry_run:
        host = "the target's"
    known = {
        "target_schema": settings.target_schema,
        "migration_id": migration_id,
        "read_time": read_time or settings.read_time,
        "project_id": source_of(settings).project,
        "supabase_url": settings.supabase_url,
        "database_host": host,
    }
    places = {name: value for name, value in known.items() if value is not None}
    return AppConfig(settings.app_config, settings.app_config_values, places, settings.secrets())


def drop(run: Path, what: str) -> Dropped:
    """Removes the run's `archive` or `tables`, and what is read only together with it; returns what they held.

    May be called again after a crash: the directory loses its name before its first file goes, so that half of one is never taken for
    the whole, and what it held is written down before that too. Raises NotDropped.
    """
    note = run / "receipts" / f"freed-{what}.json"
    try:
        going = [_set_aside(run / name) for name in (what, *_READ_WITH[what])]
        if not note.exists():
            write_sealed(note, _measured(what, going).model_dump_json())
        for directory in going:
            if directory.exists():
                shutil.rmtree(directory)
    except OSError as error:
        raise NotDropped(directory=str(run / what), reason=error.strerror or type(error).__name__) from error
    return Dropped.model_validate(json.loads(read_sealed(note)))


def _set_aside(directory: Path) -> Path:
    """The place where the directory, of another name from now on, waits to be removed."""
    going = directory.with_name(f".{directory.name}.dropping")
    if going.exists():
        # Whatever has been made under the name since is empty: every attempt makes its directories.
        return going
    if directory.exists():
        directory.rename(going)
    return going


def _measured(what: str, directories: list[Path]) -> Dropped:
    sizes = [path.stat().st_size for directory in directories for path in directory.rglob("*") if path.is_file()]
    return Dropped(what=what, files=len(sizes), bytes=sum(sizes))
