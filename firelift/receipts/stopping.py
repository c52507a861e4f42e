"""A request to stop a run."""

from __future__ import annotations

from firelift.receipts.receipt import Receipt


class StopRequest(Receipt):
    """A run that was asked to stop, and where the request was left: in its directory, in its target, or in both."""

    migration_id: str
    in_directory: bool
    in_target: bool
    unreached: str | None = None
    """Why it could not be left in the target."""
