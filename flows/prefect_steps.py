"""The steps of a migration as tasks of Prefect: which task carries out which, and the fan-out over root collections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from prefect import Task, unmapped
from prefect.futures import wait

from firelift.migration.context import Migration, Run
from firelift.migration.execution import largest_first
from firelift.migration.steps import extraction, import_, planning, post_migration, pre_validation, transformation, verification
from firelift.receipts import RootCollection
from flows import collection_subflows
from tasks import extraction as of_extraction
from tasks import import_ as of_import
from tasks import post_migration as of_post_migration
from tasks import pre_validation as of_pre_validation
from tasks import transformation as of_transformation
from tasks import verification as of_verification

P = ParamSpec("P")
R = TypeVar("R")

TASKS: Final[Mapping[Callable[..., Any], Task[..., Any]]] = {
    pre_validation.pre_validation: of_pre_validation.pre_validation,
    pre_validation.register: of_pre_validation.register,
    extraction.sampling: of_extraction.sampling,
    extraction.extract: collection_subflows.extracting,
    extraction.extraction: of_extraction.extraction,
    planning.planning: of_transformation.planning,
    transformation.transform: collection_subflows.transforming,
    transformation.transformation: of_transformation.transformation,
    import_.staging: of_import.staging,
    import_.load: collection_subflows.loading,
    import_.import_: of_import.import_,
    import_.publish: of_import.publish,
    verification.skip_untouched: of_verification.skip_untouched,
    verification.verification: of_verification.verification,
    verification.skip_verification: of_verification.skip_verification,
    post_migration.post_migration: of_post_migration.post_migration,
}


class PrefectSteps:
    """Each step as a task of the flow run; Prefect keeps what it returns, and shows the run graph."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def once(self, step: Callable[Concatenate[Migration, P], R], *arguments: P.args, **options: P.kwargs) -> R:
        return cast(R, TASKS[step](self._run, *arguments, **options))

    def each(self, step: Callable[..., R], roots: Sequence[RootCollection], *lists: Sequence[Any], **shared: Any) -> list[R]:
        order = largest_first(roots)
        ordered = ([items[place] for place in order] for items in (roots, *lists))
        alike: Any = {name: unmapped(value) for name, value in shared.items()}
        futures = TASKS[step].map(unmapped(self._run), *ordered, **alike)
        wait(futures)
        found = {place: future.result() for place, future in zip(order, futures, strict=True)}
        return [found[place] for place in range(len(roots))]
