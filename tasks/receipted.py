"""A task's receipt in the working directory: beside Prefect's own, for skipped phases and for the snapshot of a run that goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast

from firelift.files import read_sealed, write_sealed
from firelift.receipts import Receipt, RootFound
from firelift.run.receipt_files import ReceiptMissing, receipt_file
from firelift.run.status import Phase
from firelift.storage.archive import file_name
from tasks.world import Run, world

P = ParamSpec("P")
R = TypeVar("R", bound=Receipt)
Work = Callable[Concatenate[Run, P], R]


def receipted(phase: Phase, kind: type[R]) -> Callable[[Work[P, R]], Work[P, R]]:
    """Writes what the function returns to the run's `receipts/`; where the phase is skipped, returns what stands there instead."""

    def decorate(function: Work[P, R]) -> Work[P, R]:
        @functools.wraps(function)
        def kept(run: Run, *args: P.args, **kwargs: P.kwargs) -> R:
            here = world(run)
            name = function.__name__.rstrip("_") + _part((*args, *kwargs.values()))
            file = receipt_file(here.workspace, name)
            if phase in here.settings.skip_phases:
                if not file.exists():
                    raise ReceiptMissing(phase=phase, receipt=f"receipts/{file.name}", migration_id=run.migration_id)
                here.skip(phase, "left out by --skip-phases: an earlier attempt of this run completed it")
                return kind.model_validate_json(read_sealed(file))
            receipt = function(run, *args, **kwargs)
            write_sealed(file, receipt.model_dump_json())
            return receipt

        return cast(Work[P, R], kept)

    return decorate


def _part(arguments: tuple[object, ...]) -> str:
    root = next((argument for argument in arguments if isinstance(argument, RootFound)), None)
    return f"-{file_name(root.collection)}" if root else ""
