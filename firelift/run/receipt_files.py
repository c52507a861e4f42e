"""The receipts that a run keeps in its directory, for phases that are skipped when it is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from firelift.errors import ConfigurationError
from firelift.run.progress import Phase
from firelift.run.workspace import Workspace

# Leaving these out is a choice; the others must have been completed by an earlier attempt.
NEEDS_NO_RECEIPT = ("verification", "post_migration")


class ReceiptMissing(ConfigurationError):
    """A phase can only be skipped when an earlier attempt of the same run has completed it."""

    remedy = "Do not skip it, or resume the run that has it with --resume and --migration-id."


def receipt_file(workspace: Workspace, name: str) -> Path:
    """The file with the receipt of a phase, or of a task such as `extract-users`."""
    return workspace.run / "receipts" / f"{name}.json"


def refuse_unskippable(workspace: Workspace, phases: Sequence[Phase]) -> None:
    """Raises ReceiptMissing for a phase that is to be skipped and has not been completed."""
    for phase in phases:
        if phase not in NEEDS_NO_RECEIPT and not receipt_file(workspace, phase).exists():
            raise ReceiptMissing(phase=phase, receipt=f"receipts/{phase}.json", migration_id=workspace.migration_id)
