"""What a run has published, and what it did afterwards."""

from __future__ import annotations

from firelift.receipts.import_ import RelationChecked
from firelift.receipts.receipt import Receipt


class Published(Receipt):
    """The tables that readers of the target now see."""

    target_schema: str
    tables: tuple[str, ...]
    relations: tuple[RelationChecked, ...] = ()
    """For an incremental run: the relations of the tables that it changed, as they are now."""
    index_notes: tuple[str, ...] = ()
    """A sentence for each index of a foreign key that was dropped, or not created, because a row is too long for it."""


class AppConfigUpdated(Receipt):
    """The app's configuration was updated with what the run made."""

    file: str
    old_file: str | None
    """A copy of the file from before the run; None where nothing had to change."""
    changed: tuple[str, ...]
    """The names whose values have changed."""


class Dropped(Receipt):
    """What was dropped from the run's directory."""

    what: str
    """`archive` or `tables`."""
    files: int
    bytes: int


class Finished(Receipt):
    """The tables that readers of the target see, or would see after a real run, and what was done afterwards."""

    tables: tuple[str, ...]
    published: bool
    app_config: AppConfigUpdated | None = None
    freed: tuple[Dropped, ...] = ()
    scratch_schema: str | None = None
    """For a test run that keeps its tables: their schema."""
    would_publish: tuple[str, ...] = ()
    """For a plan: what publishing would do to the target as it is now, line by line."""
