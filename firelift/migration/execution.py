"""How the steps of a migration are executed: as tasks of Prefect, or here and now."""

from __future__ import annotations

import contextvars
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from firelift.errors import FireliftError
from firelift.migration.context import Migration
from firelift.migration.steps.receipt_validity import has_receipt, receipt_name, step_name, valid_for
from firelift.receipts import RootCollection

P = ParamSpec("P")
R = TypeVar("R")

RETRY_AFTER: Final = (2.0, 10.0)
"""Seconds to wait before a step is tried again whose error says that waiting helps."""

TRIED_ONCE: Final = frozenset({"pre_validation"})
"""Steps that are not tried again: nothing is done yet, and whoever has given a wrong address wants to know it at once."""


class Steps(Protocol):
    """Carries out the steps of one migration; a step that an earlier attempt has finished is not done again."""

    def once(self, step: Callable[Concatenate[Migration, P], R], *arguments: P.args, **options: P.kwargs) -> R:
        """What `step(migration, …)` returns, or returned when it was done."""
        ...

    def each(self, step: Callable[..., R], roots: Sequence[RootCollection], *lists: Sequence[Any], **shared: Any) -> list[R]:
        """What `step(migration, root, …)` returns for each root, in their order, with its own item of each list.

        All come to their end before any error is raised: a root collection that failed does not cut the others short.
        """
        ...


class InlineSteps:
    """Steps as plain calls, root collections in threads; what they return is kept in the run's directory, so that it can be resumed."""

    def __init__(self, migration: Migration, threads: int = 8) -> None:
        self._migration, self._threads = migration, threads

    def once(self, step: Callable[Concatenate[Migration, P], R], *arguments: P.args, **options: P.kwargs) -> R:
        return self._kept(step, *arguments, **options)

    def each(self, step: Callable[..., R], roots: Sequence[RootCollection], *lists: Sequence[Any], **shared: Any) -> list[R]:
        order = largest_first(roots)
        with ThreadPoolExecutor(self._threads) as threads:
            futures = {
                place: threads.submit(
                    contextvars.copy_context().run,
                    lambda place: self._kept(step, roots[place], *(items[place] for items in lists), **shared),
                    place,
                )
                for place in order
            }
            wait(futures.values())
        return [futures[place].result() for place in range(len(roots))]

    def _kept(self, step: Callable[..., R], *arguments: Any, **options: Any) -> R:
        name, given = step_name(step), (*arguments, *options.values())
        if has_receipt(name):
            done = self._migration.receipts.done(receipt_name(name, given), valid_for(self._migration.run, name, given))
            if done is not None:
                return done  # type: ignore[return-value]
        return self._retried(step, *arguments, **options)

    def _retried(self, step: Callable[..., R], *arguments: Any, **options: Any) -> R:
        for seconds in () if step_name(step) in TRIED_ONCE else RETRY_AFTER:
            try:
                return step(self._migration, *arguments, **options)
            except FireliftError as error:
                if error.recovery != "automatic" or self._migration.stopping:
                    raise
                time.sleep(seconds)
        return step(self._migration, *arguments, **options)


def largest_first(roots: Sequence[RootCollection]) -> list[int]:
    """The places of the roots in the order in which to begin them: what takes longest ends last."""
    return sorted(range(len(roots)), key=lambda place: -_weight(roots[place]))


def _weight(root: RootCollection) -> float:
    """A root collection that Firestore does not count may be the largest."""
    return math.inf if root.documents is None else root.documents
