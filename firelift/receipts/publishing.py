"""What a run has published, and what it did afterwards."""

from __future__ import annotations

from firelift.receipts.loading import RelationChecked
from firelift.receipts.receipt import Receipt


class Published(Receipt):
    """The tables that readers of the target see from now on."""

    target_schema: str
    tables: tuple[str, ...]
    relations: tuple[RelationChecked, ...] = ()
    """Of an increment: those of the tables it changed, as they stand now."""
    index_notes: tuple[str, ...] = ()
    """A sentence on each index of a foreign key that had to go, or could not be made, because a row is too long for it."""


class AppConfigUpdated(Receipt):
    """The app's configuration names what the run made."""

    file: str
    old_file: str | None
    """The file as it was before the run; None where it said all that already."""
    changed: tuple[str, ...]
    """The names whose values are other ones now."""


class Dropped(Receipt):
    """What was dropped from the run's directory."""

    what: str
    """`archive` or `tables`."""
    files: int
    bytes: int


class Finished(Receipt):
    """What readers of the target see, or would see after a real run, and what was done afterwards."""

    tables: tuple[str, ...]
    published: bool
    app_config: AppConfigUpdated | None = None
    freed: tuple[Dropped, ...] = ()
    scratch_schema: str | None = None
    """Of a test run that keeps its tables: where they are."""
