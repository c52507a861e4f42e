"""The log of a run: a JSON array, whole at any moment, of what happened when."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from typing import Any, Literal

from firelift.errors import FireliftError
from firelift.run.periodic_writer import PeriodicWriter
from firelift.run.redact import clean
from firelift.run.timestamps import now
from firelift.run.workspace import LOG, Workspace, encode

Level = Literal["debug", "info", "warning", "error"]


class Log:
    """Entries `{timestamp, level, phase, event, message, …facts}`; one that was there is continued."""

    def __init__(self, workspace: Workspace, secrets: Sequence[str] = ()) -> None:
        self._workspace, self._secrets = workspace, tuple(secrets)
        self._entries = [encode(entry).rstrip() for entry in workspace.read_json(LOG) or []]
        self._lock = threading.Lock()
        self._writer = PeriodicWriter(self._write)

    def debug(self, event: str, message: str, phase: str | None = None, **facts: object) -> None:
        self._add("debug", event, message, phase, facts)

    def info(self, event: str, message: str, phase: str | None = None, **facts: object) -> None:
        self._add("info", event, message, phase, facts)

    def warning(self, event: str, message: str, phase: str | None = None, **facts: object) -> None:
        self._add("warning", event, message, phase, facts)

    def error(self, error: BaseException, phase: str | None = None) -> None:
        """An error with its facts and its traceback."""
        facts = dict(error.facts) if isinstance(error, FireliftError) else {}
        trace = "".join(traceback.format_exception(error))
        self._add("error", type(error).__name__, str(error) or type(error).__name__, phase, {**facts, "traceback": trace})

    def flush(self) -> None:
        self._writer.now()

    def close(self) -> None:
        self._writer.close()

    def _add(self, level: Level, event: str, message: str, phase: str | None, facts: dict[str, Any]) -> None:
        entry = {"timestamp": now(), "level": level, "phase": phase, "event": event, "message": message}
        entry |= {name: fact for name, fact in facts.items() if name not in entry}
        encoded = encode(clean(entry, self._secrets)).rstrip()
        with self._lock:
            self._entries.append(encoded)
        self._writer.soon()

    def _write(self) -> None:
        with self._lock:
            entries = list(self._entries)
        self._workspace.write(LOG, b"[\n" + b",\n".join(entries) + b"\n]\n")
