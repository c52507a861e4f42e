"""Up to how many documents root collections that lie side by side are read and loaded as one."""

from __future__ import annotations

from typing import Final

from firelift.settings.settings import Settings

MOST: Final = 10_000
"""Each by itself would cost more than its documents: a COUNT, a stream and a subflow a phase."""
SMALL: Final = 20
"""A root collection of at most so many times the sample is read whole; more are not read of a larger one either."""


def together(settings: Settings) -> int:
    """What is read as one is never cut into ranges, and of a sample it is read whole."""
    most = min(MOST, settings.range_documents)
    return min(most, SMALL * settings.sample_size) if settings.migration_mode == "test" else most
