"""What a migration is carried out in: nothing where the engine runs by itself, a flow run where Prefect runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from firelift.planning.model import Plan
from firelift.postgres.session.connect import Session
from firelift.receipts import Verified
from firelift.run.log import Log
from firelift.run.stop_watch import Look
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.verification.proof import Proof


class Validate(Protocol):
    """Validates tables and proof against the suites of the proof's level and writes what it finds into `results`.

    Data that is wrong is said in what is returned; errors are raised where nobody could look. `check` is called before every suite,
    and may raise.
    """

    def __call__(
        self, session: Session, plan: Plan, proof: Proof, results: Path, migration_id: str, check: Callable[[], None] = ...
    ) -> Verified: ...


class Suites(Protocol):
    """The suites of expectations that verify tables: the package `expectations`, of which the engine knows no more than this."""

    @property
    def validate(self) -> Validate: ...

    @property
    def preload(self) -> Callable[[], None]: ...


class Advance(Protocol):
    """Is told how much of a unit of work was done since the last call."""

    def __call__(self, count: int, /) -> None: ...


class Surroundings:
    """Those of a migration that the engine runs by itself. Whoever runs it otherwise says more: see `tasks.flow_run_surroundings`."""

    def __init__(self, suites: Suites) -> None:
        self.suites = suites

    @property
    def label(self) -> str | None:
        """What carries the run out, always the same for a run that is carried out again; None where nothing would."""
        return None

    def seconds_since_begin(self) -> float:
        """How long ago this attempt was asked for: what was asked of the run before that was asked of an earlier attempt."""
        return 0.0

    def log(self, workspace: Workspace, secrets: Sequence[str]) -> Log:
        return Log(workspace, secrets)

    def opened(self, migration_id: str, settings: Settings, project: str) -> None:
        """The run is about to begin."""

    def ended(self, report: Mapping[str, Any]) -> None:
        """The run has ended, well or not, with this report."""

    @contextmanager
    def stop_requests(self) -> Iterator[Sequence[Look]]:
        """Where, besides the working directory and the target, a request to stop may come from."""
        yield ()

    def warnings(self) -> Sequence[str]:
        """What is to be said of these surroundings before anything is read."""
        return ()

    def progress(self, phase: str, label: str, expected: int | None) -> AbstractContextManager[Advance]:
        """Shows how far a unit of work is, beside the status; None: nobody knows where it ends."""
        return _unseen()


@contextmanager
def _unseen() -> Iterator[Advance]:
    yield lambda count: None
