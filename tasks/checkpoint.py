"""How Prefect keeps a task's receipt, so that the same migration never does finished work again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.serializers import JSONSerializer
from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK
from prefect.tasks import Task
from pydantic import Field

from firelift.errors import FireliftError
from firelift.files import sealed, unsealed
from firelift.migration.execution import readable
from firelift.run.damage import times_damaged
from firelift.run.workspace import Workspace


def checkpoint_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """A readable path below the result storage: migration, task, what it worked on, and the settings that matter."""
    run = parameters["run"]
    part = parameters["root"].collection if "root" in parameters else parameters.get("phase", "all")
    phase = parameters.get("phase", "")
    # What was loaded counts only for the staging schema it was loaded into.
    staged = f"-{parameters['staged'].token}" if "staged" in parameters else ""
    # What was made before the archive was found damaged is looked at again.
    damaged = times_damaged(Workspace(Path(run.settings["working_dir"]), run.migration_id).run)
    again = f"-again-{damaged}" if damaged else ""
    return f"{run.migration_id}/{context.task.name}/{phase}{readable(part)}-{run.fingerprint}{staged}{again}"


@contextmanager
def checkpoints_in(directory: Path) -> Iterator[None]:
    """Has Prefect keep its receipts in the run's directory, where another machine that goes on finds them too.

    A storage that was chosen by PREFECT_DEFAULT_RESULT_STORAGE_BLOCK stays.
    """
    context = FlowRunContext.get()
    if context is None or context.result_store is None or PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value():
        yield
        return
    storage = LocalFileSystem(basepath=str(directory / "checkpoints"))
    store = context.result_store.model_copy(update={"result_storage": storage})
    with context.model_copy(update={"result_store": store}):
        yield


_RECEIPT = b'{"receipt":'


class SealedJSON(JSONSerializer[Any]):
    """Receipts with their own digest. Prefect takes one that it cannot read for none, and so does the work again."""

    type: str = Field(default="firelift-sealed-json", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        return sealed(_RECEIPT + super().dumps(obj) + b"}")

    def loads(self, blob: bytes) -> Any:
        """Raises FileChanged for one that is not as it was written."""
        return super().loads(unsealed(blob, Path("checkpoints")).removeprefix(_RECEIPT)[:-1])


def waiting_helps(task: Task[..., Any], task_run: Any, state: Any) -> bool:
    """Whether a failed task is worth another attempt: the error itself knows."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, FireliftError) and error.recovery == "automatic"


PHASE: dict[str, Any] = {
    "cache_policy": CacheKeyFnPolicy(cache_key_fn=checkpoint_key),
    "persist_result": True,
    "result_serializer": SealedJSON(),
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": waiting_helps,
}

# Of a collection: the task that wraps its subflow makes the further attempts; with both doing so patience would multiply.
INNER: dict[str, Any] = PHASE | {"retries": 0}

NOT_KEPT: dict[str, Any] = {"persist_result": False, "cache_policy": None}
"""Only the target knows whether it still holds, and nobody reads what was returned."""
ALWAYS: dict[str, Any] = {"cache_policy": NO_CACHE}
"""Done in every attempt."""
