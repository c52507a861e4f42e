"""The directory in which deployed runs work, FIRELIFT_HOME: the steps of `prefect.yaml` that look at it and go there."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

from firelift.errors import ConfigurationError

# Set by the step for the run, which is another process.
DEPLOYED = "FIRELIFT_DEPLOYED"
UNSET = (
    "FIRELIFT_HOME is not set here: each worker will use its own, so set it where the worker starts, "
    "to the absolute path of the directory in which runs will work."
)


class HomeMissing(ConfigurationError):
    """FIRELIFT_HOME is not set in the environment of the worker: the run does not know in which directory to work."""

    remedy = "Start the worker with FIRELIFT_HOME set to the absolute path of a directory (the checkout, or the one with your .env)."


class HomeWrong(ConfigurationError):
    """FIRELIFT_HOME does not name a directory to work in."""

    remedy = (
        "Set it to the absolute path of a directory on the worker's machine and deploy again; "
        "to deploy from another machine leave it unset there and set it for the worker."
    )


def check_home(directory: str = "") -> None:
    """At deployment: refuses a FIRELIFT_HOME with which every run would fail, and says so where there is none."""
    problem = _problem(directory)
    if isinstance(problem, HomeMissing):
        _say_unset()
    elif problem is not None:
        # For an exception `prefect deploy` would print two tracebacks with this line between them.
        raise SystemExit(f"error: {problem}")


def enter_home(directory: str = "") -> dict[str, str]:
    """At the beginning of a run: changes to FIRELIFT_HOME as it was set at deployment, else as the worker has it.

    Where it cannot, `refuse_wrong_home` says so in the run itself: for a step that fails a run shows no more than "exited with status 1".
    """
    os.environ[DEPLOYED] = "1"
    os.environ["FIRELIFT_HOME"] = directory
    if _problem(directory) is None:
        os.chdir(directory)
    return {"directory": os.getcwd()}


def refuse_wrong_home() -> None:
    """In a deployed run: raises HomeMissing or HomeWrong if it is not in the directory in which it should work."""
    if DEPLOYED in os.environ:
        problem = _problem(os.environ.get("FIRELIFT_HOME", ""))
        if problem is not None:
            raise problem


def _problem(directory: str) -> HomeMissing | HomeWrong | None:
    if not directory.strip():
        return HomeMissing()
    found = [because for because, is_so in _obstacles(directory) if is_so]
    return HomeWrong(directory=directory, because=found[0]) if found else None


def _obstacles(directory: str) -> Iterator[tuple[str, bool]]:
    yield "it is not an absolute path", not os.path.isabs(directory)
    yield "there is no such directory", not os.path.isdir(directory)
    yield "this user may not enter it", not os.access(directory, os.R_OK | os.X_OK)


@functools.cache  # the step is run once a deployment
def _say_unset() -> None:
    print(f"warning: {UNSET}")
