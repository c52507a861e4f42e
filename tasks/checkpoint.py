"""How Prefect keeps a task's receipt, so that the same migration never does finished work again."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import CacheKeyFnPolicy
from prefect.context import TaskRunContext
from prefect.tasks import Task

from firelift.errors import FireliftError


def checkpoint_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """A readable path below the result storage: migration, task, what it worked on, and the settings that matter."""
    run = parameters["run"]
    part = parameters["root"].collection if "root" in parameters else parameters.get("phase", "all")
    phase = parameters.get("phase", "")
    return f"{run.migration_id}/{context.task.name}/{phase}{_safe(part)}-{run.fingerprint}"


def _safe(text: str) -> str:
    import hashlib

    readable = "".join(character if character.isalnum() else "_" for character in text)[:40]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def waiting_helps(task: Task[..., Any], task_run: Any, state: Any) -> bool:
    """Whether a failed task is worth another attempt: the error itself knows."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, FireliftError) and error.retry


PHASE: dict[str, Any] = {
    "cache_policy": CacheKeyFnPolicy(cache_key_fn=checkpoint_key),
    "persist_result": True,
    "result_serializer": "json",
    "retries": 2,
    "retry_delay_seconds": [2, 10],
    "retry_condition_fn": waiting_helps,
}
