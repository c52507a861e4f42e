"""Writes the files that say what a run does: status, checkpoint and throughput; the log's last entries with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from firelift.errors import FireliftError
from firelift.files import DiskFull
from firelift.run.log import Log
from firelift.run.periodic_writer import PeriodicWriter
from firelift.run.throughput import THROUGHPUT
from firelift.run.workspace import CHECKPOINT, STATUS, Workspace, encode

HEARTBEAT = 5.0
"""Seconds after which a run writes its status even if nothing has changed."""

_KEEP_THROUGHPUT = 10.0
"""Seconds of samples that a killed run may lose."""


class StatusFiles:
    """Writes what `data` and `throughput` return: soon after a change, every few seconds, and at once when a phase begins or ends."""

    def __init__(
        self, workspace: Workspace, log: Log | None, *, data: Callable[[], dict[str, Any]], throughput: Callable[[], dict[str, Any]]
    ) -> None:
        self._workspace, self._log, self._data, self._throughput = workspace, log, data, throughput
        self._throughput_written = 0.0
        self._writer = PeriodicWriter(self._write_status, heartbeat=HEARTBEAT)

    def soon(self) -> None:
        """There is something new to write."""
        self._writer.soon()

    def flush(self) -> None:
        """Writes all of them before returning."""
        self._writer.now()
        self._flush_log()
        self._write_throughput()
        self._write_checkpoint()

    def close(self) -> None:
        """Writes what is left."""
        with suppress(FireliftError):
            self._writer.close()
        if self._log is not None:
            with suppress(FireliftError):
                self._log.close()

    def final_write(self, *, disk_is_full: bool = False) -> None:
        """Writes the end of the run, into the space reserved for it where the disk is full. Never raises a FireliftError."""
        if disk_is_full:
            self._workspace.release_reserve()
        for write in (self._writer.now, self._write_checkpoint, self._write_throughput, self._flush_log):
            try:
                write()
            except DiskFull:
                self._workspace.release_reserve()
                with suppress(FireliftError):
                    write()
            except FireliftError:
                continue

    def _write_status(self) -> None:
        self._workspace.write_json(STATUS, self._data())
        if time.monotonic() - self._throughput_written >= _KEEP_THROUGHPUT:
            self._write_throughput()

    def _write_throughput(self) -> None:
        self._workspace.write(THROUGHPUT, encode(self._throughput()))
        self._throughput_written = time.monotonic()

    def _write_checkpoint(self) -> None:
        write_checkpoint(self._workspace, self._data())

    def _flush_log(self) -> None:
        if self._log is not None:
            self._log.flush()


def checkpoint(status: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint as a file, made from the status."""
    return {
        "migrationId": status["migrationId"],
        "lastCompletedPhase": status["lastCompletedPhase"],
        "timestamp": status["updatedAt"],
        "migrationState": {
            "currentPhase": status["currentPhase"],
            "overallStatus": status["status"],
            "results": status["results"],
        },
    }


def write_checkpoint(workspace: Workspace, status: Mapping[str, Any]) -> None:
    workspace.write_json(CHECKPOINT, checkpoint(status), durable=True)
