"""What a command starts before Prefect is imported: a run's worker processes, and the survey of Firestore.

Importing Prefect keeps one processor busy for two seconds, in which the others would be idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firelift.workers import Workers

if TYPE_CHECKING:
    from firelift.firestore.channel import Source
    from firelift.paths import Selection

# In the order in which a run needs them; little is left to import after these.
MODULES = ("firelift.phases.pre_validation", "firelift.phases.extraction", "firelift.modes.incremental.compare")

_waiting: list[Workers] = []


@contextmanager
def start_workers_early(number: int) -> Iterator[Workers]:
    """Workers for the run that begins inside this context."""
    with Workers(number, MODULES) as workers:
        _waiting.append(workers)
        try:
            yield workers
        finally:
            _waiting.clear()


def start_survey_early(workers: Workers, source: Source, read_time: str, selection: Selection, together: int) -> None:
    """Lets the workers begin the survey of Firestore that the run will ask for."""
    from firelift.phases.pre_validation import survey  # the workers must not wait for what it imports

    workers.begin(survey, source, read_time, selection, together)


def workers_of_run(number: int) -> Workers:
    """The workers that were started early, or new ones."""
    return _waiting.pop() if _waiting and _waiting[-1].number == number else Workers(number, MODULES)
