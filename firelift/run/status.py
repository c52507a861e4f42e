"""The live status of a run: kept by the running process, shown to everybody as migration-status.json."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from firelift.errors import FireliftError, Stopped
from firelift.files import DiskFull
from firelift.run.log import Log
from firelift.run.progress import PHASES, Phase, PhaseStatus, Progress, State, percent_of_run
from firelift.run.redact import clean, redact
from firelift.run.status_files import StatusFiles
from firelift.run.throughput import Throughput
from firelift.run.timestamps import now, seconds_between
from firelift.run.workspace import STATUS, Workspace

Outcome = Literal["in_progress", "completed", "failed", "stopped"]

_MOST_MESSAGES = 1000


class Status:
    """Says what a run does. Safe to call from many threads; `close()` it, or use it as a context manager."""

    def __init__(self, workspace: Workspace, mode: str, secrets: Sequence[str], log: Log | None, seen: Mapping[str, Any]) -> None:
        self._workspace, self._secrets, self._log = workspace, tuple(secrets), log
        self._lock = threading.RLock()
        shown: Mapping[str, Any] = seen.get("progress", {}).get("phases", {})
        self._phases = {name: PhaseStatus.from_json(shown[name]) if name in shown else PhaseStatus() for name in PHASES}
        self._mode = mode
        self._outcome: Outcome = "in_progress"
        self._current: Phase | None = seen.get("currentPhase")
        self._last_completed: str | None = seen.get("lastCompletedPhase")
        self._results: dict[str, Any] = dict(seen.get("results", {}))
        self._read_time: str | None = seen.get("readTime")
        self._started_at: str = seen.get("startedAt") or now()
        self._finished_at: str | None = None
        self._errors: list[dict[str, Any]] = list(seen.get("errors", []))
        self._warnings: list[dict[str, Any]] = list(seen.get("warnings", []))
        self._statistics: dict[str, Any] = dict(seen.get("statistics", {}))
        self._throughput = Throughput.of(workspace)
        self._files = StatusFiles(workspace, log, data=self._data_now, throughput=self._samples)

    @classmethod
    def open(cls, workspace: Workspace, mode: str = "full", secrets: Sequence[str] = (), log: Log | None = None) -> Status:
        """The status of a run: new, or continued from its file. Phases that were not completed are pending again."""
        status = cls(workspace, mode, secrets, log, workspace.read_json(STATUS) or {})
        status.flush()
        return status

    def __enter__(self) -> Status:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def current_phase(self) -> Phase | None:
        """The phase that this process began last; that of an earlier process does not count."""
        with self._lock:
            return self._current if self._current is not None and self._phases[self._current].state != "pending" else None

    def state_of(self, name: Phase) -> State:
        with self._lock:
            return self._phases[name].state

    def start_phase(self, name: Phase) -> None:
        """The phase begins with its counts at zero: what an earlier attempt did is counted again when it is found."""
        with self._lock:
            self._phases[name] = PhaseStatus("running", started_at=now())
            self._current = name
            self._sample(name, is_edge=True)
        self._log_event("phase_started", f"{name} started", name)
        self.flush()

    def expect(self, phase: Phase, collection: str | None = None, documents: int | None = None, rows: int | None = None) -> None:
        """How much there is to do, of a collection or (collection None) of the phase as a whole."""
        with self._lock:
            status = self._phases[phase]
            progress = self._progress(status, collection)
            progress.expected_documents = progress.expected_documents if documents is None else documents
            status.uncounted -= {collection} if documents is not None else set()
            progress.expected_rows = progress.expected_rows if rows is None else rows
            status.is_total_expected = status.is_total_expected or collection is None
            self._sum_expected(status)
        self._files.soon()

    def expect_unknown(self, phase: Phase, collection: str) -> None:
        """The number of documents of the collection is unknown, and so is that of the phase."""
        with self._lock:
            status = self._phases[phase]
            self._progress(status, collection).expected_documents = None
            status.uncounted.add(collection)
            self._sum_expected(status)
        self._files.soon()

    def expect_of_all(self, phase: Phase, several: str, documents: int) -> None:
        """How many documents several collections have that were only counted together."""
        with self._lock:
            status = self._phases[phase]
            status.expected_of_several[several] = documents
            self._sum_expected(status)
        self._files.soon()

    def advance(self, phase: Phase, collection: str | None = None, documents: int = 0, rows: int = 0, bytes: int = 0) -> None:
        """So much more is done."""
        with self._lock:
            status = self._phases[phase]
            status.total.add(documents, rows, bytes)
            if collection is not None:
                self._progress(status, collection).add(documents, rows, bytes)
        self._files.soon()

    def restart_collection(self, phase: Phase, collection: str) -> None:
        """The collection is begun again in this phase: its counts return to zero."""
        with self._lock:
            status = self._phases[phase]
            progress = self._progress(status, collection)
            status.total.add(-progress.documents, -progress.rows, -progress.bytes)
            progress.documents = progress.rows = progress.bytes = 0
        self._files.soon()

    def restart(self, phase: Phase) -> None:
        """The phase counts from the beginning: what an earlier attempt did no longer counts."""
        with self._lock:
            self._phases[phase].total = Progress()
        self._files.soon()

    def set_counts(self, phase: Phase, collection: str, documents: int = 0, rows: int = 0, bytes: int = 0) -> None:
        """Sets what is done of the collection, by whichever attempt. Counts that are right already do not change the rate."""
        with self._lock:
            status = self._phases[phase]
            progress = self._progress(status, collection)
            status.total.documents += documents - progress.documents
            status.total.rows += rows - progress.rows
            status.total.bytes += bytes - progress.bytes
            progress.documents, progress.rows, progress.bytes = documents, rows, bytes
        self._files.soon()

    def finish_phase(self, name: Phase, receipt: Mapping[str, Any]) -> None:
        """The phase is done with this result; the checkpoint says so from here on."""
        with self._lock:
            self._close_phase(name, "completed")
            self._last_completed = name
            self._results[name] = clean(receipt, self._secrets)
        self._log_event("phase_completed", f"{name} completed", name, receipt=receipt)
        self.flush()

    def record_findings(self, name: Phase, receipt: Mapping[str, Any]) -> None:
        """Records the findings for which the phase is about to fail."""
        with self._lock:
            self._results[name] = clean(receipt, self._secrets)

    def skip_phase(self, name: Phase, reason: str) -> None:
        with self._lock:
            self._close_phase(name, "skipped")
        self._log_event("phase_skipped", f"{name} skipped: {reason}", name)
        self.flush()

    def set_read_time(self, read_time: str) -> None:
        """The moment of the snapshot, RFC 3339."""
        with self._lock:
            self._read_time = read_time
        self._files.soon()

    def add_statistics(self, **statistics: object) -> None:
        """Figures of the whole run, such as `rowsRejected`, `residueRows`."""
        with self._lock:
            self._statistics |= clean(statistics, self._secrets)
        self._files.soon()

    def warn(self, text: str, phase: Phase | None = None) -> None:
        with self._lock:
            at = phase or self._current
            message = redact(text, self._secrets)
            if any(warning["phase"] == at and warning["message"] == message for warning in self._warnings):
                return  # already there, perhaps from an earlier attempt
            if len(self._warnings) < _MOST_MESSAGES:
                self._warnings.append(clean({"timestamp": now(), "phase": at, "message": text}, self._secrets))
        if self._log is not None:
            self._log.warning("warning", text, at)
        self._files.soon()

    def fail(self, error: BaseException) -> None:
        """The run ended with this error (or was stopped). Never raises: the error itself is what must come through."""
        if is_stop(error):
            self.stop()
            return
        with self._lock:
            at = self._current
            self._errors.append(clean({"timestamp": now(), "phase": at, **described(error)}, self._secrets))
            if at is not None and self._phases[at].state == "pending":
                self._phases[at].state = "running"
            self._close_running("failed")
            self._end("failed")
        if self._log is not None:
            self._log.error(error, at)
        self._files.final_write(disk_is_full=isinstance(error, DiskFull))

    def stop(self) -> None:
        """The run was stopped on request."""
        with self._lock:
            self._close_running("pending")
            self._end("stopped")
        self._log_event("stopped", "stopped on request", self._current)
        self._files.final_write()

    def complete(self) -> None:
        """Everything is done."""
        with self._lock:
            self._end("completed")
            self._current = None
        self._log_event("completed", "migration completed", None)
        self.flush()

    def flush(self) -> None:
        """Write status, log and checkpoint now."""
        self._files.flush()

    def close(self) -> None:
        """Write what is left; the object is of no use afterwards."""
        self._files.close()

    def data(self) -> dict[str, Any]:
        """Everything, as migration-status.json shows it."""
        with self._lock:
            at = now()
            return {
                "migrationId": self._workspace.migration_id,
                "mode": self._mode,
                "status": self._outcome,
                "currentPhase": self._current,
                "lastCompletedPhase": self._last_completed,
                "readTime": self._read_time,
                "startedAt": self._started_at,
                "updatedAt": at,
                "finishedAt": self._finished_at,
                "process": this_process(),
                "progress": {
                    "percent": self._percent(),
                    "etaSeconds": self._eta(),
                    "phases": {name: phase.render() for name, phase in self._phases.items()},
                },
                "errors": list(self._errors),
                "warnings": list(self._warnings),
                "statistics": self._figures(self._finished_at or at),
                "results": dict(self._results),
            }

    def _figures(self, until: str) -> dict[str, Any]:
        read, loaded = self._phases["extraction"].total, self._phases["import"].total
        seconds = seconds_between(self._started_at, until) or 0.0
        return {
            "rowsRejected": 0,
            "residueRows": 0,
            **self._statistics,
            "documentsRead": read.documents,
            "bytesRead": read.bytes,
            "rowsLoaded": loaded.rows,
            "durationSeconds": round(seconds, 3),
            "documentsPerSecond": round(read.documents / seconds, 1) if seconds else 0.0,
        }

    def _percent(self) -> float:
        if self._outcome == "completed":
            return 100.0
        return percent_of_run(self._phases)

    def _eta(self) -> float | None:
        """Seconds until the current phase is over; what follows is not known yet."""
        eta: float | None = self._phases[self._current].total.render()["etaSeconds"] if self._current else None
        return eta

    def _progress(self, status: PhaseStatus, collection: str | None) -> Progress:
        return status.total if collection is None else status.collections.setdefault(collection, Progress())

    def _sum_expected(self, status: PhaseStatus) -> None:
        if status.is_total_expected:
            return
        documents = [progress.expected_documents for progress in status.collections.values()]
        documents += [number for number in status.expected_of_several.values() if number]
        rows = [progress.expected_rows for progress in status.collections.values()]
        is_known = any_known(documents) and not status.uncounted
        status.total.expected_documents = sum(known for known in documents if known is not None) if is_known else None
        status.total.expected_rows = sum(known for known in rows if known is not None) if any_known(rows) else None

    def _close_phase(self, name: Phase, state: State) -> None:
        phase = self._phases[name]
        if phase.state == "running":
            self._sample(name, is_edge=True)
        phase.state, phase.finished_at = state, now()
        for progress in (phase.total, *phase.collections.values()):
            progress.finish()

    def _close_running(self, state: State) -> None:
        for name, phase in self._phases.items():
            if phase.state == "running":
                self._close_phase(name, state)

    def _end(self, outcome: Outcome) -> None:
        self._outcome, self._finished_at = outcome, now()

    def _log_event(self, event: str, message: str, phase: str | None, **facts: object) -> None:
        if self._log is not None:
            self._log.info(event, message, phase, **facts)

    def _data_now(self) -> dict[str, Any]:
        """The data for the status file, with a sample of the phase that is running."""
        with self._lock:
            if self._current is not None and self._phases[self._current].state == "running":
                self._sample(self._current)
        return self.data()

    def _sample(self, name: Phase, is_edge: bool = False) -> None:
        total = self._phases[name].total
        self._throughput.take(name, total.documents, total.rows, is_edge=is_edge)

    def _samples(self) -> dict[str, Any]:
        with self._lock:
            return self._throughput.render()


def is_stop(error: BaseException) -> bool:
    """Whether it is a request to stop, Ctrl-C, or what Prefect (which the engine does not import) makes of SIGTERM and a cancelled run."""
    return isinstance(error, KeyboardInterrupt | Stopped) or type(error).__name__ in ("TerminationSignal", "CancelledRun")


def this_process() -> dict[str, Any]:
    return {"host": platform.node(), "pid": os.getpid()}


def any_known(counts: Sequence[int | None]) -> bool:
    return any(count is not None for count in counts)


def described(error: BaseException) -> dict[str, Any]:
    """An error as status and reports show it: what, where, what to do next."""
    if isinstance(error, FireliftError):
        return {
            "type": type(error).__name__,
            "message": str(error),
            "remedy": error.remedy,
            "retry": error.recovery == "automatic",
            "facts": error.facts,
        }
    return {"type": type(error).__name__, "message": str(error) or type(error).__name__, "remedy": "", "retry": False, "facts": {}}
