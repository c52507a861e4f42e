"""An operator at a shell: `firelift …` in a process, home and directory of its own, with nothing in its environment but what is given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import warm_commands
from tests.support.forking import Forked
from tests.support.prefect_servers import CHECKOUT, schemas_of, tables_of, text_below
from tests.support.reported import undocumented_below

PROGRAMS = Path(sys.executable).parent
FIRELIFT = str(PROGRAMS / "firelift")
WORKSPACE = "migration-workspace"

# Part of every password and key that the tests use, so that it can be searched for.
CANARY = "canary-5e1f"

# Each worker is an interpreter that has to start, Great Expectations takes three seconds: for tests of something else.
ONE_WORKER = {"MIGRATION_MAX_WORKERS": "1"}
QUICKLY = {**ONE_WORKER, "MIGRATION_AUTO_VERIFICATION": "false"}


@dataclass(frozen=True)
class Said:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The last line on stderr: where an error stands."""
        return self.err.splitlines()[-1] if self.err else ""


@dataclass(frozen=True)
class Operator:
    """Somebody in a directory, with these variables set."""

    directory: Path
    variables: Mapping[str, str]

    @property
    def here(self) -> Path:
        return self.directory / "here"

    @property
    def workspace(self) -> Path:
        return self.here / WORKSPACE

    def with_(self, **variables: str | None) -> Operator:
        """The same with other variables; None takes one away."""
        changed = {**self.variables, **variables}
        return Operator(self.directory, {name: value for name, value in changed.items() if value is not None})

    def firelift(self, *arguments: str, timeout: float = 300) -> Said:
        """The command; whatever comes of it, the reports that stand then are as they are documented."""
        said = self.run([FIRELIFT, *arguments], timeout)
        assert undocumented_below(self.workspace) == []
        return said

    def run(self, command: list[str], timeout: float = 300) -> Said:
        with self._started(command) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        return Said(process.wait(), out, err)

    def _started(self, command: list[str]) -> subprocess.Popen[str] | Forked:
        environment = {**self.surroundings(), **self.variables}
        if command[0] != FIRELIFT or not can_be_forked(environment):
            return self.start(command)
        self.here.mkdir(parents=True, exist_ok=True)
        return warm_commands.start(command[1:], self.here, environment)

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """A new interpreter, also for `firelift`."""
        self.here.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.here,
            env={**self.surroundings(), **self.variables},
        )

    def surroundings(self) -> dict[str, str]:
        home = self.directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        path = f"{PROGRAMS}{os.pathsep}{os.defpath}"
        quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "NO_GCE_CHECK": "true"}
        # What is tested is the checkout in which the tests stand, wherever the environment's editable install points.
        return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT), **quiet}

    def left_behind(self) -> str:
        """Everything that was written below home and working directory, as text."""
        return text_below(self.directory)


def can_be_forked(environment: Mapping[str, str]) -> bool:
    """Not where the environment decides how an interpreter starts, or what it imports."""
    usual = {"LANG": "C.UTF-8", "PYTHONPATH": str(CHECKOUT)}
    deciding = {name: value for name, value in environment.items() if name.startswith(("LC_", "LANG", "PYTHON"))}
    return deciding == usual


def is_untouched(database_url: str) -> bool:
    """Whether a target is as it was made: no table, and nothing of Firelift's."""
    return schemas_of(database_url) == ["public"] and tables_of(database_url) == {}


def holds_nothing(database_url: str) -> bool:
    """Whether a target has no table of a run, and of Firelift's own schemas only the one in which it writes down that there was a run."""
    return set(schemas_of(database_url)) <= {"firelift", "public"} and tables_of(database_url) == {}
