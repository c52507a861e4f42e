"""What a command begins before Prefect is there: a run's worker processes, and the survey of Firestore.

To import Prefect takes one processor two seconds, in which the others would have nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from firelift.firestore.channel import Source
from firelift.phases.pre_validation import survey
from firelift.workers import Workers

# In the order in which a run needs them.
MODULES = tuple(f"firelift.phases.{phase}" for phase in ("pre_validation", "extraction", "difference", "transformation", "import_"))

_waiting: list[Workers] = []


@contextmanager
def begun_ahead(number: int, source: Source, read_time: str | None) -> Iterator[None]:
    """Workers for the run that is begun inside; with a `read_time` (see `survey`) they look at Firestore already."""
    with Workers(number, MODULES) as workers:
        if read_time is not None:
            workers.begin(survey, source, read_time)
        _waiting.append(workers)
        try:
            yield
        finally:
            _waiting.clear()


def workers_of_run(number: int) -> Workers:
    """Those that were begun ahead, or new ones."""
    while _waiting:
        workers = _waiting.pop()
        if workers.number == number:
            return workers
    return Workers(number, MODULES)
