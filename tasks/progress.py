"""Progress bars in the Prefect UI: an artifact a collection and phase, renewed at most once a second."""

from __future__ import annotations

import re
import threading
import time
from types import TracebackType
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

EVERY = 2.0


class ProgressArtifact:
    """The artifact of one collection in one phase. Artifacts show progress and decide nothing: their errors are let go."""

    def __init__(self, phase: str, collection: str, expected: int | None) -> None:
        self.phase, self.collection, self.expected = phase, collection, expected
        self._done, self._told, self._artifact = 0, 0.0, None
        self._lock = threading.Lock()

    _artifact: UUID | None

    def __enter__(self) -> ProgressArtifact:
        self._told = time.monotonic()
        return self

    def __call__(self, count: int) -> None:
        with self._lock:
            self._done += count
            # A bar needs to know where it ends.
            if self.expected is None or time.monotonic() - self._told < EVERY:
                return
            self._told = time.monotonic()
            self._tell(100 * self._done / max(self.expected, 1))

    def _tell(self, percent: float) -> None:
        percent = min(100.0, percent)
        description = f"{self.phase} of {self.collection}: {self._done:,} of {self.expected or 0:,}"
        try:
            if self._artifact is None:
                created = create_progress_artifact(progress=percent, key=_slug(f"{self.phase}-{self.collection}"), description=description)
                self._artifact = created if isinstance(created, UUID) else None
            else:
                update_progress_artifact(artifact_id=self._artifact, progress=percent, description=description)
        except Exception:  # the API may be restarting; the work goes on
            self._artifact = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._artifact is not None and error is None:
            with self._lock:
                self._tell(100.0)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:200] or "collection"
