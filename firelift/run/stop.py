"""The request to stop a run, as a file in its directory that every process which sees the directory can read."""

from __future__ import annotations

from firelift.run.clock import now
from firelift.run.workspace import Workspace

STOP = "stop-requested"


def request_stop(workspace: Workspace) -> None:
    """Asks the run to end at its next chunk; asking twice is asking once."""
    workspace.write(STOP, f"{now()}\n".encode())


def stop_requested(workspace: Workspace) -> bool:
    return (workspace.run / STOP).exists()


def forget_stop(workspace: Workspace) -> None:
    """A run that goes on has been asked nothing yet."""
    (workspace.run / STOP).unlink(missing_ok=True)
