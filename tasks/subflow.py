"""A flow as the child of the task that calls it: the task is its node in the run graph."""

from __future__ import annotations

import threading
import time
from typing import ParamSpec, TypeVar, cast
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.flow_engine import run_flow
from prefect.states import Pending
from prefect.utilities.callables import get_call_parameters

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE = 20.0
_one_at_a_time = threading.Lock()


def subflow(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `flow(...)` returns, begun without waiting.

    A plain call begins with two requests that Prefect's server on SQLite refuses (503) whenever it writes something else meanwhile. Its
    client then waits 2 to 8 s before it tries again: a run over three collections of two documents each took 20 s, and takes 7 s like this.
    """
    context = TaskRunContext.get()
    assert context is not None
    parent = context.task_run.id
    parameters = get_call_parameters(flow.fn, args, kwargs)
    with get_client(httpx_settings={"event_hooks": {"response": [_again_soon]}}, sync_client=True) as client:
        if not _known(client, parent):
            return flow(*args, **kwargs)
        with _one_at_a_time:
            child = client.create_flow_run(
                flow, parameters=flow.serialize_parameters(parameters), parent_task_run_id=parent, state=Pending()
            )
    return cast(R, run_flow(flow, flow_run=child, parameters=parameters))


def _known(client: SyncPrefectClient, task_run: UUID) -> bool:
    """Waits until the server has recorded the task run, which it hears of through events."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client.read_task_run(task_run)
        except ObjectNotFound:
            time.sleep(0.05)
        else:
            return True
    return False


def _again_soon(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        response.headers.setdefault("Retry-After", "0.2")
