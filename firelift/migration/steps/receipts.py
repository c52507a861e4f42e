"""A step's receipt in the run's directory, for skipped phases and for the snapshot of a run that goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast

from firelift.files import read_sealed, write_sealed
from firelift.migration.context import Migration
from firelift.receipts import Receipt, RootCollection
from firelift.run.progress import Phase
from firelift.run.receipt_files import ReceiptMissing, receipt_file
from firelift.storage.archive import file_name

P = ParamSpec("P")
R = TypeVar("R", bound=Receipt)
Work = Callable[Concatenate[Migration, P], R]


def with_receipt(phase: Phase, kind: type[R]) -> Callable[[Work[P, R]], Work[P, R]]:
    """Writes what the function returns to the run's `receipts/`; where the phase is skipped, returns what stands there instead."""

    def decorate(function: Work[P, R]) -> Work[P, R]:
        @functools.wraps(function)
        def kept(migration: Migration, *args: P.args, **kwargs: P.kwargs) -> R:
            name = function.__name__.rstrip("_") + _part((*args, *kwargs.values()))
            file = receipt_file(migration.workspace, name)
            if phase in migration.settings.skip_phases:
                if not file.exists():
                    raise ReceiptMissing(phase=phase, receipt=f"receipts/{file.name}", migration_id=migration.migration_id)
                migration.skip(phase, "left out by --skip-phases: an earlier attempt of this run completed it")
                return kind.model_validate_json(read_sealed(file))
            receipt = function(migration, *args, **kwargs)
            write_sealed(file, receipt.model_dump_json())
            return receipt

        return cast(Work[P, R], kept)

    return decorate


def _part(arguments: tuple[object, ...]) -> str:
    root = next((argument for argument in arguments if isinstance(argument, RootCollection)), None)
    return f"-{file_name(root.collection)}" if root else ""
