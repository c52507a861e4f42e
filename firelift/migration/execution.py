"""How the steps of a migration are executed: as tasks of Prefect, or here and now."""

from __future__ import annotations

import contextvars
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, get_type_hints

from firelift.errors import FireliftError
from firelift.files import read_sealed, write_sealed
from firelift.migration.context import Migration
from firelift.receipts import Receipt, RootCollection
from firelift.run.damage import times_damaged

P = ParamSpec("P")
R = TypeVar("R")

RETRY_AFTER: Final = (2.0, 10.0)
"""Seconds to wait before a step is tried again whose error says that waiting helps."""


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
        return self._kept(step, "all", *arguments, **options)

    def each(self, step: Callable[..., R], roots: Sequence[RootCollection], *lists: Sequence[Any], **shared: Any) -> list[R]:
        order = largest_first(roots)
        with ThreadPoolExecutor(self._threads) as threads:
            futures = {
                place: threads.submit(
                    contextvars.copy_context().run,
                    lambda place: self._kept(step, roots[place].collection, roots[place], *(items[place] for items in lists), **shared),
                    place,
                )
                for place in order
            }
            wait(futures.values())
        return [futures[place].result() for place in range(len(roots))]

    def _kept(self, step: Callable[..., R], part: str, *arguments: Any, **options: Any) -> R:
        kind = get_type_hints(step).get("return")
        if getattr(step, "asks_the_target", False) or not (isinstance(kind, type) and issubclass(kind, Receipt)):
            return self._retried(step, *arguments, **options)
        key = checkpoint_key(self._migration, step.__name__.rstrip("_"), part, options.get("staged"))
        file = self._migration.directory / "checkpoints" / f"{key}.json"
        if file.exists():
            return kind.model_validate_json(read_sealed(file))  # type: ignore[return-value]
        done = self._retried(step, *arguments, **options)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_sealed(file, done.model_dump_json())  # type: ignore[attr-defined]
        return done

    def _retried(self, step: Callable[..., R], *arguments: Any, **options: Any) -> R:
        for seconds in RETRY_AFTER:
            try:
                return step(self._migration, *arguments, **options)
            except FireliftError as error:
                if error.recovery != "automatic" or self._migration.stopping:
                    raise
                time.sleep(seconds)
        return step(self._migration, *arguments, **options)


def checkpoint_key(migration: Migration, step: str, part: str, staged: Any = None) -> str:
    """Names what a step did for a part, under the settings that decide what it returns.

    What was loaded counts only for the staging schema it was loaded into; what was made before the archive was found damaged is looked
    at again.
    """
    damaged = times_damaged(migration.directory)
    words = (
        migration.run.fingerprint,
        *([staged.token] if staged is not None else []),
        *([f"again-{damaged}"] if damaged else []),
    )
    return "-".join([step, readable(part), *words])


def readable(text: str) -> str:
    """A name for a file that says what it is of, and is another one for every text."""
    # A locale may know no other letters for the names of files.
    shown = "".join(character if character.isascii() and character.isalnum() else "_" for character in text)[:40]
    return f"{shown}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def largest_first(roots: Sequence[RootCollection]) -> list[int]:
    """The places of the roots in the order in which to begin them: what takes longest ends last."""
    return sorted(range(len(roots)), key=lambda place: -_weight(roots[place]))


def _weight(root: RootCollection) -> float:
    """A root collection that Firestore does not count may be the largest."""
    return math.inf if root.documents is None else root.documents


def asks_the_target(step: Callable[P, R]) -> Callable[P, R]:
    """Marks a step that is done again in every attempt: only the target knows whether it still holds."""
    step.asks_the_target = True  # type: ignore[attr-defined]
    return step
