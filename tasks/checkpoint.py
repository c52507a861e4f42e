"""How Prefect keeps a task's receipt, so that the same migration never does finished work again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import __version__
from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.context import FlowRunContext, TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.serializers import JSONSerializer
from prefect.settings import PREFECT_DEFAULT_RESULT_STORAGE_BLOCK
from prefect.tasks import Task
from pydantic import Field

from firelift.errors import FireliftError
from firelift.files import SEAL, sealed, unsealed
from firelift.migration.execution import RETRY_AFTER
from firelift.migration.steps.receipt_validity import LEFT_OUT, receipt_name, valid_for
from firelift.receipts import Receipt
from firelift.run.receipt_files import Receipts, from_text, to_text


def checkpoint_key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    """`<migration>/<receipt>/<conditions>`; None for a phase that --skip-phases leaves out, whose task takes the last receipt."""
    # A task and the subflow in it have the same receipt.
    step, run, given = context.task.name.removesuffix("-collection"), parameters["run"], tuple(parameters.values())
    conditions = valid_for(run, step, given)
    return None if conditions == LEFT_OUT else f"{run.migration_id}/{receipt_name(step, given)}/{conditions}"


class RunReceipts(LocalFileSystem):
    """Prefect's result storage for one run, with the run's directory as base path: the receipts that the engine writes, seen as results."""

    _block_type_slug = "firelift-run-receipts"

    def read_path(self, path: str, **_: Any) -> bytes:  # type: ignore[override]
        """A receipt as a record of Prefect. Raises FileNotFoundError where the task is to be done."""
        run = self._resolve_path("")
        parts = self._resolve_path(path).relative_to(run).parts
        receipt = Receipts(run).done(*parts[1:]) if len(parts) == 3 else None
        if receipt is None:
            raise FileNotFoundError(path)
        metadata = {"storage_key": path, "expiration": None, "serializer": {"type": ReceiptJSON().type}, "prefect_version": __version__}
        return json.dumps({"metadata": metadata, "result": ReceiptJSON().dumps(receipt).decode()}).encode()

    async def aread_path(self, path: str) -> bytes:
        return self.read_path(path)

    def write_path(self, path: str, content: bytes, **_: Any) -> str:  # type: ignore[override]
        """Nothing is written: a step has written its receipt already, and nobody reads what else Prefect keeps, such as errors."""
        return path

    async def awrite_path(self, path: str, content: bytes) -> str:
        return self.write_path(path, content)


@contextmanager
def checkpoints_in(directory: Path) -> Iterator[None]:
    """Has Prefect find the receipts in the run's directory, where another machine that resumes the run finds them too.

    A storage that was chosen by PREFECT_DEFAULT_RESULT_STORAGE_BLOCK stays, and is asked in place of them.
    """
    context = FlowRunContext.get()
    if context is None or context.result_store is None or PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value():
        yield
        return
    store = context.result_store.model_copy(update={"result_storage": RunReceipts(basepath=str(directory))})
    with context.model_copy(update={"result_store": store}):
        yield


class ReceiptJSON(JSONSerializer[Any]):
    """Receipts with their own digest. Prefect takes one that it cannot read for none, and so does the work again."""

    type: str = Field(default="firelift-receipt", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """Whatever else Prefect wants to keep, such as the error of a task, is JSON without a digest."""
        return sealed(to_text(obj).encode()) if isinstance(obj, Receipt) else super().dumps(obj)

    def loads(self, blob: bytes) -> Any:
        """Raises FileChanged for a receipt that is not as it was written."""
        return from_text(unsealed(blob, Path("receipts"))) if blob.startswith(SEAL) else super().loads(blob)


def waiting_helps(task: Task[..., Any], task_run: Any, state: Any) -> bool:
    """Whether a failed task is worth another attempt: the error itself knows."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, FireliftError) and error.recovery == "automatic"


PHASE: dict[str, Any] = {
    "cache_policy": CacheKeyFnPolicy(cache_key_fn=checkpoint_key),
    "persist_result": True,
    "result_serializer": ReceiptJSON(),
    "retries": len(RETRY_AFTER),
    "retry_delay_seconds": [*RETRY_AFTER],
    "retry_condition_fn": waiting_helps,
}

# Of a collection: the task that wraps its subflow makes the further attempts; with both doing so patience would multiply.
INNER: dict[str, Any] = PHASE | {"retries": 0}

NOT_KEPT: dict[str, Any] = {"persist_result": False, "cache_policy": NO_CACHE}
"""Done in every attempt: only the target knows whether it still holds, and nobody reads what was returned."""
