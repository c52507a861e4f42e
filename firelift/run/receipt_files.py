"""What a run has done, as it is remembered in its directory: one sealed file in `receipts/` for each step and root collection.

Whoever carries out the steps, Prefect or `InlineSteps`, asks here what is done already. A receipt counts only for the conditions under
which it was made (`valid_for`): the settings that decide the result, the staging schema, and how often the archive was found damaged.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from firelift import receipts
from firelift.errors import ConfigurationError
from firelift.files import FileChanged, read_sealed, write_sealed
from firelift.receipts import Receipt
from firelift.run.progress import Phase
from firelift.run.workspace import Workspace

R = TypeVar("R", bound=Receipt)

# Leaving these out is a choice; the others must have been completed by an earlier attempt.
NEEDS_NO_RECEIPT = ("verification", "post_migration")

KIND: Final = "kind"
VALID_FOR: Final = "valid_for"


class ReceiptMissing(ConfigurationError):
    """A phase can only be skipped when an earlier attempt of the same run has completed it."""

    remedy = "Do not skip it, or resume the run that has it with --resume and --migration-id."


class Receipts:
    """The receipts of one run."""

    def __init__(self, run: Path) -> None:
        self._directory = run / "receipts"

    def file(self, name: str) -> Path:
        """The file of a step such as `extraction` or `extract-users`, whether it exists or not."""
        return self._directory / f"{name}.json"

    def keep(self, name: str, valid_for: str, receipt: Receipt) -> None:
        """Writes a receipt in place of an earlier one of the same step."""
        write_sealed(self.file(name), to_text(receipt, valid_for))

    def last(self, name: str, kind: type[R]) -> R:
        """The step's receipt, whatever it is valid for. Raises FileNotFoundError and FileChanged."""
        return kind.model_validate_json(read_sealed(self.file(name)))

    def done(self, name: str, valid_for: str) -> Receipt | None:
        """The step's receipt; None where the step is to be done, also because its file was changed or is of another version."""
        try:
            content = read_sealed(self.file(name))
            return from_text(content) if json.loads(content).get(VALID_FOR) == valid_for else None
        except (FileNotFoundError, FileChanged, KeyError, AttributeError, ValidationError):
            return None

    def is_damaged(self, name: str) -> bool:
        """Whether the step has a file that is not as it was written."""
        try:
            read_sealed(self.file(name))
        except FileNotFoundError:
            return False
        except FileChanged:
            return True
        return False


def to_text(receipt: Receipt, valid_for: str = "") -> str:
    """A receipt as a JSON object that says of which kind it is."""
    return json.dumps({KIND: type(receipt).__name__, VALID_FOR: valid_for, **receipt.model_dump(mode="json")}, ensure_ascii=False)


def from_text(content: bytes | str) -> Receipt:
    """The receipt that `to_text` has written."""
    kind: type[Receipt] = getattr(receipts, json.loads(content)[KIND])
    return kind.model_validate_json(content)


def refuse_unskippable(workspace: Workspace, phases: Sequence[Phase]) -> None:
    """Raises ReceiptMissing for a phase that is to be skipped and has not been completed."""
    for phase in phases:
        if phase not in NEEDS_NO_RECEIPT and not Receipts(workspace.run).file(phase).exists():
            raise ReceiptMissing(phase=phase, receipt=f"receipts/{phase}.json", migration_id=workspace.migration_id)
