"""What a command begins before Prefect is there: a run's worker processes, and the survey of Firestore.

To import Prefect takes one processor two seconds, in which the others would have nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firelift.workers import Workers

if TYPE_CHECKING:
    from firelift.firestore.channel import Source
    from firelift.paths import Selection

# In the order in which a run needs them; of those behind them little is left to import.
MODULES = ("firelift.phases.pre_validation", "firelift.phases.extraction", "firelift.modes.incremental.compare")

_waiting: list[Workers] = []


@contextmanager
def start_workers_early(number: int) -> Iterator[Workers]:
    """Workers for the run that is begun inside."""
    with Workers(number, MODULES) as workers:
        _waiting.append(workers)
        try:
            yield workers
        finally:
            _waiting.clear()


def start_survey_early(workers: Workers, source: Source, read_time: str, selection: Selection, together: int) -> None:
    """Has them look at Firestore already, as the run will ask them to."""
    from firelift.phases.pre_validation import survey  # the workers shall not wait for what it imports

    workers.begin(survey, source, read_time, selection, together)


def workers_of_run(number: int) -> Workers:
    """Those that were begun ahead, or new ones."""
    return _waiting.pop() if _waiting and _waiting[-1].number == number else Workers(number, MODULES)
