"""The request to stop a run, as a file in its directory that every process which sees the directory can read."""

from __future__ import annotations

import time
from contextlib import suppress

from firelift.run.timestamps import now
from firelift.run.workspace import Workspace

STOP = "stop-requested"

BEGAN = "FIRELIFT_BEGAN"
"""The variable in which the command leaves the time at which it began: what is asked from then on counts."""


def request_stop(workspace: Workspace) -> None:
    """Asks the run to end at its next chunk; asking twice is asking once."""
    workspace.write(STOP, f"{now()}\n".encode())


def stop_requested(workspace: Workspace) -> bool:
    return (workspace.run / STOP).exists()


def forget_stop(workspace: Workspace, seconds: float) -> None:
    """What was asked more than so many seconds ago was asked of an earlier attempt."""
    file = workspace.run / STOP
    with suppress(FileNotFoundError):
        if time.time() - file.stat().st_mtime > seconds:
            file.unlink()
