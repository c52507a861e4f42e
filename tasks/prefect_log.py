"""Prefect's log of a run: what Firelift's own log says, and of what fails the reason in a line before any traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger

from firelift.errors import FireliftError
from firelift.formatting import count
from firelift.run.log import Log
from firelift.run.redact import redact
from firelift.run.workspace import Workspace

LOGGERS: Final = ("prefect.task_runs", "prefect.flow_runs")
_TOLD: Final = "_firelift_told_in_prefect"
_FIGURES: Final = {
    "totalRecords": "documents",
    "transformedRecords": "documents",
    "importedRecords": "rows",
    "compared": "documents compared",
}


class ReasonFirst(logging.Filter):
    """Lets everything pass; before an error's first traceback in a flow run it logs, on its own, the line that says what is wrong."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        run = getattr(record, "flow_run_id", None)
        told: frozenset[object] = getattr(error, _TOLD, frozenset())
        if error is not None and run not in told:
            with suppress(Exception):
                setattr(error, _TOLD, told | {run})
            # The server sorts by time.
            own = {"msg": reason(error), "args": (), "exc_info": None, "exc_text": None, "created": record.created - 0.001}
            line = logging.makeLogRecord(record.__dict__ | own)
            self._logger.handle(line)
        return True


def reasons_first() -> None:
    """Has Prefect's loggers of flow and task runs say the reason first, from now on."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(present, ReasonFirst) for present in logger.filters):
            logger.addFilter(ReasonFirst(logger))


def reason(error: BaseException) -> str:
    """What is wrong and what to do, in one line."""
    # What Firelift raises says itself what to do.
    said = str(error) if isinstance(error, FireliftError) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())


class LogInPrefect(Log):
    """The run's log, of which Prefect's log of the flow run hears too."""

    def __init__(self, workspace: Workspace, secrets: Sequence[str] = ()) -> None:
        super().__init__(workspace, secrets)
        self._hidden = tuple(secrets)
        self._prefect: Any = None
        with suppress(MissingContextError):
            self._prefect = get_run_logger()

    def info(self, event: str, message: str, phase: str | None = None, **facts: object) -> None:
        super().info(event, message, phase, **facts)
        self._tell(logging.INFO, message + _figures(facts.get("receipt")))

    def warning(self, event: str, message: str, phase: str | None = None, **facts: object) -> None:
        super().warning(event, message, phase, **facts)
        self._tell(logging.WARNING, message)

    def error(self, error: BaseException, phase: str | None = None) -> None:
        super().error(error, phase)
        self._tell(logging.ERROR, f"failed in {phase or 'preparation'}: {reason(error)}")

    def _tell(self, level: int, message: str) -> None:
        if self._prefect is not None:
            self._prefect.log(level, "%s", redact(message, self._hidden))


def _figures(receipt: object) -> str:
    if not isinstance(receipt, Mapping):
        return ""
    return "".join(f", {count(receipt[name])} {what}" for name, what in _FIGURES.items() if isinstance(receipt.get(name), int))
