"""How many rows a run deletes in the target, and whether that is more than allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from firelift.errors import FireliftError
from firelift.formatting import count, counted

USUAL_ROWS: Final = 100
USUAL_SHARE: Final = 20.0
"""In per cent of the rows. A run may exceed one of the two limits, not both."""
SHOWN: Final = 5
WOULD_STOP: Final = "This run would stop before it writes anything"
"""The beginning of the warning in the plan of such a run."""


class TooManyDeletions(FireliftError):
    """This run would take more rows out of the target than --max-deletes allows, as if the source had lost them."""

    recovery = "after_fix"
    remedy = (
        "Nothing was written to the tables. Check whether this is the right Firestore database and whether its documents are complete; "
        "if the documents are really deleted, continue with --resume and the number named above, or with --max-deletes 100%."
    )


@dataclass(frozen=True)
class Loss:
    """The live rows of one table, and how many of them a run deletes."""

    table: str
    rows: int
    deleted: int

    def __str__(self) -> str:
        return f"{self.table} {self.in_words}"

    @property
    def in_words(self) -> str:
        return f"{count(self.deleted)} of {counted(self.rows, 'row')}"

    @property
    def share(self) -> float:
        """In per cent."""
        return 100 * self.deleted / self.rows if self.rows else 0.0


def too_many(losses: Iterable[Loss], limit: str | None) -> TooManyDeletions | None:
    """The error where the losses, one per table, exceed the setting `max_deletes`; None where they do not."""
    found = sorted((loss for loss in losses if loss.rows), key=lambda loss: (-loss.deleted, loss.table))
    total = Loss("of all", sum(loss.rows for loss in found), sum(loss.deleted for loss in found))
    if not _exceed([*found, total], total, limit):
        return None
    lost = [loss for loss in found if loss.deleted]
    more = [f"and {counted(len(lost) - SHOWN, 'table')} more"] if len(lost) > SHOWN else []
    return TooManyDeletions(
        tables="; ".join([*map(str, lost[:SHOWN]), *more]),
        in_all=total.in_words,
        allowed=_words(limit),
        to_allow_these=f"--max-deletes {total.deleted}",
    )


def _exceed(losses: Sequence[Loss], total: Loss, limit: str | None) -> bool:
    if limit is None:
        # A fifth of a few rows is no alarm, but all of them are.
        everything = 0 < total.deleted == total.rows
        return everything or any(loss.deleted > USUAL_ROWS and loss.share > USUAL_SHARE for loss in losses)
    if limit.endswith("%"):
        return any(loss.share > float(limit[:-1]) for loss in losses)
    return total.deleted > int(limit)


def _words(limit: str | None) -> str:
    if limit is None:
        return f"by default {USUAL_ROWS} rows or {USUAL_SHARE:g}% of a table and of all, whichever is more, but never all rows"
    return f"{limit} of a table and of all" if limit.endswith("%") else f"{counted(int(limit), 'row')} in all"
