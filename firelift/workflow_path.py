"""Finds the packages `flows`, `tasks` and `expectations`: those of this Firelift, whatever else has these names.

In a checkout they are beside `firelift`. A wheel has them in `firelift/workflow/`, so that nobody's site-packages
gets three modules with names as common as these.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from firelift.errors import FireliftError

PACKAGES = ("flows", "tasks", "expectations")


class NameTaken(FireliftError):
    """A module that is not Firelift's has been imported by the name of one that is."""

    exit_code = 2
    remedy = "Import firelift.deployed before it, or start Firelift as a command of its own."


def workflow_directory() -> Path:
    """Where the three packages, `prefect.yaml` and `deployments/` are."""
    package = Path(__file__).resolve().parent
    installed = package / "workflow"
    return installed if installed.is_dir() else package.parent


def put_workflow_first() -> None:
    """Makes `import flows` and its siblings find Firelift's own, in this process and in those it starts by multiprocessing."""
    directory = str(workflow_directory())
    for name in PACKAGES:
        _refuse_foreign(name, directory)
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)
        importlib.invalidate_caches()


def _refuse_foreign(name: str, directory: str) -> None:
    module = sys.modules.get(name)
    if module is None:
        return
    file = str(getattr(module, "__file__", None) or "no file")
    if Path(file).resolve().parent != Path(directory) / name:
        raise NameTaken(module=name, file=file)
