"""Which receipt a step has, and under which conditions it counts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from firelift.migration.context import Migration, Run
from firelift.receipts import Receipt, RootCollection, Staged
from firelift.run.archive_damage import times_damaged
from firelift.run.progress import Phase
from firelift.run.receipt_files import ReceiptMissing
from firelift.run.workspace import Workspace
from firelift.storage.archive import file_name

P = ParamSpec("P")
R = TypeVar("R", bound=Receipt)
Work = Callable[Concatenate[Migration, P], R]

LEFT_OUT: Final = "left-out"
"""What no receipt is valid for: a step that --skip-phases names is asked for its last receipt, whatever that was made for."""
_phases: dict[str, Phase] = {}


def with_receipt(phase: Phase, kind: type[R]) -> Callable[[Work[P, R]], Work[P, R]]:
    """Writes what the function returns to the run's `receipts/`; where the phase is skipped, returns what was written before instead."""

    def decorate(function: Work[P, R]) -> Work[P, R]:
        step = step_name(function)
        _phases[step] = phase

        @functools.wraps(function)
        def kept(migration: Migration, *args: P.args, **kwargs: P.kwargs) -> R:
            given = (*args, *kwargs.values())
            name, receipts = receipt_name(step, given), migration.receipts
            if phase in migration.settings.skip_phases:
                if not receipts.file(name).exists():
                    raise ReceiptMissing(phase=phase, receipt=f"receipts/{name}.json", migration_id=migration.migration_id)
                migration.skip(phase, "left out by --skip-phases: an earlier attempt of this run completed it")
                return receipts.last(name, kind)
            damaged = receipts.is_damaged(name)
            receipt = function(migration, *args, **kwargs)
            if damaged:
                migration.status.warn(f"{receipts.file(name)} was not as it had been written: the step was done again", phase)
            receipts.keep(name, valid_for(migration.run, step, given), receipt)
            return receipt

        return cast(Work[P, R], kept)

    return decorate


def step_name(function: Callable[..., Any]) -> str:
    return function.__name__.rstrip("_")


def has_receipt(step: str) -> bool:
    return step in _phases


def receipt_name(step: str, arguments: tuple[object, ...]) -> str:
    """The name of the receipt of a step that is given these arguments: `extraction`, or `extract-users` for a root collection."""
    root = next((argument for argument in arguments if isinstance(argument, RootCollection)), None)
    return f"{step}-{file_name(root.collection)}" if root else step


def valid_for(run: Run, step: str, arguments: tuple[object, ...]) -> str:
    """The conditions under which a receipt of the step counts: the settings that decide what it returns, and what else it stands on.

    What was loaded counts only for the staging schema it was loaded into; what was made before the archive was found damaged is looked
    at again.
    """
    if _phases[step] in run.settings.get("skip_phases", ()):
        return LEFT_OUT
    staged = next((argument for argument in arguments if isinstance(argument, Staged)), None)
    damaged = times_damaged(Workspace(Path(run.settings["working_dir"]), run.migration_id).run)
    return "-".join([run.fingerprint, *([staged.token] if staged else []), *([f"again-{damaged}"] if damaged else [])])
